"""PCK, the percentage of correct keypoints, as in the thesis's chapter 2 (2.2, Tables 2.2 and 2.4).

A prediction is correct when it lies within alpha times the object's scale of the truth (Euclidean, the limit included).
The scale is the larger of the width and height of the true bounding box.  Only keypoints that can be seen in the target
image count.  The accuracy of each kind of keypoint is computed on its own; a category's is the mean over its kinds, and
the overall one the mean over categories, however many keypoints each has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from correspondence.errors import DataError

ALPHAS = (0.1, 0.05, 0.025)
CHOICES = ("correct: within alpha * max(width, height of the true box), visible keypoints only; averaged over kinds of "
           "keypoints, then over categories")


@dataclass(frozen=True)
class Score:
    """A category's PCK at each alpha, 0 to 1; `kinds`: that of each kind of keypoint; `count`: keypoints in all."""

    mean: dict[float, float]
    kinds: dict[str, dict[float, float]]
    count: int


def correct(predicted: ArrayLike, truth: ArrayLike, scale: ArrayLike, alpha: float) -> NDArray[np.bool_]:
    """Whether each of N predictions (N x 2) lies within alpha * scale (N, or one for all) of the truth (N x 2)."""
    guess, true = np.asarray(predicted, np.float64), np.asarray(truth, np.float64)
    limit = np.asarray(scale, np.float64)
    if guess.shape != true.shape or guess.ndim != 2 or guess.shape[1] != 2 or limit.shape not in ((), (len(guess),)):
        raise DataError("predictions and truth do not match", found=f"{guess.shape}, {true.shape}, scale {limit.shape}",
                        expected="N x 2, N x 2, N")
    return np.asarray(np.linalg.norm(guess - true, axis=1) <= alpha * limit)


def pck(
    predicted: ArrayLike, truth: ArrayLike, scale: ArrayLike, alphas: Sequence[float] = ALPHAS
) -> dict[float, float]:
    """The share of N predictions that are correct at each alpha; NaN of none."""
    return {alpha: float(found.mean()) if len(found) else float("nan")
            for alpha in alphas for found in [correct(predicted, truth, scale, alpha)]}


def score(
    kinds: Sequence[str], predicted: ArrayLike, truth: ArrayLike, scale: ArrayLike, alphas: Sequence[float] = ALPHAS
) -> Score:
    """The Score of one category's visible keypoints, N of each argument.  Raises DataError without any."""
    names = np.asarray(kinds)
    if not len(names):
        raise DataError("no keypoint to score", help="the split has no visible keypoint of this category")
    guess, true = np.asarray(predicted, np.float64), np.asarray(truth, np.float64)
    limit = np.broadcast_to(np.asarray(scale, np.float64), len(names))
    each = {str(name): pck(guess[names == name], true[names == name], limit[names == name], alphas)
            for name in np.unique(names)}
    return Score({a: float(np.mean([found[a] for found in each.values()])) for a in alphas}, each, len(names))


def overall(scores: Mapping[str, Score]) -> dict[float, float]:
    """The mean over categories at each alpha."""
    alphas = next(iter(scores.values())).mean
    return {alpha: float(np.mean([score.mean[alpha] for score in scores.values()])) for alpha in alphas}
