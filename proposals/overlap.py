"""The best overlap of each object over all regions of a net, exactly and without scores (thesis 4.4.5).

The overlap of a region and an object is I/U, the pixels in both over the pixels in either, of the masks at full
resolution. A net has 10^5 regions for a picture, windows up to 576 pixels; most pairs never need their I. The areas A
of all regions are counted once. Of an object with G pixels, of which n lie in a region's window, the region can have
at most m = min(n, A), so I/U <= m / (A + G - m); n comes from an integral image. Pairs are taken by falling bound
until the bound is below the best overlap so far, and only the part of a window in the object's box is computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from data.coco import Instance
from halide_kernels import bilinear_loss
from proposals.plane import Plane, size_of, thin, thinned

_PIXELS = 1 << 18   # computed at a time: 1 MB of float32 stays in the cache of a core


@dataclass(frozen=True)
class Best:
    """For each object its best overlap, and the region that has it: the first by (plane, y, x) of those that tie."""
    overlap: NDArray[np.float64]   # 0 where no region meets the object
    plane: NDArray[np.int64]       # -1 there
    y: NDArray[np.int64]
    x: NDArray[np.int64]


@cache
def _weights(side: int, cell: int) -> NDArray[np.float32]:
    """side * cell x side: what pixels take of cells, in units of 1 / (2 * cell), so whole numbers."""
    return np.rint(2 * cell * bilinear_loss.weights(side, cell)).astype(np.float32)


def areas(plane: Plane, height: int, width: int) -> NDArray[np.int64]:
    """The pixels of each region inside the picture, H x W.

    In float32: a pixel whose logit is 0 but for rounding may count here and not in `halide_kernels.rle`."""
    place, (lines, columns) = plane.place, plane.grid
    up = _weights(place.side, place.cell)
    left = place.left + place.stride * np.arange(columns)
    at = left + np.arange(place.window)[:, None]
    seen = (at >= 0) & (at < width)   # window x W: pixels of each column of windows
    found = np.zeros(plane.grid, np.int64)
    rows, small = max(1, _PIXELS // max(1, place.window * columns)), np.min_scalar_type(place.cell)
    for y in range(lines):
        top = place.top + place.stride * y
        cells = plane.cells[:, y].reshape(place.side, -1)
        end = min(place.window, height - top)
        for v in range(max(0, -top), end, rows):
            tall = (up[v:min(v + rows, end)] @ cells).reshape(-1, place.side, columns)
            inside = (up @ tall > 0) & seen
            # sums of bytes are fast: those of a cell's pixels, and then of cells
            cell = inside.view(np.uint8).reshape(-1, place.cell, columns).sum(1, dtype=small)
            found[y] += cell.sum(0, dtype=np.int64)
    return found


def _shared(plane: Plane, ys: Any, xs: Any, mask: Any, box: tuple[int, int]) -> NDArray[np.int64]:
    """Pixels that regions (ys, xs) of a plane share with an object: `mask`, whose corner lies at pixel `box`."""
    side, up = plane.place.side, _weights(plane.place.side, plane.place.cell)
    sizes, taken, shown = [], [], []
    for axis, (line, first) in enumerate(((ys, plane.place.top), (xs, plane.place.left))):
        size = min(mask.shape[axis], plane.place.window)   # as many pixels of the box as a window can meet
        corner = first + plane.place.stride * line
        start = np.clip(corner, box[axis], box[axis] + mask.shape[axis] - size)
        padded = np.pad(up, ((size, size), (0, 0)))        # outside the window a pixel takes nothing
        taken.append(sliding_window_view(padded, size, axis=0)[start - corner + size])   # K x R x size
        shown.append(start - box[axis])
        sizes.append(size)
    parts = sliding_window_view(mask, sizes)
    found = np.empty(len(ys), np.int64)
    step = max(1, _PIXELS // (sizes[0] * sizes[1]))
    for k in range(0, len(ys), step):
        some = slice(k, k + step)
        cells = plane.cells[:, ys[some], xs[some]].T.reshape(-1, side, side)
        inside = (cells @ taken[1][some]).transpose(0, 2, 1) @ taken[0][some] > 0   # K x columns x rows
        for n, one in enumerate(inside, k):
            found[n] = np.count_nonzero(one.T & parts[shown[0][n], shown[1][n]])
    return found


def _candidates(plane: Plane, area: Any, integral: Any, box: Any, pixels: int) -> tuple[Any, Any, Any]:
    """Rows and columns of the regions whose windows meet an object's box, and the bounds of their I/U."""
    lines, samples = [], []
    for axis, first in enumerate((plane.place.top, plane.place.left)):
        corner = first + plane.place.stride * np.arange(plane.grid[axis])
        begin, end = (np.clip(corner + add - box[axis], 0, integral.shape[axis] - 1) for add in (
            0, plane.place.window))
        line = np.flatnonzero(begin < end)
        lines.append(line)
        samples.append((begin[line], end[line]))
    (top, bottom), (left, right) = samples
    count = (integral[np.ix_(bottom, right)] - integral[np.ix_(top, right)]
             - integral[np.ix_(bottom, left)] + integral[np.ix_(top, left)])
    area = area[np.ix_(*lines)]
    most = np.minimum(count, area)
    y, x = np.nonzero(most)
    most, area = most[y, x], area[y, x]
    return lines[0][y], lines[1][x], most / (area + pixels - most)


