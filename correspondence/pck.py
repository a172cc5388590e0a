"""PCK, the percentage of correct keypoints, with every choice that decides the number in sight (thesis 2.2, 2.4).

A prediction is correct when it lies within alpha times a length of the truth (Euclidean, the limit included). Papers
differ in that length, in what is averaged over what, in which keypoints count and in the frame that points are measured
in, and numbers cannot be compared across such choices: so a Report carries them, and how many keypoints and objects it
stands on.

The thesis's choices: the length is the larger of the width and height of the true bounding box. Only keypoints that can
be seen in the target image count. The accuracy of each kind of keypoint is computed on its own; a category's is the
mean over its kinds, and the overall one the mean over categories, however many keypoints each has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from correspondence.errors import DataError

ALPHAS = (0.1, 0.05, 0.025)
CHOICES = ("correct: within alpha * max(width, height of the true box), visible keypoints only; averaged over kinds of "
           "keypoints, then over categories")
BASES = {"box": "the longer side of the object's box", "image": "the longer side of the image",
         "keypoints": "the longer side of the box around the object's true keypoints that count"}
AVERAGES = {"point": "over all keypoints", "image": "over each object's keypoints, then over objects",
            "kind": "over each kind of keypoint, then over kinds (thesis 2.2)"}
COUNTED = {"visible": "visible in the scored object", "all": "annotated in the scored object, hidden ones too"}


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


@dataclass(frozen=True)
class Choices:
    """What a PCK is: a name of BASES, of AVERAGES and of COUNTED each.  The defaults are the thesis's (2.2)."""

    basis: str = "box"
    average: str = "kind"
    counted: str = "visible"
    alphas: tuple[float, ...] = ALPHAS
    frame: str = "pixels of the original image"

    def __post_init__(self) -> None:
        for value, known in ((self.basis, BASES), (self.average, AVERAGES), (self.counted, COUNTED)):
            if value not in known:
                raise DataError("no such choice of PCK", found=value, expected=", ".join(known))

    def __str__(self) -> str:
        return (f"PCK: correct within alpha x {BASES[self.basis]}; averaged {AVERAGES[self.average]}; counted are "
                f"keypoints {COUNTED[self.counted]}; alpha {', '.join(f'{a:g}' for a in self.alphas)}; "
                f"points in {self.frame}; a keypoint without a prediction is wrong")


@dataclass(frozen=True)
class Case:
    """The keypoints of one object.

    `predicted` and `truth`: K x 2, as (x, y), NaN for no prediction, and for one that is not annotated; row k is kind k
    of the category.  `visible`: K.  `box` (left, top, right, bottom) and `image` (height, width): each needed if the
    basis is.
    """

    category: str
    predicted: ArrayLike
    truth: ArrayLike
    visible: ArrayLike | None = None
    box: Sequence[float] | None = None
    image: Sequence[int] | None = None


@dataclass
class Report:
    """Percentages by category, one for each alpha, and how many keypoints and objects there were."""

    choices: Choices
    categories: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    keypoints: dict[str, int] = field(default_factory=dict)
    objects: dict[str, int] = field(default_factory=dict)

    @property
    def mean(self) -> NDArray[np.float64]:
        """Over the categories that have keypoints; NaN without one."""
        found = [each for each in self.categories.values() if not np.isnan(each).any()]
        return np.mean(found, axis=0) if found else np.full(len(self.choices.alphas), np.nan)

    def table(self) -> str:
        """All numbers as text, the choices first."""
        width = max(len(name) for name in [*self.categories, "category"])
        lines = [str(self.choices), f"{'category':<{width}}" + "".join(f"{a:>8g}" for a in self.choices.alphas)
                 + f"{'keypoints':>11}{'objects':>9}"]
        for name, values in [*self.categories.items(), ("mean", self.mean)]:
            n, m = (sum(of.values()) if name == "mean" else of[name] for of in (self.keypoints, self.objects))
            lines.append(f"{name:<{width}}" + "".join(f"{v:8.1f}" for v in values) + f"{n:11d}{m:9d}")
        return "\n".join(lines)


def evaluate(cases: Sequence[Case], choices: Choices | None = None) -> Report:
    """The percentages of predicted keypoints that are correct.

    Kinds and objects without a keypoint that counts are left out of means.  Raises DataError for cases of other shapes,
    or without the length that the choice of basis needs.
    """
    choices = choices or Choices()
    report = Report(choices)
    for category in sorted({case.category for case in cases}):
        own = [_right(case, choices) for case in cases if case.category == category]
        right = np.array([r for r, _ in own], float)         # objects x keypoints x alphas
        counts = np.array([c for _, c in own], bool)
        report.categories[category] = 100 * _averaged(right, counts, choices.average)
        report.keypoints[category], report.objects[category] = int(counts.sum()), int(counts.any(axis=1).sum())
    return report


def _right(case: Case, choices: Choices) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which keypoints are right at which alpha, K x alphas, and which count."""
    predicted, truth = (np.asarray(points, np.float64) for points in (case.predicted, case.truth))
    counts = ~np.isnan(truth).any(axis=1)
    if choices.counted == "visible" and case.visible is not None:
        counts &= np.asarray(case.visible, bool)
    length = _length(case, truth[counts], choices)
    right = np.stack([correct(predicted, truth, length, alpha) for alpha in choices.alphas], axis=1)
    return right, np.asarray(counts, bool)


def _length(case: Case, counted: NDArray[np.float64], choices: Choices) -> float:
    if choices.basis == "keypoints":
        return float(np.ptp(counted, axis=0).max()) if len(counted) else 0.0
    given = case.box if choices.basis == "box" else case.image
    if given is None:
        raise DataError(f"the basis of this PCK is {BASES[choices.basis]}, and it is not given",
                        help="give it, or choose another basis")
    return float(max(given[2] - given[0], given[3] - given[1]) if choices.basis == "box" else max(given))


def _averaged(right: NDArray[np.float64], counts: NDArray[np.bool_], average: str) -> NDArray[np.float64]:
    """The mean of objects x keypoints x alphas where they count."""
    if not counts.any():
        return np.full(right.shape[2], np.nan)
    right = right * counts[..., None]
    if average == "point":
        return np.asarray(right.sum((0, 1)) / counts.sum())
    axis = 0 if average == "kind" else 1
    number = counts.sum(axis)
    return np.asarray((right.sum(axis)[number > 0] / number[number > 0, None]).mean(axis=0))


def by_method(scores: Mapping[str, Report]) -> str:
    """Scores of several methods under the same choices: their means as text, the choices first."""
    choices = {score.choices for score in scores.values()}
    if len(choices) != 1:
        raise DataError("scores of different choices cannot be compared", found=len(choices), expected=1,
                        help="score all methods with the same Choices")
    one = choices.pop()
    width = max(len(name) for name in scores)
    lines = [str(one), " " * width + "".join(f"{a:>8g}" for a in one.alphas) + f"{'keypoints':>11}"]
    return "\n".join(lines + [f"{name:<{width}}" + "".join(f"{v:8.1f}" for v in score.mean)
                              + f"{sum(score.keypoints.values()):11d}" for name, score in scores.items()])
