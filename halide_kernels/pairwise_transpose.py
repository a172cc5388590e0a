"""Pairwise transpose: pT(x, D) = p(x + D, -D), the matrix transpose of values on pairs of places (thesis 4.3.2).

A pairwise blob is N x (R*R) x H x W; channel i*R + j of place (y, x) is the pair of it and the place (i - c, j - c)
grid steps on, c = (R - 1) / 2. For odd R the transpose leads from the grid to itself. For even R the places x + D lie
between those of the grid: the result lives on the dual grid, (H + 1) x (W + 1), whose place k lies at k - 1/2 steps of
the grid, so with a grid of stride s its first place is s / 2 pixels before the grid's. The inverse leads from the dual
grid back to the grid. Values from outside the map are 0, unknown.

One kernel does all of it: the sizes of the two arrays say which is meant. It moves values without repeating one, so
its gradient is the same kernel with the arrays exchanged, which is also the inverse.
"""

from __future__ import annotations

from functools import cache
from math import isqrt
from typing import Any

import numpy as np

from . import backend


def shift(r: int, size: int, other: int) -> int:
    """Place y's cell i lies at place y + i - shift of a map with `other` rows, where y is in a map with `size` rows:
    the same grid for odd r, the dual one, a row more or less, for even r."""
    return (r - 1 + size - other) // 2


def _move(p: Any, out: Any, cell: int) -> None:
    """One cell of all pictures."""
    r = isqrt(p.shape[1])
    s, (i, j) = shift(r, out.shape[2], p.shape[2]), divmod(cell, r)
    rows, cols = (slice(max(0, s - k), max(0, s - k, min(size, other + s - k)))
                  for k, size, other in zip((i, j), out.shape[2:], p.shape[2:], strict=True))
    out[:, cell] = 0
    out[:, cell, rows, cols] = p[:, r * r - 1 - cell, rows.start + i - s:rows.stop + i - s,
                                 cols.start + j - s:cols.stop + j - s]


def with_numpy(p: Any, out: Any) -> None:
    """The definition. `p`: N x R*R x H x W; `out` the same for odd R; for even R with H + 1 and W + 1 (to the dual
    grid) or H - 1 and W - 1 (back)."""
    for cell in range(p.shape[1]):
        _move(p, out, cell)


_LANES = 8


@cache
def _compiled() -> Any:
    """The Halide pipeline; compiling takes about a second, once in a process."""
    import halide as hl

    x, y, plane = (hl.Var(name) for name in ("x", "y", "plane"))
    p = hl.ImageParam(hl.Float(32), 1, "p")
    r, s, h, w, width = (hl.Param(hl.Int(32), name) for name in ("r", "s", "h", "w", "width"))
    out = hl.Func("out")
    cell = (plane + 1) % (r * r)   # the planes are those of out but for the first
    opposite = plane + 1 + (r * r - 1 - 2 * cell)
    row, left = y + cell // r - s, cell % r - s
    start = (opposite * h + hl.clamp(row, 0, h - 1)) * w + left
    value = p[hl.unsafe_promise_clamped(start, 0, p.dim(0).extent() - width) + x]
    out[x, y, plane] = hl.select((row >= 0) & (row < h) & (x + left >= 0) & (x + left < w), value, hl.f32(0))
    # Planes share out the cores. What is read beyond a row's ends belongs to its neighbours and is not used: a test of
    # a whole vector costs less than to load the border's values one by one, by a tenth on 120 x 160 places.
    out.specialize(width >= _LANES).vectorize(x, _LANES, hl.TailStrategy.ShiftInwards).parallel(plane)
    out.vectorize(x, _LANES, hl.TailStrategy.GuardWithIf).parallel(plane)
    return out.compile_to_callable([p, r, s, h, w, width])


def with_halide(p: Any, out: Any) -> None:
    """The same on the CPU, by Halide; float32."""
    import halide as hl

    (n, cells, h, w), r = p.shape, isqrt(p.shape[1])
    planes = out.reshape(n * cells, *out.shape[2:])
    if len(planes) < 3 or h * w < 2 * r:
        with_numpy(p, out)
        return
    # the first and the last plane have no neighbours on one side
    _move(p[:1], out[:1], 0)
    _move(p[-1:], out[-1:], cells - 1)
    p = np.require(p, requirements=["C", "W"])   # a buffer of Halide must be writable, also one that it reads
    _compiled()(hl.Buffer(p.reshape(-1)), r, shift(r, out.shape[2], h), h, w, out.shape[3], hl.Buffer(planes[1:-1]))


CUDA = r"""
extern "C" __global__ void pairwise_transpose(
        const float* p, float* out, int r, int s, int height, int width, int h, int w) {
    int at = blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= height * width) return;
    int cell = blockIdx.y, y = at / width + cell / r - s, x = at % width + cell % r - s;
    long long plane = (long long)blockIdx.z * r * r;
    bool known = y >= 0 && y < h && x >= 0 && x < w;
    out[(plane + cell) * height * width + at] = known ? p[((plane + r * r - 1 - cell) * h + y) * w + x] : 0.0f;
}
"""


def with_cuda(p: Any, out: Any) -> None:
    """The same on a GPU; CuPy arrays."""
    r, (height, width), (h, w) = isqrt(p.shape[1]), out.shape[2:], p.shape[2:]
    sizes = [np.int32(number) for number in (r, shift(r, height, h), height, width, h, w)]
    backend.launch(CUDA, "pairwise_transpose", (-(-height * width // backend.THREADS), r * r, len(p)), p, out, *sizes)


BACKENDS = {"numpy": with_numpy, "halide": with_halide, "cuda": with_cuda}


def transpose(p: Any, out: Any) -> str:
    """Write the transpose of `p` into `out`, by the back end for such arrays; returns a sentence that names it."""
    name, sentence = backend.choose(p)
    BACKENDS[name](p, out)
    return sentence
