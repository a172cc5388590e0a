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


def with_numpy(p: Any, out: Any) -> None:
    """The definition. `p`: N x R*R x H x W; `out` the same for odd R; for even R with H + 1 and W + 1 (to the dual
    grid) or H - 1 and W - 1 (back)."""
    r = isqrt(p.shape[1])
    (height, width), (h, w) = out.shape[2:], p.shape[2:]
    s = shift(r, height, h)
    out[...] = 0
    for i in range(r):
        rows = slice(max(0, s - i), min(height, h + s - i))
        for j in range(r):
            cols = slice(max(0, s - j), min(width, w + s - j))
            if rows.start < rows.stop and cols.start < cols.stop:
                out[:, i * r + j, rows, cols] = p[:, (r - 1 - i) * r + r - 1 - j, rows.start + i - s: rows.stop + i - s,
                                                  cols.start + j - s: cols.stop + j - s]


@cache
def _compiled() -> Any:
    """The Halide pipeline; compiling takes about a second, once in a process."""
    import halide as hl

    x, y, j, i, n = (hl.Var(name) for name in ("x", "y", "j", "i", "n"))
    p, s = hl.ImageParam(hl.Float(32), 5, "p"), hl.Param(hl.Int(32), "s")
    out = hl.Func("out")
    known = hl.BoundaryConditions.constant_exterior(p, hl.f32(0), [
        (p.dim(0).min(), p.dim(0).extent()), (p.dim(1).min(), p.dim(1).extent())])
    last = p.dim(2).extent() - 1
    out[x, y, j, i, n] = known[x + j - s, y + i - s, last - j, last - i, n]
    plane = hl.Var("plane")
    # Planes share out the cores: 14 x 14 cells on 120 x 160 places take 0.86 ms on two, where a plain copy takes
    # 0.72 and NumPy's definition 1.6; a thread for each row of cells, or wider vectors, take 1.5 and more.
    out.vectorize(x, 8, hl.TailStrategy.GuardWithIf)
    out.fuse(j, i, plane).fuse(plane, n, plane).parallel(plane)
    return out.compile_to_callable([p, s])


def with_halide(p: Any, out: Any) -> None:
    """The same on the CPU, by Halide; float32."""
    import halide as hl

    r = isqrt(p.shape[1])
    p = np.require(p, requirements=["C", "W"])   # a buffer of Halide must be writable, also one that it reads
    source, target = (hl.Buffer(a.reshape(len(a), r, r, *a.shape[2:])) for a in (p, out))
    _compiled()(source, shift(r, out.shape[2], p.shape[2]), target)


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
