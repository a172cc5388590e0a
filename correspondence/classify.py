"""Keypoint classification and the precision of its classifiers (thesis 2.3; Table 2.3, Figures 2.5 and 2.7).

Given the place of a keypoint on an image, a one-vs-all linear SVM says which keypoint it is, from the feature of a
layer whose receptive-field centre is closest, or from SIFT at the place itself.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GroupKFold
from sklearn.svm import LinearSVC

from correspondence.dense import DenseFeatures
from correspondence.errors import DataError
from correspondence.grids import FeatureNet
from correspondence.sift import dense_sift
from data.keypoints import Instance

C = 1e-6   # of the SVMs in the thesis, for all features
RADII = (10, 20, 40, 80, 160)   # of SIFT, in pixels
LENGTH = 512.0   # of a SIFT descriptor as OpenCV and VLFeat give it
Reader = Callable[[str], NDArray[np.uint8]]


@dataclass(frozen=True)
class Samples:
    """The visible keypoints of objects of one category: features {layer or "sift R": N x channels}, names, pictures."""

    features: Mapping[str, NDArray[np.float32]]
    names: NDArray[np.str_]
    pictures: NDArray[np.str_]

    def of(self, chosen: NDArray) -> Samples:
        """Those at these indices."""
        return Samples({k: v[chosen] for k, v in self.features.items()}, self.names[chosen], self.pictures[chosen])


def collect(
    instances: Sequence[Instance], read: Reader, net: FeatureNet | None, radii: Sequence[float] = RADII,
    progress: Callable[[Iterable[str]], Iterable[str]] = iter,
) -> dict[str, Samples]:
    """{category: Samples} of all visible keypoints inside their pictures, of all the net's layers and SIFT radii.

    `read` gives a picture by its id (H x W x 3 RGB).  A picture goes through the net once.  SIFT has length 512.
    Raises DataError where there is no visible keypoint.
    """
    by_picture: dict[str, list[Instance]] = {}
    for instance in instances:
        by_picture.setdefault(instance.picture, []).append(instance)
    found: dict[str, list[tuple[str, str, dict[str, NDArray[np.float32]]]]] = {}
    for picture in progress(list(by_picture)):
        image = read(picture)
        height, width = image.shape[:2]
        marked = [(each.category, name, (k.x, k.y))
                  for each in by_picture[picture] for name, k in each.keypoints.items()
                  if k.visible and -0.5 <= k.x < width - 0.5 and -0.5 <= k.y < height - 0.5]
        if not marked:
            continue
        points = np.array([point for *_, point in marked])
        features = {layer: grid.at(points) for layer, grid in (net.grids(image) if net else {}).items()}
        features |= {f"sift {radius:g}": LENGTH * dense_sift(image, points, radius) for radius in radii}
        for i, (category, name, _) in enumerate(marked):
            found.setdefault(category, []).append((name, picture, {k: v[i] for k, v in features.items()}))
    if not found:
        raise DataError("no keypoint can be seen", found=f"{len(instances)} objects", help="choose another split")
    return {
        category: Samples({k: np.stack([f[k] for *_, f in rows]) for k in rows[0][2]},
                          np.array([name for name, *_ in rows]), np.array([picture for _, picture, _ in rows]))
        for category, rows in found.items()
    }


def same_length(train: NDArray[np.float32], *others: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Features multiplied by the one number that gives the training features SIFT's mean length.

    The thesis uses one C for all features, which are of like size in its net ("a similar scale", 2.2).  Those of
    other nets are not, and an SVM's C only means something beside the features' length.
    """
    factor = np.float32(LENGTH / max(float(np.linalg.norm(train, axis=1).mean()), 1e-9))
    return [factor * each for each in (train, *others)]


