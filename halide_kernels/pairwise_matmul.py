"""Pairwise matrix product: p12(x, D) = (+)_d p1(x, d) (x) p2(x + d, D - d), in five semirings (thesis 4.3.2).

Blobs as in `pairwise_transpose`: p1 of R1 x R1 cells on a grid H x W; p2 of R2 x R2 on the places x + d, which for odd
R1 are the same grid and for even R1 its dual, a row and a column more (or less, where p1 is on the dual grid). The full
result has R1 + R2 - 1 cells a side; R of the same parity keeps its middle. Offsets d count where D - d is a cell of p2
and x + d is in its map. Where none does, which happens only where x + D is outside the map, the result is 0, unknown.

A gradient goes to the offset that was chosen (for several equal terms the lowest index, i1*R1 + j1) in the semirings
of min and max, where max-min passes it to the lesser factor (p1 if equal); in logsumexp each gets its share.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import isqrt
from typing import Any

import numpy as np

from . import backend
from .pairwise_matmul_cuda import CUDA
from .pairwise_transpose import shift

SEMIRINGS = ("sum_product", "min_sum", "max_min", "max_product", "logsumexp_sum")


def times(semiring: str, a: Any, b: Any, where: Any = np.where) -> Any:
    """The semiring's product of arrays; with `where`=halide.select of Halide's expressions."""
    if semiring == "max_min":
        return where(b < a, b, a)
    return a * b if semiring.endswith("product") else a + b


def slopes(semiring: str, a: Any, b: Any, share: Any, where: Any = np.where) -> tuple[Any, Any]:
    """The derivatives of the result by a and by b, whose term has this share (0 to 1) in it."""
    if semiring == "max_min":
        return where(b < a, 0 * share, share), where(b < a, share, 0 * share)
    return (share * b, share * a) if semiring.endswith("product") else (share, share)


def sizes(p1: Any, p2: Any, out: Any) -> tuple[int, int, int, int, int]:
    """r1, r2, r; the `shift` from p1's places to p2's; and how many cells `out` lacks on each side."""
    r1, r2, r = (isqrt(blob.shape[1]) for blob in (p1, p2, out))
    return r1, r2, r, shift(r1, p1.shape[2], p2.shape[2]), (r1 + r2 - 1 - r) // 2


def _terms(p1: Any, p2: Any, out: Any) -> Iterator[tuple[int, Any, Any, Any]]:
    """For each d and cell of p2, d in order: its index, and where in p1, p2 and out the terms are."""
    r1, r2, r, s, crop = sizes(p1, p2, out)
    for i1, j1, i2, j2 in np.ndindex(r1, r1, r2, r2):
        i, j = i1 + i2 - crop, j1 + j2 - crop
        (y, rows), (x, cols) = (
            (slice(first, last), slice(first + k - s, last + k - s)) for k, size, other in zip(
                (i1, j1), p1.shape[2:], p2.shape[2:], strict=True)
            for first, last in [(max(0, s - k), max(0, s - k, min(size, other + s - k)))])
        if 0 <= i < r and 0 <= j < r:
            d = i1 * r1 + j1
            yield d, np.s_[:, d, y, x], np.s_[:, i2 * r2 + j2, rows, cols], np.s_[:, i * r + j, y, x]


def with_numpy(semiring: str, p1: Any, p2: Any, out: Any, arg: Any) -> None:
    """The definition. `out`: N x R*R x H x W as p1; `arg`, int32 of that shape, gets for min and max the index of the
    chosen d or -1 for none, which `backward_with_numpy` needs; its content in other semirings has no meaning."""
    out[...], arg[...] = 0, -1
    for d, at1, at2, at in _terms(p1, p2, out):
        term, sofar = times(semiring, p1[at1], p2[at2]), out[at]
        if semiring == "sum_product":
            out[at] += term
            continue
        if semiring == "logsumexp_sum":
            out[at] = np.where(arg[at] < 0, term, np.logaddexp(sofar, term))
            arg[at] = d
        else:
            takes = (arg[at] < 0) | (term < sofar if semiring == "min_sum" else term > sofar)
            out[at], arg[at] = np.where(takes, term, sofar), np.where(takes, d, arg[at])


def backward_with_numpy(semiring: str, p1: Any, p2: Any, out: Any, arg: Any, diff: Any, diff1: Any, diff2: Any) -> None:
    """`diff`, that of `out`, to `diff1` and `diff2`, those of p1 and p2; `out` and `arg` as the forward left them."""
    diff1[...], diff2[...] = 0, 0
    for d, at1, at2, at in _terms(p1, p2, out):
        a, b = p1[at1], p2[at2]
        if semiring == "logsumexp_sum":   # of terms that are all -inf none has a share
            share = np.exp(times(semiring, a, b) - np.where(out[at] == -np.inf, 0, out[at]))
        else:
            share = np.where((arg[at] == d) | (semiring == "sum_product"), a.dtype.type(1), a.dtype.type(0))
        slope1, slope2 = slopes(semiring, a, b, share)
        diff1[at1] += diff[at] * slope1
        diff2[at2] += diff[at] * slope2


def with_halide(semiring: str, p1: Any, p2: Any, out: Any, arg: Any) -> None:
    """The same on the CPU, by Halide; float32."""
    from . import pairwise_matmul_halide as pipelines

    *_, s, crop = sizes(p1, p2, out)
    pipelines.forward(semiring)(*pipelines.buffers(p1, p2), s, crop, *pipelines.buffers(out, arg))


def backward_with_halide(
    semiring: str, p1: Any, p2: Any, out: Any, arg: Any, diff: Any, diff1: Any, diff2: Any
) -> None:
    """The gradients on the CPU, by Halide; float32."""
    from . import pairwise_matmul_halide as pipelines

    *_, s, crop = sizes(p1, p2, out)
    for which, result in ((1, diff1), (2, diff2)):
        pipelines.backward(semiring, which)(
            *pipelines.buffers(p1, p2, out, arg, diff), s, crop, *pipelines.buffers(result))


def with_cuda(semiring: str, p1: Any, p2: Any, out: Any, arg: Any) -> None:
    """The same on a GPU; CuPy arrays."""
    _launch("pairwise_product", semiring, out, p1, p2, out, arg)


def backward_with_cuda(semiring: str, p1: Any, p2: Any, out: Any, arg: Any, diff: Any, diff1: Any, diff2: Any) -> None:
    """The gradients on a GPU; CuPy arrays."""
    _launch("pairwise_product_1", semiring, diff1, p1, p2, out, arg, diff, diff1)
    _launch("pairwise_product_2", semiring, diff2, p1, p2, out, arg, diff, diff2)


def _launch(name: str, semiring: str, result: Any, p1: Any, p2: Any, out: Any, *others: Any) -> None:
    numbers = (SEMIRINGS.index(semiring), *sizes(p1, p2, out), *p1.shape[2:], *p2.shape[2:])
    n, cells, height, width = result.shape
    backend.launch(CUDA, name, (-(-height * width // backend.THREADS), cells, n), p1, p2, out, *others,
                   *map(np.int32, numbers))


BACKENDS = {"numpy": (with_numpy, backward_with_numpy), "halide": (with_halide, backward_with_halide),
            "cuda": (with_cuda, backward_with_cuda)}


def product(semiring: str, p1: Any, p2: Any, out: Any, arg: Any) -> str:
    """Write the product into `out` and `arg`, by the back end for such arrays; returns a sentence that names it."""
    name, sentence = backend.choose(p1)
    BACKENDS[name][0](semiring, p1, p2, out, arg)
    return sentence


def backward(semiring: str, p1: Any, *arrays: Any) -> None:
    """The gradients, by the back end for such arrays; arguments as of `backward_with_numpy`."""
    BACKENDS[backend.choose(p1)[0]][1](semiring, p1, *arrays)
