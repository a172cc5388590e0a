"""Table 2.3 and Figures 2.5 and 2.7: which keypoint is it, and how precisely do its classifiers know where?"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from correspondence import classify
from correspondence.dense import DenseFeatures
from data.keypoints import Keypoints
from tools.experiments.features import CAFFENET, SQUEEZENET, Classifier, bar, classifier
from tools.experiments.registry import Context, Need, Result, Table, experiment
from tools.pictures import grid
from tools.plots import pyplot

NEEDS, SMALL_NEEDS = [Need("data", "keypoints"), CAFFENET], [SQUEEZENET]
SMALL = "SqueezeNet v1.1 on the drawn figures of four categories"
# Table 2.3, percent: the 20 categories in the order of VOC's names
TABLE = {
    "sift 10": "36 42 36 32 67 64 40 37 33 37 60 34 39 38 29 63 37 42 64 75",
    "sift 20": "37 50 39 35 74 67 47 40 36 43 68 38 42 48 33 70 44 52 68 77",
    "sift 40": "35 54 37 41 76 68 47 37 39 40 69 36 42 49 32 69 39 52 74 78",
    "sift 80": "33 43 37 42 75 66 42 30 43 36 70 31 36 51 27 70 35 49 69 77",
    "sift 160": "27 36 34 38 72 59 35 25 39 30 67 27 32 46 25 70 29 48 66 76",
    "conv1": "16 14 15 19 20 29 15 22 16 17 29 17 14 16 15 33 18 12 27 29",
    "conv2": "37 43 40 35 69 63 38 44 35 40 61 38 40 44 34 65 39 41 63 72",
    "conv3": "42 50 46 41 76 69 46 52 39 45 64 47 48 52 40 74 46 50 71 77",
    "conv4": "44 53 49 42 78 70 45 55 41 48 68 51 51 53 41 76 49 52 73 76",
    "conv5": "44 51 49 41 77 68 44 53 39 45 63 50 49 52 39 73 47 47 71 75",
}
MEANS: dict[str, float] = {"sift 10": 45, "sift 20": 50, "sift 40": 51, "sift 80": 48, "sift 160": 44,
                           "conv1": 20, "conv2": 47, "conv3": 54, "conv4": 56, "conv5": 54}
VALUES = [10.0**e for e in range(-10, 1)]   # C in Figure 2.7
SMALL_VALUES = [10.0**e for e in range(-9, -2)]
EXAMPLE = ("cat", ("L_Eye", "Nose"))   # of Figure 2.5
SMALL_EXAMPLE = ("quadruped", ("Eye", "Nose"))
SHOWN = 15   # keypoints of each kind in the small Figure 2.5


def open_keypoints(context: Context) -> Keypoints:
    """The keypoint set of the context's variant."""
    dataset = context.dataset("figures" if context.small else "keypoints")
    assert isinstance(dataset, Keypoints)
    return dataset


def collected(
    context: Context, net: Classifier, split: str, category: str | None = None
) -> dict[str, classify.Samples]:
    """The features of a split's keypoints, at all layers and radii."""
    dataset = open_keypoints(context)
    return classify.collect(dataset.instances(split, category), lru_cache(4)(dataset.image), net.net(),
                            progress=bar(f"{split}: features"))


@experiment("table2.3", "Keypoint classification: SIFT of five radii and the layers of a classifier", "2.3", NEEDS,
            SMALL, SMALL_NEEDS)
