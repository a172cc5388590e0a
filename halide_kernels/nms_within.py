"""Non-max suppression within a pathway, by Halide on the CPU: which windows about each region conflict, as bits.

Regions of one pathway whose stride is a whole number of cells meet cell on cell, and two of them do so in the same way
wherever they lie: by a shift of rows and columns that follows from their offset on the grid. So the grid is passed once
for each offset, a vector of neighbours at a time: the time for a region depends neither on how many there are nor on
how many are kept. `nms_halide` compares any two pathways, pair by pair.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .nms_grids import CELL, HEIGHT, REGION, SIDE, STRIDE, WIDTH, WORD, WORDS, Packed


def suits(path: Any) -> bool:
    """Whether the pathway's windows meet cell on cell, with a row of cells in one word."""
    return bool(path[STRIDE] % path[CELL] == 0 and path[WORDS] == 1)


def offsets(path: Any, least: int, threshold: float) -> NDArray[np.int32]:
    """Steps on the grid, rows and columns, to the windows that may conflict, where each region has at least `least`
    pixels: two regions share no more than their windows, and so have at least 2 * least minus that together."""
    step, side = int(path[STRIDE] // path[CELL]), int(path[SIDE])
    most = (side - 1) // step
    y, x = np.mgrid[-most:most + 1, -most:most + 1].reshape(2, -1)
    shared = (side - abs(y) * step) * (side - abs(x) * step) * int(path[CELL]) ** 2
    may = (shared > threshold * np.maximum(2 * least - shared, 0)) & ((y != 0) | (x != 0))
    return np.stack([y[may], x[may]], 1).astype(np.int32)


@cache
def _compiled(bits: int) -> Any:
    """The Halide pipeline for rows of at most so many bits; compiles in a second or two."""
    import halide as hl

    x, y, o, w, xo, xi = (hl.Var(name) for name in ("x", "y", "o", "w", "xo", "xi"))
    kind = hl.UInt(bits)
    words, area = hl.ImageParam(kind, 3, "words"), hl.ImageParam(hl.Int(32), 2, "area")
    steps, threshold = hl.ImageParam(hl.Int(32), 2, "steps"), hl.Param(hl.Float(64), "threshold")
    most, cells, columns, pixels = (hl.Param(hl.Int(32), name) for name in ("most", "cells", "columns", "pixels"))
    shared, out = hl.Func("shared"), hl.Func("out")
    side = words.dim(1).extent()

    def step(axis: int, o: Any) -> Any:
        return hl.unsafe_promise_clamped(steps[axis, o], -most, most)

    r, b = hl.RDom([(0, side)], "r"), hl.RDom([(0, 32)], "b")
    row, shift = r.x - step(0, o) * cells, step(1, o) * columns   # cells and columns (bits) for each step
    r.where((row >= 0) & (row < side))
    other = words[x + step(1, o) + most, hl.unsafe_promise_clamped(row, 0, side - 1), y + step(0, o) + most]
    moved = hl.select(shift >= 0, other << hl.cast(kind, hl.max(shift, 0)), other >> hl.cast(kind, hl.max(-shift, 0)))
    shared[x, o, y] = hl.cast(kind, 0)
    shared[x, o, y] += hl.cast(kind, hl.popcount(moved & words[x + most, r.x, y + most]))
    o = 32 * w + b.x
    both = hl.i32(shared[x, o, y]) * pixels
    either = area[x + most, y + most] + area[x + step(1, o) + most, y + step(0, o) + most] - both
    out[x, w, y] = hl.u32(0)
    out[x, w, y] = out[x, w, y] | hl.u32(hl.f64(both) > threshold * hl.f64(either)) << hl.u32(b.x)

    # A vector is neighbours on a line. Two registers of AVX2, for two chains of sums, take 0.6 of the time of one.
    lanes = _lanes(bits)
    out.reorder(x, w, y).vectorize(x, lanes, hl.TailStrategy.RoundUp)
    out.update().split(x, xo, xi, lanes, hl.TailStrategy.RoundUp).reorder(xi, b.x, xo, w, y).vectorize(xi)
    shared.compute_at(out, b.x).vectorize(x, lanes).update().reorder(x, r.x).vectorize(x, lanes)
    return out.compile_to_callable([words, area, steps, most, cells, columns, pixels, threshold])


def _lanes(bits: int) -> int:
    return 512 // bits


def conflicts(packed: Packed, path: Any, threshold: float) -> tuple[NDArray[np.int32], NDArray[np.uint32]]:
    """The offsets on the grid that were compared, in steps, K x 2; and H x K/32 x W words with a bit for each, lowest
    first: whether the region that far on conflicts with the one there."""
    import halide as hl

    height, width, side, first = (int(path[column]) for column in (HEIGHT, WIDTH, SIDE, REGION))
    area = packed.area[first:first + height * width].reshape(height, width)
    steps = offsets(path, int(area.min(where=area > 0, initial=2**30)), threshold)
    padded = np.zeros((len(steps) + -len(steps) % 32, 2), np.int32)
    padded[:len(steps)] = steps
    cells, columns = int(path[STRIDE] // path[CELL]), int(path[STRIDE]) // packed.unit
    bits = next(size for size in (16, 32, 64) if side * (int(path[CELL]) // packed.unit) <= size)
    # around the grid lie empty regions, which conflict with none
    most, wide = int(abs(steps).max(initial=0)), width + -width % _lanes(bits)
    lines, line = slice(most, most + height), slice(most, most + width)
    words = np.zeros((height + 2 * most, side, wide + 2 * most), {16: np.uint16, 32: np.uint32, 64: np.ulonglong}[bits])
    words[lines, :, line] = packed.words[int(path[WORD]):][:height * side * width].reshape(height, side, width)
    areas = np.zeros((height + 2 * most, wide + 2 * most), np.int32)
    areas[lines, line] = area
    out = np.empty((height, len(padded) // 32, wide), np.uint32)
    if out.size:
        _compiled(bits)(hl.Buffer(words), hl.Buffer(areas), hl.Buffer(padded), most, cells, columns,
                        int(path[CELL]) * packed.unit, float(threshold), hl.Buffer(out))
        out[:, -1] &= np.uint32(2**(32 - -len(steps) % 32) - 1)   # bits of no offset
    return steps, out[:, :, :width]
