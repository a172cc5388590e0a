"""Which region centres count, for which instance (thesis 4.4.1), and which are to score high."""

from __future__ import annotations

from typing import Any

import numpy as np


def region_targets(labels: Any, grid: tuple[int, int], stride: int, window: int, first: int, void: int = 255,
                   fit: bool = True) -> np.ndarray:
    """The regions of one picture that have an instance as ground truth: K x 3 int64: row, column, instance.

    `labels`: h x w, 0 for background, `void` (and all below 0) for pixels of no instance. Row y of the `grid` (height,
    width) has its window of `window` pixels from pixel y * stride + first on, columns alike. A centre lies in the
    instance of the window's middle pixel; in an even window, whose middle is a corner, of the pixel right and below.
    With `fit` the instance's bounding box must be inside the window. Windows may hang over the border; a centre
    outside the image has no instance. At most one instance for a centre; ordered by row, then column.
    """
    labels = np.asarray(labels)
    rows, cols, instance = _at_centres(labels, grid, stride, first + window // 2)
    counts = (instance > 0) & (instance != void)
    row, col = np.nonzero(counts)
    found = np.stack([rows[row], cols[col], instance[counts]], 1)
    if not fit:
        return found
    ids, which = np.unique(found[:, 2], return_inverse=True)
    boxes = _boxes(labels, ids)[which]   # K x (rows, columns) x (first, last)
    start = found[:, :2] * stride + first
    return found[((boxes[:, :, 0] >= start) & (boxes[:, :, 1] < start + window)).all(1)]


def score_targets(labels: Any, grid: tuple[int, int], stride: int, window: int, first: int, void: int = 255,
                  least: float = 0.0, most: float = 1.0, off: float | None = None) -> np.ndarray:
    """Whether each region should score high: 1, low: 0, or does not count: -1; int8, of the shape of `grid`.

    High: the centre is in an instance that fits into the window (`region_targets`), the longer side of its bounding box
    is from `least` to `most` of the window's, and the box's middle is at most `off` pixels away along each axis
    (None: a 14th of the window, or half a stride where that is more, so that every object has a centre).  This is
    DeepMask's rule, centred and of one scale, with the range of scales that levels twofold apart leave to each.  Those
    that miss it narrowly do not count: sides a quarter out of the range, or middles up to twice as far away; neither do
    centres in void and outside the picture.
    """
    labels = np.asarray(labels)
    off = max(window / 14, stride / 2) if off is None else off
    targets = np.full(grid, -1, np.int8)
    rows, cols, instance = _at_centres(labels, grid, stride, first + window // 2)
    targets[np.ix_(rows, cols)] = np.where((instance == void) | (instance < 0), -1, 0)
    found = region_targets(labels, grid, stride, window, first, void)
    ids, which = np.unique(found[:, 2], return_inverse=True)
    boxes = _boxes(labels, ids)[which]
    side = (boxes[:, :, 1] - boxes[:, :, 0] + 1).max(1, initial=0)
    away = abs(found[:, :2] * stride + first + window / 2 - (boxes.sum(2) + 1) / 2).max(1, initial=0)
    near = (away <= 2 * off) & (side >= 0.75 * least * window) & (side <= 1.25 * most * window)
    high = (away <= off) & (side >= least * window) & (side <= most * window)
    targets[tuple(found[near, :2].T)] = -1
    targets[tuple(found[high, :2].T)] = 1
    return targets


def _at_centres(labels: Any, grid: tuple[int, int], stride: int, middle: int) -> tuple[Any, Any, Any]:
    """Rows and columns of the grid whose centres are in the picture, and the label under each of these centres."""
    at = [np.arange(count) * stride + middle for count in grid]
    rows, cols = (np.flatnonzero((at[i] >= 0) & (at[i] < labels.shape[i])) for i in (0, 1))
    return rows, cols, labels[np.ix_(at[0][rows], at[1][cols])].astype(np.int64)


def _boxes(labels: Any, ids: Any) -> Any:
    """Of each instance the first and last row and column: K x 2 x 2."""
    return np.array([_box(labels == i) for i in ids], np.int64).reshape(-1, 2, 2)


def _box(mask: Any) -> list[tuple[int, int]]:
    spans = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    return [(int(span[0]), int(span[-1])) for span in spans]