def classification(context: Context) -> Result:
    """Accuracies on val of one-vs-all SVMs trained on train, C = 1e-6."""
    net = classifier(context)
    train, val = (collected(context, net, split) for split in ("train", "val"))
    categories = [each for each in sorted(train) if each in val and len(set(train[each].names)) > 1]
    kinds = [*(f"sift {radius}" for radius in classify.RADII), *net.layers]
    found = {kind: [100 * classify.accuracy(train[c], val[c], kind, scaled=net.scaled) for c in categories]
             for kind in bar("SVMs")(kinds)}
    chance = [100 * max(np.mean(val[c].names == name) for name in set(train[c].names)) for c in categories]
    means = {kind: float(np.mean(values)) for kind, values in found.items()}
    sift, conv = kinds[: len(classify.RADII)], kinds[len(classify.RADII) :]
    rows: dict[str, list[tuple[float | None, float | None]]] = {}
    for kind in kinds:
        thesis: list[float | None] = [*map(float, TABLE.get(kind, "").split())]
        known = len(thesis) == len(categories)   # the small variant's categories are others
        rows[kind] = list(zip(thesis if known else [None] * len(categories), found[kind], strict=True))
        rows[kind].append((MEANS[kind] if known else None, means[kind]))
    rows["the commonest name"] = [(None, value) for value in (*chance, float(np.mean(chance)))]
    best_sift, best_conv = max(sift, key=means.__getitem__), max(conv, key=means.__getitem__)
    wins = sum(max(found[k][i] for k in conv) >= max(found[k][i] for k in sift) for i in range(len(categories)))
    claims = [
        ("features of convnet layers do at least as well as SIFT, and often better",
         f"best of each: {best_conv} {means[best_conv]:.1f}, {best_sift} {means[best_sift]:.1f}; at least as well in "
         f"{wins} of {len(categories)} categories", means[best_conv] >= means[best_sift]),
        ("the best layer is neither the first nor the last, and the first is by far the worst",
         ", ".join(f"{k} {means[k]:.1f}" for k in conv), conv.index(best_conv) not in (0, len(conv) - 1)
         and means[conv[0]] == min(means[k] for k in conv)),
        ("SIFT is best at a radius in the middle", ", ".join(f"{k} {means[k]:.1f}" for k in sift),
         sift.index(best_sift) not in (0, len(sift) - 1)),
    ]
    counts = {c: f"{len(train[c].names)} + {len(val[c].names)}" for c in categories}
    return Result([Table("accuracy on val, in percent", [*categories, "mean"], rows)], claims=claims,
                  notes=["Visible keypoints inside their picture. An accuracy is a share of a category's keypoints; "
                         "the mean is over categories."],
                  config={"C": classify.C, "loss": "squared hinge, L2, one against all", "features": net.name,
                          "features brought to SIFT's mean length": net.scaled, "keypoints (train + val)": counts},
                  weights=net.hashes())


@experiment("fig2.7", "Cross-validation of the SVM parameter C", "2.3", NEEDS, SMALL + ", one category", SMALL_NEEDS)
def sweep(context: Context) -> Result:
    """Mean accuracy of five folds of the training set against C, for one category."""
    net = classifier(context)
    category = (SMALL_EXAMPLE if context.small else EXAMPLE)[0]
    samples = collected(context, net, "train", category)[category]
    values = SMALL_VALUES if context.small else VALUES
    kinds = list(samples.features)
    curves = {kind: classify.sweep(samples, kind, values, scaled=net.scaled) for kind in bar("C")(kinds)}
    plt = pyplot()
    figure, both = plt.subplots(1, 2, sharey=True, figsize=(9, 3.6))
    for axes, title, chosen in zip(both, ("(a) layers", "(b) SIFT"), (net.layers, [k for k in kinds if "sift" in k]),
                                   strict=True):
        for kind in chosen:
            axes.plot(values, [100 * curves[kind][c] for c in values], ".-", label=kind)
        axes.axvline(classify.C, color="0.7", linestyle="--")
        axes.set(xscale="log", xlabel="C", title=title)
        axes.legend(fontsize=7)
    both[0].set_ylabel(f"accuracy on {category} (%)")
    figure.tight_layout()
    figure.savefig(context.folder / "sweep.png", dpi=110)
    plt.close(figure)
    loss = {kind: 100 * (max(curve.values()) - curve[classify.C]) for kind, curve in curves.items()}
    worst = max(loss, key=loss.__getitem__)
    best = {kind: max(curve, key=curve.__getitem__) for kind, curve in curves.items()}
    rows: dict[str, list[tuple[float | None, float | None]]] = {
        kind: [(None, 100 * curves[kind][c]) for c in values] for kind in kinds}
    return Result([Table(f"accuracy on {category} in five-fold cross-validation, in percent",
                         [f"{c:g}" for c in values], rows)], [("sweep.png", "accuracy against C; dashed: 1e-6")],
                  [("C = 1e-6 serves all features", f"it loses {np.mean(list(loss.values())):.1f} points against the "
                    f"best C of each on average, most ({loss[worst]:.1f}) for {worst}; within 3 points counts as "
                    "serving. Best: " + ", ".join(f"{kind} {c:g}" for kind, c in best.items()),
                    max(loss.values()) <= 3)],
                  ["All keypoints of a picture are in one fold."],
                  {"folds": 5, "keypoints": len(samples.names), "features": net.name}, net.hashes())


