"""Table 2.4 and Figure 2.8: keypoints predicted in given boxes, by SIFT and by a layer, with and without a prior."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from correspondence import boxes, pck, predict
from data.keypoints import Instance
from tools.experiments.features import CAFFENET, SQUEEZENET, bar, classifier
from tools.experiments.keypoints import open_keypoints
from tools.experiments.registry import Context, Need, Result, Table, experiment
from tools.pictures import grid, spread
from tools.run_folder import write

NEEDS, SMALL_NEEDS = [Need("data", "keypoints"), CAFFENET], [SQUEEZENET]
SMALL = "SqueezeNet v1.1 (fire7) on the drawn figures of four categories"
# Table 2.4, percent: the 20 categories in VOC's order; and the means
TABLE = {
    "SIFT": "17.9 16.5 15.3 15.6 25.7 21.7 22.0 12.6 11.3 7.6 6.5 12.5 18.3 15.1 15.9 21.3 14.7 15.1 9.2 19.9",
    "SIFT+prior": "33.5 36.9 22.7 23.1 44.0 42.6 39.3 22.1 18.5 23.5 11.2 20.6 32.2 33.9 26.7 30.6 25.7 26.5 21.9 32.4",
    "layer": "38.5 37.6 29.6 25.3 54.5 52.1 28.6 31.5 8.9 30.5 24.1 23.7 35.8 29.9 39.3 38.2 30.5 24.5 41.5 42.0",
    "layer+prior": "50.9 48.8 35.1 32.5 66.1 62.0 45.7 34.2 21.4 41.1 27.2 29.3 46.8 45.6 47.1 42.5 38.8 37.6 50.7 "
                   "45.6",
}
MEANS = {"SIFT": 15.7, "SIFT+prior": 28.4, "layer": 33.3, "layer+prior": 42.5}
EXAMPLES = ("aeroplane", "cat", "cow", "pottedplant", "horse")   # of Figure 2.8
LIMITS = {"train": (16, 800), "val": (8, None)}   # objects of a category, of the small variant and of the whole one


def chosen(instances: Sequence[Instance], most: int | None) -> list[Instance]:
    """Those, or `most` of them evenly spaced."""
    if most is None or len(instances) <= most:
        return list(instances)
    return [instances[i] for i in np.linspace(0, len(instances) - 1, most).round().astype(int)]


def predictions(context: Context) -> dict[str, dict[str, Any]]:
    """Those of every category; kept in <folder of table2.4>/predictions.json, category by category as they come."""
    folder = context.of("table2.4").folder
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / "predictions.json"
    made: dict[str, dict[str, Any]] = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    net, dataset = classifier(context), open_keypoints(context)
    read = lru_cache(4)(dataset.image)
    left = [category for category in dataset.classes if category not in made]
    if not left:
        return made
    grids, whole = net.net(net.top), net.net(net.whole)
    for category in left:
        train, val = (boxes.describe(chosen(dataset.instances(split, category), limit[0 if context.small else 1]), read,
                                     grids, whole, net.side, bar(f"{category} {split}"))
                      for split, limit in LIMITS.items())
        made[category] = boxes.predictions(train, val, context.seed, bar(f"{category}: detectors"))
        write(kept, json.dumps(made))
    return made


@experiment("table2.4", "Keypoint prediction: SIFT and a layer, with and without a prior", "2.4", NEEDS, SMALL,
            SMALL_NEEDS)
def prediction(context: Context) -> Result:
    """PCK with alpha = 0.1 in given boxes; the stricter alphas of Table 2.2 as well."""
    net = classifier(context)
    found = predictions(context)
    categories = list(found)
    by_category = {category: boxes.scores(each) for category, each in found.items()}
    scores = {method: {category: each[method.replace("layer", net.top)] for category, each in by_category.items()}
              for method in TABLE}
    rows: dict[str, list[tuple[float | None, float | None]]] = {}
    strict: dict[str, list[tuple[float | None, float | None]]] = {}
    means = {method: {alpha: 100 * value for alpha, value in pck.overall(each).items()}
             for method, each in scores.items()}
    for method, text in TABLE.items():
        title = method.replace("layer", net.top)
        thesis: list[float | None] = [*map(float, text.split())]
        if len(categories) != len(thesis):   # the small variant's are others
            thesis = [None] * len(categories)
        rows[title] = [(value, 100 * scores[method][c].mean[0.1])
                       for c, value in zip(categories, thesis, strict=True)]
        rows[title].append((None if context.small else MEANS[method], means[method][0.1]))
        strict[title] = [(None, means[method][alpha]) for alpha in pck.ALPHAS]
    at = {method: value[0.1] for method, value in means.items()}
    claims = [
        ("detectors trained on the layer outperform SIFT by a large margin",
         f"{net.top} {at['layer']:.1f}, SIFT {at['SIFT']:.1f}; 5 points count as large", at["layer"] - at["SIFT"] >= 5),
        ("the prior is helpful in both cases", f"SIFT {at['SIFT']:.1f} to {at['SIFT+prior']:.1f}, {net.top} "
         f"{at['layer']:.1f} to {at['layer+prior']:.1f}",
         at["SIFT+prior"] > at["SIFT"] and at["layer+prior"] > at["layer"]),
        ("with the prior the layer is still better than SIFT", f"{at['layer+prior']:.1f} and {at['SIFT+prior']:.1f}",
         at["layer+prior"] > at["SIFT+prior"]),
    ]
    return Result(
        [Table("PCK, alpha = 0.1, in percent", [*categories, "mean"], rows),
         Table("mean PCK at stricter alphas, in percent", [f"alpha = {a:g}" for a in pck.ALPHAS], strict)],
        claims=claims, notes=[f"PCK: {pck.CHOICES}."],
        config={"features": f"{net.name}, 3 x 3 cells of {net.top}; SIFT of radius {2 * predict.BIN} at a stride of "
                f"{predict.STRIDE}", "prior": f"nearest by {net.whole}, sigma {predict.SIGMA:g}, eta {predict.ETA:g}",
                "objects of a category at most": {s: limit[0 if context.small else 1] for s, limit in LIMITS.items()},
                "keypoints (N)": {c: scores["SIFT"][c].count for c in categories}, "seed": context.seed},
        weights=net.hashes(),
    )


@experiment("fig2.8", "Examples of keypoint prediction", "2.4", NEEDS, SMALL, SMALL_NEEDS)
def examples(context: Context) -> Result:
    """Rescaled boxes with true keypoints, and those predicted by SIFT+prior and by the layer with the prior."""
    net, dataset, found = classifier(context), open_keypoints(context), predictions(context)
    shown = [c for c in (found if context.small else EXAMPLES) if c in found]
    rows, captions = [], ["truth", "SIFT+prior", f"{net.top}+prior"]
    for category in shown:
        by_file = {instance.file.name: instance for instance in dataset.instances("val", category)}
        truth = found[category]["truth"]
        several = [f for f in dict.fromkeys(row[1] for row in truth) if sum(row[1] == f for row in truth) > 4]
        for file in spread(several, 2):
            instance = by_file[file]
            own = [i for i, row in enumerate(truth) if row[1] == file]
            image = dataset.image(instance.picture)
            names = sorted({row[2] for row in truth})
            cells = []
            for method in ("truth", "SIFT+prior", "layer+prior"):
                rows_of = found[category][method.replace("layer", net.top)]
                places = [rows_of[i][3:5] if method == "truth" else rows_of[i] for i in own]
                points = predict.into(places, image.shape, instance.box)
                numbers = [names.index(truth[i][2]) for i in own]
                cells.append(marked(predict.rescale(image, instance.box), points, numbers, len(names)))
            rows.append(cells)
    Image.fromarray(grid(rows, captions)).save(context.folder / "examples.png")
    return Result(pictures=[("examples.png", "each colour is one keypoint of its category; " + ", ".join(shown))],
                  config={"features": net.name}, weights=net.hashes())


def marked(
    image: NDArray[np.uint8], points: NDArray[np.float64], colours: Sequence[int], of: int
) -> NDArray[np.uint8]:
    """A copy of an image with disks at points (x, y), coloured by number."""
    import colorsys

    picture = Image.fromarray(image)
    draw = ImageDraw.Draw(picture)
    for (x, y), number in zip(points, colours, strict=True):
        red, green, blue = (int(255 * v) for v in colorsys.hsv_to_rgb(number / of, 1, 1))
        draw.ellipse((x - 11, y - 11, x + 11, y + 11), fill=(red, green, blue), outline="white", width=3)
    return np.asarray(picture.resize((256, 256), Image.Resampling.LANCZOS))
