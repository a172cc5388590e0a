"""Min-sum belief propagation on a grid whose labels are displacements, with squared distances between neighbours.

A node (y, x) of an H x W grid has Ly x Lx labels; label (i, j) is the displacement centre + (i, j), in steps of the
grid, with a centre for each node. The energy of a labelling is the sum of `data` over the nodes and of
beta * |difference of displacements|^2 over the edges of the 4-neighbourhood (thesis 2.2). The message from p to q is

    m(l_q) = min over l_p of h(l_p) + beta * |centre_p + l_p - centre_q - l_q|^2

with h the data of p and what p received from its other neighbours, less the least of m, so that it stays within
0 and beta * (the largest squared distance) however many sweeps there are. The square falls apart into rows and columns:
two passes in one dimension, each a distance transform (Felzenszwalb and Huttenlocher, "Distance Transforms of Sampled
Functions", 2004). Linear in the labels by their lower envelope of parabolas, quadratic but without a branch by trying
all, which is faster at the sizes that grids of features have (benchmarks/min_sum.py).

Checkerboard (Felzenszwalb and Huttenlocher, "Efficient Belief Propagation for Early Vision", 2006): a sweep sends from
the nodes where y + x is even, then from the odd ones, so that it needs no second copy and is as good as two others.

Arrays of the back ends, all float32: `data`: H x W x Ly x Lx, infinite for a label that a node must not take (one must
be left); `centres`: H x W x 2; `messages`: 4 x H x W x Ly x Lx, changed in place: what a node received from its
neighbour above, below, left and right; 0 where there is none. The best label of a node is that of least
data + sum of messages.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import backend
from .min_sum_cuda import CUDA, with_cuda
from .min_sum_halide import STEPS, with_halide

__all__ = ["BACKENDS", "CUDA", "STEPS", "lower_envelope", "pass_messages", "try_all", "with_cuda", "with_halide",
           "with_numpy"]

_ENVELOPE_FROM = 100   # labels in a row: in NumPy the lower envelope is faster from there (benchmarks/min_sum.py)


def with_numpy(data: Any, centres: Any, beta: float, messages: Any, sweeps: int) -> None:
    """The definition; any precision."""
    height, width = data.shape[:2]
    colour = np.add.outer(np.arange(height), np.arange(width)) % 2
    for half in range(2 * sweeps):
        for d, (dy, dx) in enumerate(STEPS):
            y, x = np.nonzero(colour == half % 2)
            there = (y + dy >= 0) & (y + dy < height) & (x + dx >= 0) & (x + dx < width)
            y, x = y[there], x[there]
            own = data[y, x] + sum(messages[e, y, x] for e in range(4) if e != d)
            offset = centres[y, x] - centres[y + dy, x + dx]
            for axis in (1, 2):
                rows = np.moveaxis(own, axis, 2)
                transform = lower_envelope if beta > 0 and rows.shape[2] >= _ENVELOPE_FROM else try_all
                own = np.moveaxis(transform(rows, beta, offset[:, axis - 1, None]), 2, axis)
            messages[d ^ 1, y + dy, x + dx] = own - own.min((1, 2), keepdims=True)


def try_all(rows: Any, beta: float, offset: Any) -> Any:
    """min over p of rows[..., p] + beta * (p - q + offset)^2, for each q; `offset`: a number for each row."""
    q = np.arange(rows.shape[-1], dtype=rows.dtype)
    least = np.full_like(rows, np.inf)
    for p in range(rows.shape[-1]):
        np.minimum(least, rows[..., p, None] + beta * (p - q + np.asarray(offset)[..., None]) ** 2, out=least)
    return least


def lower_envelope(rows: Any, beta: float, offset: Any) -> Any:
    """The same by the lower envelope of parabolas; `beta` is not 0.  Each row takes its own steps, all at a time."""
    shape, size = rows.shape, rows.shape[-1]
    values = np.ascontiguousarray(rows).reshape(-1, size)
    offset = np.broadcast_to(offset, shape[:-1]).reshape(-1)
    row, count = np.arange(len(values)), len(values)
    place = np.zeros((count, size + 1), int)         # the parabolas of the envelope, by their p
    start = np.full((count, size + 1), np.inf)       # and from where each is the lowest
    top, p = np.full(count, -1), np.zeros(count, int)
    while len(at := row[p < size]):   # a step pushes p, or removes one that p hides, or skips an infinite p
        k, new = top[at], p[at]
        old, finite = place[at, np.maximum(k, 0)], np.isfinite(values[at, new])
        rise = np.subtract(values[at, new], values[at, old], out=np.full(len(at), -np.inf), where=finite & (k >= 0))
        meet = (new + old) / 2 + rise / (2 * beta * np.maximum(new - old, 1))
        hides = finite & (k >= 0) & (meet <= start[at, np.maximum(k, 0)])
        pushes = finite & ~hides
        place[at[pushes], k[pushes] + 1], start[at[pushes], k[pushes] + 1] = new[pushes], meet[pushes]
        top[at] = np.where(hides, k - 1, k + pushes)
        p[at] += ~hides
    start[row, top + 1] = np.inf
    least, k = np.empty_like(values), np.zeros(count, int)
    for q in range(size):
        while len(at := np.nonzero(start[row, k + 1] < q - offset)[0]):
            k[at] += 1
        least[:, q] = values[row, place[row, k]] + beta * (place[row, k] - q + offset) ** 2
    return least.reshape(shape)


BACKENDS = {"numpy": with_numpy, "halide": with_halide, "cuda": with_cuda}


def pass_messages(data: Any, beta: float, sweeps: int, centres: Any = None, messages: Any = None) -> tuple[Any, str]:
    """The messages after so many sweeps, and the sentence that names the back end.

    From `messages`, which are changed in place, or from zeros; `centres` None: the same at all nodes.
    """
    name, sentence = backend.choose(data)
    xp = backend.find("cupy")[0] if name == "cuda" else np
    data = xp.ascontiguousarray(data, dtype=np.float32)
    if centres is None:
        centres = xp.zeros((*data.shape[:2], 2), np.float32)
    if messages is None:
        messages = xp.zeros((4, *data.shape), np.float32)
    BACKENDS[name](data, xp.ascontiguousarray(centres, dtype=np.float32), beta, messages, sweeps)
    return messages, sentence
