"""Keypoint prediction in given boxes by sliding-window part detectors, with and without a prior (thesis 2.4).

Every box is rescaled to 500 x 500 pixels.  For each kind of keypoint a linear SVM scores candidate places: the middles
of 3 x 3 neighbourhoods of a layer's features, or dense SIFT.  The prior prefers where the keypoint is in the training
object whose whole-image feature is nearest.  Points are (x, y).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from sklearn.linear_model import LogisticRegression

from correspondence.classify import LENGTH, C, fit
from correspondence.errors import DataError
from correspondence.grids import Grid
from correspondence.sift import dense_sift

SIDE = 500   # of the rescaled boxes
BIN, STRIDE = 8, 8   # of dense SIFT, in pixels
CLOSEST = 10   # candidates that are positive examples, around a keypoint
SIGMA = 22.0   # of the prior, in pixels
ETA = 0.1   # weight of the prior

Box = tuple[float, float, float, float]


def rescale(image: NDArray[np.uint8], box: Box, side: int = SIDE) -> NDArray[np.uint8]:
    """What is in a box (left, top, right, bottom; pixels included), as side x side pixels, whatever its proportions."""
    left, top, right, bottom = box
    height, width = image.shape[:2]
    edges = (max(0.0, left), max(0.0, top), min(float(width), right + 1), min(float(height), bottom + 1))
    if edges[2] - edges[0] < 1 or edges[3] - edges[1] < 1:
        raise DataError("the box has nothing of the image", found=box, expected=f"within {image.shape[:2]}")
    return np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR, box=edges))


def into(points: ArrayLike, image_shape: Sequence[int], box: Box, side: int = SIDE) -> NDArray[np.float64]:
    """Points (N x 2) of an image as points of its rescaled box."""
    low, factor = _frame(image_shape, box, side)
    return np.asarray((np.asarray(points, np.float64) + 0.5 - low) * factor - 0.5)


def back(points: ArrayLike, image_shape: Sequence[int], box: Box, side: int = SIDE) -> NDArray[np.float64]:
    """The inverse of `into`."""
    low, factor = _frame(image_shape, box, side)
    return np.asarray((np.asarray(points, np.float64) + 0.5) / factor + low - 0.5)


def _frame(image_shape: Sequence[int], box: Box, side: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    low = np.maximum(0.0, box[:2])
    high = np.minimum((image_shape[1], image_shape[0]), np.array(box[2:]) + 1)
    return low, side / (high - low)


@dataclass(frozen=True)
class Candidates:
    """Where a keypoint may be in a rescaled box, N x 2, and what is there.

    `cells`: features on a grid, H x W x channels (float16, for many boxes at once).  The places are those of the cells
    that have `around` more on every side; a place's feature is that of its (2 around + 1)^2 cells, row by row.
    `field`: the side of the square that it sees; None for SIFT, whose examples go by distance.
    """

    places: NDArray[np.float64]
    cells: NDArray[np.float16]
    around: int
    field: float | None

    def _parts(self) -> list[NDArray[np.float16]]:
        """The cells of each place: one array (N x channels) for each cell of a neighbourhood."""
        height, width = (n - 2 * self.around for n in self.cells.shape[:2])
        return [self.cells[i : i + height, j : j + width].reshape(height * width, -1)
                for i, j in np.ndindex(2 * self.around + 1, 2 * self.around + 1)]

    def features(self, chosen: NDArray[np.int64]) -> NDArray[np.float32]:
        """The features of some places, M x channels."""
        return np.concatenate([part[chosen] for part in self._parts()], axis=1, dtype=np.float32)

    def scores(self, weights: NDArray[np.float32]) -> NDArray[np.float32]:
        """The products of all features with weights, N."""
        parts = self._parts()
        shares = weights.reshape(len(parts), -1)
        return np.sum([part.astype(np.float32) @ share for part, share in zip(parts, shares, strict=True)], axis=0)

    def examples(self, point: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The candidates that are positive examples of a keypoint at `point`, and the negative ones.

        Of a layer: the ten closest, and those whose field does not contain the point.  Of SIFT: those within two
        bins, and those at least four bins away.
        """
        away = np.linalg.norm(self.places - point, axis=1)
        if self.field is None:
            return np.flatnonzero(away <= 2 * BIN), np.flatnonzero(away >= 4 * BIN)
        unseen = np.abs(self.places - point).max(axis=1) > self.field / 2
        return np.argsort(away, kind="stable")[:CLOSEST], np.flatnonzero(unseen)


def of_grid(grid: Grid) -> Candidates:
    """The 3 x 3 neighbourhoods of a grid's features."""
    return Candidates(grid.centres()[1:-1, 1:-1].reshape(-1, 2), grid.features.astype(np.float16), 1,
                      grid.size + 2 * grid.stride)


def of_sift(image: NDArray[np.uint8]) -> Candidates:
    """Dense SIFT with bins of 8 pixels (a radius of 16) at every eighth pixel, whose cells are within the image."""
    axes = [np.arange(2 * BIN, length - 2 * BIN, STRIDE) for length in (image.shape[1], image.shape[0])]
    places = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 2).astype(np.float64)
    cells = LENGTH * dense_sift(image, places, 2 * BIN).reshape(len(axes[1]), len(axes[0]), -1)
    return Candidates(places, cells.astype(np.float16), 0, None)


