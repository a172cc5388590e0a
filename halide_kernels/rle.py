"""Regions as full-resolution masks, run by run: COCO's RLE from R x R scores, one window at a time (thesis 4.3.6).

A region's scores become window pixels by bilinear interpolation with factor s, centred as Caffe's bilinear filler
does, and the mask is where that is above 0. A pixel's weights are counted in units of 1 / (2s), so whole numbers: only
the sign matters, which they leave exact. At the window's border the weights of cells outside are lost or go to the last
cell, with the same sign. The picture's border cuts the window off. The whole mask of a region is never made: its runs
follow from the pixels of its window where the mask turns, from one row of a column to the next, and memory is that of
some windows.

Arrays of the back ends, for K regions: `cells`: float32, R x R x K; `tops`, `lefts` (int32, K): a window's corner in
pixels, may be negative; `out`: uint8, K x R*s x R*s + 1, 1 where the mask turns, by column, then row of the window:
its last row is the one below the window.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import backend

_BYTES = 2**24   # of `out`, at a time


@cache
def _weights(side: int, factor: int) -> NDArray[np.float64]:
    """side * factor x side: what pixels take of cells, in units of 1 / (2 * factor)."""
    pixel, cell = np.mgrid[:side * factor, :side]
    return np.maximum(2 * factor - abs(2 * pixel + 1 - factor - 2 * factor * cell), 0).astype(np.float64)


def window(scores: Any, factor: int) -> NDArray[np.bool_]:
    """The mask of one region in its window: from R x R scores, R*s x R*s pixels."""
    weights = _weights(len(scores), factor)
    return weights @ np.asarray(scores, np.float64) @ weights.T > 0


def whole_mask(scores: Any, top: int, left: int, factor: int, height: int, width: int) -> NDArray[np.bool_]:
    """The definition: the whole mask, height x width, of a region whose window has its corner at pixel (top, left)."""
    mask, inside = np.zeros((height, width), bool), window(scores, factor)
    for y, x in np.ndindex(inside.shape):
        if 0 <= top + y < height and 0 <= left + x < width:
            mask[top + y, left + x] = inside[y, x]
    return mask


def with_numpy(cells: Any, tops: Any, lefts: Any, factor: int, height: int, width: int, out: Any) -> None:
    """Where the masks turn, a region after another."""
    columns = np.zeros((out.shape[1], out.shape[2] + 1), np.int8)
    pixel = np.arange(out.shape[1])
    for k, (top, left) in enumerate(zip(tops, lefts, strict=True)):
        there = (pixel + top >= 0) & (pixel + top < height) & ((pixel + left >= 0) & (pixel + left < width))[:, None]
        columns[:, 1:-1] = window(cells[:, :, k], factor).T & there
        out[k] = np.diff(columns) != 0


@cache
def _compiled() -> Any:
    """The Halide pipeline; compiling takes about a second, once in a process."""
    import halide as hl

    u, v, j, k = (hl.Var(name) for name in "uvjk")
    cells = hl.ImageParam(hl.Float(32), 3, "cells")
    tops, lefts = (hl.ImageParam(hl.Int(32), 1, name) for name in ("tops", "lefts"))
    s, height, width = (hl.Param(hl.Int(32), name) for name in ("s", "height", "width"))
    tall, inside, out = (hl.Func(name) for name in ("tall", "inside", "out"))
    size = cells.dim(1).extent()

    def between(pixel: Any) -> tuple[Any, Any, Any]:
        """The cell before a pixel, maybe -1, its weight, and that of the next cell."""
        rest = (2 * pixel + 1 - s) % (2 * s)
        return hl.clamp((2 * pixel + 1 - s) // (2 * s), -1, size - 1), hl.f64(2 * s - rest), hl.f64(rest)

    def cell(i: Any) -> Any:
        there = (i >= 0) & (i < size) & (j >= 0) & (j < size)
        return hl.f64(hl.select(there, cells[k, hl.clamp(j, 0, size - 1), hl.clamp(i, 0, size - 1)], 0.0))

    low, own, following = between(v)
    tall[v, j, k] = cell(low) * own + cell(low + 1) * following
    low, own, following = between(u)
    score = tall[v, low, k] * own + tall[v, low + 1, k] * following
    row, column = tops[k] + v, lefts[k] + u
    there = (v >= 0) & (v < size * s) & (row >= 0) & (row < height) & (column >= 0) & (column < width)
    inside[v, u, k] = hl.u8(there & (score > 0.0))
    out[v, u, k] = inside[v, u, k] ^ inside[v - 1, u, k]
    out.vectorize(v, _LANES, hl.TailStrategy.GuardWithIf).parallel(k)
    inside.compute_at(out, u).vectorize(v, _LANES)
    tall.compute_at(out, k).vectorize(v, _LANES)
    return out.compile_to_callable([cells, tops, lefts, s, height, width])


_LANES = 16   # pixels of a column


def with_halide(cells: Any, tops: Any, lefts: Any, factor: int, height: int, width: int, out: Any) -> None:
    """The same on the CPU, by Halide."""
    import halide as hl

    _compiled()(*(hl.Buffer(np.require(array, requirements=["C", "W"])) for array in (cells, tops, lefts)),
                factor, height, width, hl.Buffer(out))


CUDA = r"""
__device__ int floored(int a, int b) { return a / b - (a % b < 0); }

