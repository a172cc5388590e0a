"""Which region centres count, and for which instance (thesis 4.4.1)."""

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
    height, width = labels.shape
    middle = [np.arange(count) * stride + first + window // 2 for count in grid]
    rows, cols = (np.flatnonzero((at >= 0) & (at < size)) for at, size in zip(middle, (height, width), strict=True))
    instance = labels[np.ix_(middle[0][rows], middle[1][cols])].astype(np.int64)
    counts = (instance > 0) & (instance != void)
    row, col = np.nonzero(counts)
    found = np.stack([rows[row], cols[col], instance[counts]], 1)
    if not fit:
        return found
    ids, which = np.unique(found[:, 2], return_inverse=True)
    boxes = np.array([_box(labels == i) for i in ids]).reshape(-1, 2, 2)[which]   # K x (rows, columns) x (first, last)
    start = found[:, :2] * stride + first
    return found[((boxes[:, :, 0] >= start) & (boxes[:, :, 1] < start + window)).all(1)]


def _box(mask: Any) -> list[tuple[int, int]]:
    spans = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    return [(int(span[0]), int(span[-1])) for span in spans]
