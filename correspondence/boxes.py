"""Keypoints of a category predicted in its objects' true boxes, by every feature, with and without the prior (2.4)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from correspondence import pck, predict
from correspondence.errors import DataError
from correspondence.grids import FeatureNet
from correspondence.neighbours import unit
from data.keypoints import Instance

SIFT, PRIOR = "SIFT", "+prior"
Progress = Callable[[Iterable[Any]], Iterable[Any]]


@dataclass(frozen=True)
class Boxed:
    """An object in its rescaled box: its visible keypoints there, candidates by SIFT and by each layer, and its whole.

    `shape`: height and width of its picture.  `whole`: a feature of length 1 of the whole box; None without a prior.
    """

    instance: Instance
    shape: tuple[int, int]
    points: dict[str, NDArray[np.float64]]
    candidates: dict[str, predict.Candidates]
    whole: NDArray[np.float32] | None


def describe(
    instances: Sequence[Instance], read: Callable[[str], NDArray[np.uint8]], net: FeatureNet,
    whole: FeatureNet | None = None, side: int = 227, progress: Progress = iter,
) -> list[Boxed]:
    """Every object with a visible keypoint.  `read` gives a picture by its id.

    `whole`: the net whose one layer describes a whole box, of `side` x `side` pixels, for the prior.
    """
    made = []
    for each in progress(instances):
        visible = {name: (k.x, k.y) for name, k in each.keypoints.items() if k.visible}
        if not visible:
            continue
        image = read(each.picture)
        box = predict.rescale(image, each.box)
        points = predict.into(list(visible.values()), image.shape, each.box)
        candidates = {SIFT: predict.of_sift(box),
                      **{layer: predict.of_grid(grid) for layer, grid in net.grids(box).items()}}
        feature = None
        if whole is not None:
            small = np.asarray(Image.fromarray(box).resize((side, side), Image.Resampling.BILINEAR))
            feature = unit(whole.whole(small[None], next(iter(whole.blobs))))[0]
        made.append(Boxed(each, (image.shape[0], image.shape[1]), dict(zip(visible, points, strict=True)), candidates,
                          feature))
    return made


def predictions(train: Sequence[Boxed], val: Sequence[Boxed], seed: int, progress: Progress = iter) -> dict[str, Any]:
    """Detectors trained on `train` and what they predict for `val`, as JSON values.

    {"truth": rows, method: places}: a row is [picture, file, keypoint, x, y, extent], a place [x, y] of the picture,
    one for each row.  Methods: "SIFT" and each layer, and with "+prior" where the objects have whole features.
    Keypoints that fewer than two training objects show are left out.  Raises DataError when none is left.
    """
    shown_by = {name: [each for each in train if name in each.points] for name in {n for e in train for n in e.points}}
    names = sorted(name for name, shown in shown_by.items() if len(shown) > 1)
    if not names or not val:
        raise DataError("nothing to predict", found=f"{len(train)} training objects and {len(val)} others",
                        expected="a keypoint that two training objects show")
    means: list[dict[str, NDArray[np.float64]]] | None = None
    wholes = [[each.whole for each in part if each.whole is not None] for part in (val, train)]
    if [len(part) for part in wholes] == [len(val), len(train)]:
        means = predict.prior_means(np.stack(wholes[0]), np.stack(wholes[1]), [each.points for each in train], names)
    kinds = list(val[0].candidates)
    methods = [kind + end for kind in kinds for end in (("", PRIOR) if means else ("",))]
    found: dict[str, Any] = {"truth": [], **{method: [] for method in methods}}
    for name in progress(names):
        detectors = {kind: predict.train_detector([each.candidates[kind] for each in shown_by[name]],
                                                  [each.points[name] for each in shown_by[name]], seed)
                     for kind in kinds}
        for i, each in enumerate(val):
            if name not in each.points:
                continue
            keypoint = each.instance.keypoints[name]
            found["truth"].append([each.instance.picture, each.instance.file.name, name, keypoint.x, keypoint.y,
                                   each.instance.extent])
            for method in methods:
                kind = method.removesuffix(PRIOR)
                mean = means[i][name] if means and method != kind else None
                place = predict.predict(detectors[kind], each.candidates[kind], mean)
                found[method].append(predict.back([place], each.shape, each.instance.box)[0].tolist())
    return found


def scores(found: dict[str, Any]) -> dict[str, pck.Score]:
    """The PCK of each method of a category's `predictions`."""
    truth = found["truth"]
    return {method: pck.score([row[2] for row in truth], places, [row[3:5] for row in truth], [row[5] for row in truth])
            for method, places in found.items() if method != "truth"}