@experiment("fig2.5", "Where keypoint classifiers respond most, at a single-pixel stride", "2.3", NEEDS,
            SMALL + f"; up to {SHOWN} keypoints of each kind", SMALL_NEEDS)
def localization(context: Context) -> Result:
    """Histograms of the maximum in 21 x 21 pixels around true keypoints of val, without maxima on the border."""
    net = classifier(context)
    category, names = SMALL_EXAMPLE if context.small else EXAMPLE
    layers = net.layers[1:4] if context.small else net.layers[2:]
    radii = (10, 20, 40) if context.small else classify.RADII
    train = collected(context, net, "train", category)[category]
    dataset = open_keypoints(context)
    read = lru_cache(4)(dataset.image)
    places = {name: [(each.picture, each.keypoints[name]) for each in dataset.instances("val", category)
                     if name in each.keypoints and each.keypoints[name].visible] for name in names}
    if context.small:
        places = {name: marked[:SHOWN] for name, marked in places.items()}
    columns: dict[str, list[Any]] = {}
    rows: dict[str, list[tuple[float | None, float | None]]] = {}
    nearness: dict[str, float] = {}
    for kind in [*(f"sift {radius}" for radius in radii), *layers]:
        source: DenseFeatures | float = (float(kind.split()[1]) if kind.startswith("sift") else
                                         DenseFeatures(net.definition, net.weights, kind, net.mean))
        features = train.features[kind]
        factor = _factor(features, net.scaled)
        machine = classify.fit(np.float32(factor) * features, train.names)
        row: list[tuple[float | None, float | None]] = []
        for name in names:
            maps = (classify.responses(machine, name,
                                       classify.around(read(picture), (k.x, k.y), source, factor=factor))
                    for picture, k in bar(f"{kind}: {name}")(places[name]))
            counts, border = classify.histogram(maps)
            columns.setdefault(name, []).append(_picture(counts))
            inside = int(counts.sum())
            row += [(None, classify.mean_distance(counts) if inside else None),
                    (None, 100 * border / (inside + border))]
        rows[kind] = row
        distances = [cell[1] for cell in row[::2] if cell[1] is not None]
        nearness[kind] = float(np.mean(distances)) if distances else float("inf")
    Image.fromarray(grid([columns[name] for name in names], list(rows))).save(context.folder / "histograms.png")
    strides = {layer: float(net.net().place(layer, 1024, 1024).stride) for layer in layers}
    best = min(layers, key=nearness.__getitem__)
    best_sift = min((kind for kind in rows if kind not in layers), key=nearness.__getitem__)
    cells = [f"{name}: {what}" for name in names for what in ("mean distance (px)", "on the border (%)")]
    return Result(
        [Table(f"maxima around keypoints of {category}; uniform chance: 7.3 pixels, 18%", cells, rows)],
        [("histograms.png", f"maxima within 21 x 21 pixels of {' (above) and '.join(names)} (below)")],
        [("convnet classifiers localize more precisely than SIFT ones",
          f"mean distance {nearness[best]:.1f} pixels with {best}, {nearness[best_sift]:.1f} with {best_sift}",
          nearness[best] < nearness[best_sift]),
         ("they localize finer than their strides", ", ".join(
             f"{layer}: {nearness[layer]:.1f} pixels, stride {stride:g} (half of it counts)"
             for layer, stride in strides.items()),
          any(nearness[layer] < stride / 2 for layer, stride in strides.items()))],
        ["Maxima on the border of the square are counted apart, as in the thesis."],
        {"category": category, "keypoints": {name: len(marked) for name, marked in places.items()},
         "features": net.name, "C": classify.C}, net.hashes())


def _factor(features: NDArray[np.float32], scaled: bool) -> float:
    """What `classify.same_length` multiplies by; 1 where features are taken as they are."""
    return classify.LENGTH / float(np.linalg.norm(features, axis=1).mean()) if scaled else 1.0


def _picture(counts: NDArray[np.int64]) -> NDArray[np.uint8]:
    """A histogram in grays, 12 pixels to a cell, white where there is most."""
    shown = np.kron(255 * counts // max(1, counts.max()), np.ones((12, 12), np.int64))
    return np.repeat(shown[:, :, None], 3, axis=2).astype(np.uint8)
