"""The confusion matrix and the four metrics of thesis section 3.4.1, with per class accuracy and IU."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tools.errors import DataError

METRICS = ("pixel_acc", "mean_acc", "mean_iu", "fw_iu")
TITLES = {"pixel_acc": "pixel acc.", "mean_acc": "mean acc.", "mean_iu": "mean IU", "fw_iu": "f.w. IU"}


@dataclass(frozen=True)
class Metrics:
    """Results as fractions in 0..1; NaN where a quantity is not defined (no pixel to speak of).

    `class_acc`, `class_iu`, `class_pixels` have an entry per class; `pixels` counts the labelled pixels.
    """

    pixel_acc: float
    mean_acc: float
    mean_iu: float
    fw_iu: float
    class_acc: NDArray[np.float64]
    class_iu: NDArray[np.float64]
    class_pixels: NDArray[np.int64]
    pixels: int

    def four(self) -> dict[str, float]:
        """The four metrics by name, in the order of the thesis's tables."""
        return {name: float(getattr(self, name)) for name in METRICS}


class Confusion:
    """Counts n_ij of pixels of class i predicted as class j, summed over images.

    `counts` has shape (classes, classes + 1): the last column holds labelled pixels whose prediction is none
    of the classes (for instance 255, void, in a submission).  They count in t_i and hit nothing.
    """

    def __init__(self, classes: int, ignore: int | None = 255) -> None:
        self.classes = int(classes)
        self.ignore = ignore
        self.counts: NDArray[np.int64] = np.zeros((self.classes, self.classes + 1), dtype=np.int64)

    def add(self, truth: ArrayLike, prediction: ArrayLike, name: str | None = None) -> None:
        """Count one image or batch: arrays of class indices with as many entries; truth is void at `ignore`.

        `name` says whose labels these are.  Raises DataError when the sizes differ or a label is no class.
        """
        t = np.asarray(truth).reshape(-1).astype(np.int64)
        p = np.asarray(prediction).reshape(-1).astype(np.int64)
        if t.size != p.size:
            raise DataError(
                "truth and prediction do not have as many pixels",
                file=name,
                found=f"{np.shape(truth)} and {np.shape(prediction)}",
                expected="equal shapes",
                help="score a prediction at the size of its label",
            )
        if self.ignore is not None:
            kept = t != self.ignore
            t, p = t[kept], p[kept]
        wrong = (t < 0) | (t >= self.classes)
        if wrong.any():
            raise DataError(
                "a label is not a class",
                file=name,
                found=f"{int(t[wrong][0])} at {int(wrong.sum())} pixel(s)",
                expected=f"0..{self.classes - 1}, or {self.ignore} for void",
                help="run tools/check_data.py on the data set, or score with its number of classes",
            )
        n = self.classes
        p = np.where((p < 0) | (p >= n), n, p)
        self.counts += np.bincount(t * (n + 1) + p, minlength=n * (n + 1)).reshape(n, n + 1)

    def metrics(self, present_only: bool = False) -> Metrics:
        """The metrics of all pixels so far.

        With t_i the pixels of class i and u_i = t_i + sum_j n_ji - n_ii its union:
        pixel accuracy sum n_ii / sum t_i, mean accuracy mean n_ii / t_i, mean IU mean n_ii / u_i, and
        frequency weighted IU sum t_i n_ii / u_i / sum t_i.

        A class that occurs neither in truth nor in prediction has no IU and is left out of the mean.  One
        that is only predicted has IU 0, as in VOC's evaluation; with `present_only` it is left out too, which
        is how the thesis scores SIFT Flow, where three classes have no test pixel (its footnote 10).
        Accuracy is always a mean over classes that have pixels.
        """
        hit = np.diag(self.counts).astype(np.float64)
        total = self.counts.sum(axis=1)
        union = total + self.counts[:, : self.classes].sum(axis=0) - hit
        accuracy = _ratio(hit, total)
        iu = _ratio(hit, union)
        if present_only:
            iu = np.where(total > 0, iu, np.nan)
        pixels = int(total.sum())
        there = total > 0
        weighted = float((total[there] * iu[there]).sum() / pixels) if pixels else float("nan")
        return Metrics(
            pixel_acc=float(hit.sum() / pixels) if pixels else float("nan"),
            mean_acc=_mean(accuracy),
            mean_iu=_mean(iu),
            fw_iu=weighted,
            class_acc=accuracy,
            class_iu=iu,
            class_pixels=total,
            pixels=pixels,
        )


def _ratio(over: NDArray, under: NDArray) -> NDArray[np.float64]:
    out = np.full(over.shape, np.nan)
    np.divide(over, under, out=out, where=under > 0)
    return out


def _mean(values: NDArray[np.float64]) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else float("nan")