def fit(features: NDArray[np.float32], names: NDArray[np.str_], c: float = C) -> LinearSVC:
    """One linear SVM for each name against all others: squared hinge loss, L2 penalty.

    The primal is solved by a Newton method, which converges for every C that a sweep tries.  Raises DataError if it
    does not converge, or with fewer than two names.
    """
    if len(set(names)) < 2:
        raise DataError("a classifier needs two kinds of keypoints", found=sorted(set(names)))
    machine = LinearSVC(C=c, dual=False, tol=1e-4, max_iter=1000)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            machine.fit(features, names)
        except ConvergenceWarning as warning:
            raise DataError("an SVM did not converge", found=f"C = {c:g}", help="scale the features or lower C"
                            ) from warning
    return machine


def accuracy(train: Samples, test: Samples, layer: str, c: float = C, scaled: bool = False) -> float:
    """The share of test keypoints that are called by their name.  `scaled`: see `same_length`."""
    pair = [train.features[layer], test.features[layer]]
    if scaled:
        pair = same_length(*pair)
    return float((fit(pair[0], train.names, c).predict(pair[1]) == test.names).mean())


def sweep(
    samples: Samples, layer: str, values: Sequence[float], folds: int = 5, scaled: bool = False
) -> dict[float, float]:
    """The mean accuracy in cross-validation for each C (Figure 2.7).  Keypoints of one picture are in one fold.

    Raises DataError with fewer pictures than folds.
    """
    if len(set(samples.pictures)) < folds:
        raise DataError(f"{folds} folds need as many pictures", found=len(set(samples.pictures)))
    parts = list(GroupKFold(folds).split(samples.names, groups=samples.pictures))
    return {c: float(np.mean([accuracy(samples.of(train), samples.of(test), layer, c, scaled)
                              for train, test in parts])) for c in values}


def responses(machine: LinearSVC, name: str, features: NDArray[np.float32]) -> NDArray[np.float64]:
    """The decision values of one name's classifier on features (... x channels)."""
    values = machine.decision_function(features.reshape(-1, features.shape[-1]))
    if values.ndim == 1:   # of two names only one has a machine
        values = np.stack([-values, values], axis=1)
    return np.asarray(values[:, list(machine.classes_).index(name)]).reshape(features.shape[:-1])


def around(image: NDArray, point: tuple[float, float], source: DenseFeatures | float, reach: int = 10,
           factor: float = 1.0) -> NDArray[np.float32]:
    """The features at every pixel up to `reach` away from a point: of a net's layer, or SIFT of a radius."""
    if isinstance(source, DenseFeatures):
        return factor * source.around(image, point, reach)
    offsets = np.arange(-reach, reach + 1)
    x, y = np.rint(point)
    points = np.stack(np.meshgrid(x + offsets, y + offsets), axis=-1)
    return LENGTH * factor * dense_sift(image, points.reshape(-1, 2), source).reshape(*points.shape[:2], -1)


def histogram(maps: Iterable[NDArray[np.float64]]) -> tuple[NDArray[np.int64], int]:
    """How often the maximum of square maps is where, and how often it is on their border (Figure 2.5).

    The counts have the maps' size; maxima on the border are not among them.
    """
    counts: NDArray[np.int64] | None = None
    border = 0
    for each in maps:
        counts = np.zeros(each.shape, np.int64) if counts is None else counts
        row, column = np.unravel_index(each.argmax(), each.shape)
        if 0 < row < each.shape[0] - 1 and 0 < column < each.shape[1] - 1:
            counts[row, column] += 1
        else:
            border += 1
    if counts is None:
        raise DataError("no maps to count", found="none")
    return counts, border


def mean_distance(counts: NDArray[np.int64]) -> float:
    """The mean distance in pixels of counted maxima from the middle; uniform chance gives 7.3 within 21 x 21."""
    middle = (counts.shape[0] - 1) / 2
    away = np.hypot(*(axis - middle for axis in np.indices(counts.shape)))
    return float((counts * away).sum() / max(1, counts.sum()))