// Whether a pixel of a region's window, row v and column u, is in the picture and in the mask
__device__ bool inside(
        const float* cells, int regions, int k, int size, int s, int v, int u, int row, int column, int height,
        int width) {
    if (v < 0 || v >= size * s || row < 0 || row >= height || column < 0 || column >= width) return false;
    int i = floored(2 * v + 1 - s, 2 * s), j = floored(2 * u + 1 - s, 2 * s);
    double down = 2 * v + 1 - s - 2 * s * i, across = 2 * u + 1 - s - 2 * s * j, score = 0;
    for (int b = 0; b < 2; b++) {
        double tall = 0;
        for (int a = 0; a < 2; a++)
            if (i + a >= 0 && i + a < size && j + b >= 0 && j + b < size)
                tall += (a ? down : 2 * s - down) * cells[((long long)(i + a) * size + j + b) * regions + k];
        score += (b ? across : 2 * s - across) * tall;
    }
    return score > 0;
}

extern "C" __global__ void turns(
        const float* cells, const int* tops, const int* lefts, int s, int height, int width, int size, int regions,
        unsigned char* out) {
    int side = size * s;
    long long at = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= (long long)regions * side * (side + 1)) return;
    int v = at % (side + 1), u = at / (side + 1) % side, k = at / (side + 1) / side;
    int row = tops[k] + v, column = lefts[k] + u;
    out[at] = inside(cells, regions, k, size, s, v, u, row, column, height, width)
            != inside(cells, regions, k, size, s, v - 1, u, row - 1, column, height, width);
}
"""


def with_cuda(cells: Any, tops: Any, lefts: Any, factor: int, height: int, width: int, out: Any) -> None:
    """The same on a GPU; CuPy arrays."""
    numbers = (np.int32(n) for n in (factor, height, width, len(cells), len(tops)))
    backend.launch(CUDA, "turns", (-(-out.size // backend.THREADS),), cells, tops, lefts, *numbers, out)


BACKENDS = {"numpy": with_numpy, "halide": with_halide, "cuda": with_cuda}


def encode_all(cells: Any, tops: Any, lefts: Any, factor: int, height: int, width: int) -> list[dict[str, Any]]:
    """The RLE of K regions, as pycocotools.mask.encode gives it for the whole masks: size and counts (bytes).

    `cells`: R x R x K, a NumPy or a CuPy array; `tops`, `lefts` (K): the windows' corners in pixels, may be negative;
    `factor`: pixels for each cell."""
    name, _ = backend.choose(cells)
    xp = backend.find("cupy")[0] if name == "cuda" else np
    cells, side = xp.ascontiguousarray(cells, np.float32), len(cells) * factor
    corners = np.stack([tops, lefts]).astype(np.int32)
    chunk = max(1, _BYTES // max(1, side * (side + 1)))
    found = []
    for start in range(0, corners.shape[1], chunk):
        top, left = (xp.ascontiguousarray(xp.asarray(corner[start:start + chunk])) for corner in corners)
        out = xp.empty((len(top), side, side + 1), np.uint8)
        BACKENDS[name](xp.ascontiguousarray(cells[:, :, start:start + chunk]), top, left, factor, height, width, out)
        k, u, v = xp.unravel_index(xp.flatnonzero(out.view(bool)), out.shape)
        turns = (left[k] + u) * height + top[k] + v
        if name == "cuda":
            k, turns = k.get(), turns.get()
        bounds = np.searchsorted(k, np.arange(len(top) + 1))
        found += [compressed(lengths(turns[begin:end], height * width))
                  for begin, end in zip(bounds[:-1], bounds[1:], strict=True)]
    return [{"size": [height, width], "counts": counts} for counts in found]


def encode(scores: Any, top: int, left: int, factor: int, height: int, width: int) -> dict[str, Any]:
    """The RLE of one region, of R x R scores."""
    return encode_all(np.asarray(scores)[:, :, None], [top], [left], factor, height, width)[0]


def lengths(turns: NDArray[np.int64], pixels: int) -> NDArray[np.int64]:
    """Lengths of the runs, 0s first, of a mask of so many pixels: from where runs in columns begin and end, by turns,
    counted column by column."""
    # a run to the foot of a column goes on at the head of the next, where both touch the picture's borders
    joint = np.flatnonzero(turns[1:-1:2] == turns[2::2]) * 2 + 1
    edges = np.delete(turns, np.concatenate([joint, joint + 1]))
    found: NDArray[np.int64] = np.diff(edges, prepend=0, append=pixels).astype(np.int64, copy=False)
    return found if found[-1] or len(found) == 1 else found[:-1]


def compressed(runs: NDArray[np.int64]) -> bytes:
    """COCO's string of the lengths of runs: differences to the length before last from the fourth on, 5 bits a byte,
    low bits first, the sixth bit set but in the last byte of a number."""
    values = runs.copy()
    values[3:] -= runs[1:-2]
    place = np.arange(12)
    bits = values[:, None] >> 5 * place & 31
    last = values[:, None] >> 5 * (place + 1) == -(bits >> 4)   # what is left is the sign
    return (48 + bits + 32 * ~last).astype(np.uint8)[place <= last.argmax(1)[:, None]].tobytes()