def _best_of(planes: Sequence[Plane], area: Sequence[Any], mask: Any) -> tuple[float, int, int, int]:
    """Overlap, plane, y and x of the best region for one object."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    best = 0.0, -1, -1, -1
    if not len(rows):
        return best
    box = int(rows[0]), int(columns[0])
    mask = np.ascontiguousarray(mask[box[0]:rows[-1] + 1, box[1]:columns[-1] + 1], bool)
    integral = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1), np.int64)
    integral[1:, 1:] = mask.cumsum(0).cumsum(1)
    pixels = int(integral[-1, -1])
    found = [_candidates(plane, a, integral, box, pixels) for plane, a in zip(planes, area, strict=True)]
    of = np.repeat(np.arange(len(planes)), [len(bound) for _, _, bound in found])
    y, x, bound = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.argsort(-bound, kind="stable")
    at, step = 0, 16
    while at < len(order) and bound[order[at]] >= best[0]:
        some = order[at:at + step]
        some = np.sort(some[bound[some] >= best[0]])
        at, step = at + step, min(2 * step, 1024)
        for p in np.unique(of[some]):
            k = some[of[some] == p]
            both = _shared(planes[p], y[k], x[k], mask, box)
            overlap = both / (area[p][y[k], x[k]] + pixels - both)
            n = int(overlap.argmax())
            one = float(overlap[n]), int(p), int(y[k[n]]), int(x[k[n]])
            if one[0] > best[0] or (one[0] == best[0] > 0 and one[1:] < best[1:]):
                best = one
    return best


def best_overlaps(planes: Sequence[Plane], instances: Sequence[Instance], area: Sequence[Any] | None = None) -> Best:
    """The best I/U of each instance (of its `mask`, bool, h x w) over all regions of all planes.

    `area`: what `areas` gives for each plane, if it is known already. An instance without pixels has overlap 0.
    Raises DataError where the masks differ in size."""
    found = []
    if len(instances):
        height, width = size_of(instances)
        if area is None:
            area = [areas(plane, height, width) for plane in planes]
        found = [_best_of(planes, area, np.asarray(instance.mask)) for instance in instances] if planes else [
            (0.0, -1, -1, -1)] * len(instances)
    overlap, *place = zip(*found, strict=True) if found else ((),) * 4
    return Best(np.array(overlap, float), *(np.array(line, np.int64) for line in place))


def by_density(planes: Sequence[Plane], instances: Sequence[Instance], steps: Sequence[int]) -> dict[int, Best]:
    """`best_overlaps` for every m-th centre of each plane, for each m in `steps`; y and x count the centres left."""
    if not len(instances):
        return {step: best_overlaps(planes, instances) for step in steps}
    area = [areas(plane, *size_of(instances)) for plane in planes]
    return {step: best_overlaps([thinned(plane, step) for plane in planes], instances, [thin(a, step) for a in area])
            for step in steps}