@dataclass(frozen=True)
class Detector:
    """A linear part detector: score = features * weights + bias, and the logistic curve that makes it a probability."""

    weights: NDArray[np.float32]
    bias: float
    slope: float = 1.0
    offset: float = 0.0

    def scores(self, candidates: Candidates) -> NDArray[np.float64]:
        """The SVM's outputs at all places."""
        return np.asarray(candidates.scores(self.weights) + self.bias, np.float64)

    def probabilities(self, candidates: Candidates) -> NDArray[np.float64]:
        """Scores between 0 and 1, in the same order: a score to the power 1 - eta must not be negative."""
        return np.asarray(1 / (1 + np.exp(-np.clip(self.slope * self.scores(candidates) + self.offset, -500, 500))))


def train_detector(
    candidates: Sequence[Candidates], points: Sequence[NDArray[np.float64]], seed: int, c: float = C,
    first: int = 20, rounds: int = 2, most: int = 40,
) -> Detector:
    """A detector from the rescaled boxes in which a keypoint can be seen, with its `points` there.

    The first SVM sees `first` random negatives of each box; in each of `rounds` the negatives that the last one scores
    above its margin (-1) are added, the `most` highest of each box.  The features are brought to SIFT's mean length
    (classify.same_length), which the weights take back.  Raises DataError without any example.
    """
    draw = np.random.default_rng(seed)
    pairs = [each.examples(point) for each, point in zip(candidates, points, strict=True)]
    if not any(len(yes) for yes, _ in pairs) or not any(len(no) for _, no in pairs):
        raise DataError("a detector needs positive and negative examples", found=f"{len(pairs)} boxes",
                        help="negatives are places whose receptive field does not reach the keypoint: take a layer "
                        "with a smaller one")
    positive = np.concatenate([each.features(yes) for each, (yes, _) in zip(candidates, pairs, strict=True)])
    factor = np.float32(LENGTH / max(float(np.linalg.norm(positive, axis=1).mean()), 1e-9))
    chosen = [draw.permutation(no)[:first] for _, no in pairs]
    for round_ in range(rounds + 1):
        negative = np.concatenate([each.features(no) for each, no in zip(candidates, chosen, strict=True)])
        features = np.concatenate([positive, negative])
        labels = np.repeat([1, 0], [len(positive), len(negative)])
        machine = fit(factor * features, labels, c)
        detector = Detector(factor * machine.coef_[0].astype(np.float32), float(machine.intercept_[0]))
        hard = [_hardest(detector.scores(each), no, most) for each, (_, no) in zip(candidates, pairs, strict=True)]
        grown = [np.union1d(old, new) for old, new in zip(chosen, hard, strict=True)]
        if round_ == rounds or sum(map(len, grown)) == sum(map(len, chosen)):
            break
        chosen = grown
    scores = features @ detector.weights + detector.bias
    spread = max(float(scores.std()), 1e-9)
    curve = LogisticRegression(max_iter=1000).fit(scores[:, None] / spread, labels)
    return Detector(detector.weights, detector.bias, float(curve.coef_[0, 0]) / spread, float(curve.intercept_[0]))


def _hardest(scores: NDArray[np.float64], negatives: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """The negatives with the highest scores, of those that are not well on their side of the margin."""
    order = negatives[np.argsort(-scores[negatives], kind="stable")][:most]
    return order[scores[order] > -1]


def predict(
    detector: Detector, candidates: Candidates, mean: NDArray[np.float64] | None = None, eta: float = ETA
) -> NDArray[np.float64]:
    """The candidate place with the highest s^(1 - eta) p^eta; with the highest s alone without a prior's `mean`.

    s is the detector's probability, p a round Gaussian around `mean`, of standard deviation SIGMA.
    """
    score = np.log(np.maximum(detector.probabilities(candidates), 1e-300))
    if mean is not None:
        prior = -((candidates.places - mean) ** 2).sum(axis=1) / (2 * SIGMA**2)
        score = (1 - eta) * score + eta * prior
    return np.asarray(candidates.places[int(score.argmax())])


def prior_means(
    whole: NDArray[np.float32], train: NDArray[np.float32], points: Sequence[Mapping[str, NDArray[np.float64]]],
    names: Sequence[str],
) -> list[dict[str, NDArray[np.float64]]]:
    """For each test object and keypoint its place in the nearest training object in which it can be seen.

    `whole` and `train`: whole-image features of length 1, test and training objects; `points`: of each training object
    the visible keypoints in its rescaled box.  A keypoint that no training object has is left out.
    """
    similar = whole @ train.T
    made = []
    for row in similar:
        order = np.argsort(-row, kind="stable")
        found = {}
        for name in names:
            nearest = next((i for i in order if name in points[i]), None)
            if nearest is not None:
                found[name] = points[nearest][name]
        made.append(found)
    return made
