"""Min-sum messages (`min_sum`) by Halide on the CPU: half a sweep, from all nodes of a colour, is a call.

The nodes of a colour lie one after another, row by row, W / 2 (rounded up) in each: innermost, so that a vector is some
nodes with the same label, and no lane is idle for any number of labels. Below and above is then a row of these further;
left and right are the node itself and the one before, or the one after, by the parity of the row. Margins make that
valid memory at the border, where `there` says that what is read does not count. Each colour keeps what it sent.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

STEPS = ((-1, 0), (1, 0), (0, -1), (0, 1))   # to the neighbours; d ^ 1 is the way back
_LANES = 8   # nodes in a vector
_TILE = 3    # labels, each way, whose minima are found together, in registers


@cache
def _compiled() -> Any:
    """The Halide pipeline; compiling takes a second or two, once in a process."""
    import halide as hl

    n, x, y, d, k, no, ni, xo, yo = (hl.Var(name) for name in ("n", "x", "y", "d", "k", "no", "ni", "xo", "yo"))
    data = hl.ImageParam(hl.Float(32), 3, "data")
    sent = hl.ImageParam(hl.Float(32), 4, "sent")        # by the other colour
    offset = hl.ImageParam(hl.Float(32), 3, "offset")    # of n, for each direction and axis: own centre less other
    there = hl.ImageParam(hl.UInt(8), 2, "there")
    later = hl.ImageParam(hl.UInt(8), 1, "later")        # left and right of n are n and n + 1, not n - 1 and n
    beta, pitch = hl.Param(hl.Float(32), "beta"), hl.Param(hl.Int(32), "pitch")
    received, own, cost, across, wide, down, tall, least, out = (hl.Func(name) for name in (
        "received", "own", "cost", "across", "wide", "down", "tall", "least", "out"))
    width, height = data.dim(1).extent(), data.dim(2).extent()

    def at(step: Any) -> Any:   # Halide cannot see that the margins suffice
        first = sent.dim(0).min()
        return sent[hl.unsafe_promise_clamped(n + step, first, first + sent.dim(0).extent() - 1), x, y,
                    hl.clamp(d + 1 - 2 * (d % 2), 0, 3)]

    beside = hl.select(later[n] != 0, at(d - 2), at(d - 3))
    above_or_below = at(hl.select(d == 0, -pitch, pitch))
    received[n, x, y, d] = hl.select(there[n, d] != 0, hl.select(d < 2, above_or_below, beside), 0.0)
    own[n, x, y, d] = (data[n, x, y] + received[n, x, y, (d + 1) % 4] + received[n, x, y, (d + 2) % 4]
                       + received[n, x, y, (d + 3) % 4])
    away = hl.f32(k) + offset[n, d, y]
    cost[n, k, y, d] = beta * away * away                # k labels from p to q along axis y
    r = hl.RDom([(0, width)], "r")
    across[n, x, y, d] = float("inf")
    across[n, x, y, d] = hl.min(across[n, x, y, d], own[n, r.x, y, d] + cost[n, r.x - x, 1, d])
    wide[n, x, y, d] = across[n, x, y, d]
    s = hl.RDom([(0, height)], "s")
    down[n, x, y, d] = float("inf")
    down[n, x, y, d] = hl.min(down[n, x, y, d], wide[n, x, s.x, d] + cost[n, s.x - y, 0, d])
    tall[n, x, y, d] = down[n, x, y, d]
    every = hl.RDom([(0, width), (0, height)], "every")
    least[n, d] = float("inf")
    least[n, d] = hl.min(least[n, d], tall[n, every.x, every.y, d])
    out[n, x, y, d] = tall[n, x, y, d] - least[n, d]

    # 30 x 30 nodes with 21 x 21 labels: a sweep takes 7.5 ms on a core with AVX2; with tiles of 4 x 4 or 7 x 2 10 ms.
    # The labels of a message, 14 KiB for 8 nodes, stay in the first cache between the two passes. Each pass goes along
    # its rows first, three steps at a time: as fast alone, and a third faster where other work shares the caches.
    out.bound(d, 0, 4).split(n, no, ni, _LANES, hl.TailStrategy.RoundUp).reorder(ni, x, y, d, no)
    out.vectorize(ni).parallel(no)
    received.compute_at(out, no).bound(d, 0, 4).reorder(n, d, x, y).vectorize(n, _LANES).unroll(d)
    for func in (own, cost, least):
        func.compute_at(out, d).vectorize(n, _LANES)
    least.update().vectorize(n, _LANES)
    for whole, part, p, loops in ((wide, across, r.x, (xo, yo)), (tall, down, s.x, (yo, xo))):
        whole.compute_at(out, d).tile(x, y, xo, yo, x, y, _TILE, _TILE, hl.TailStrategy.RoundUp)
        whole.reorder(n, x, y, *loops).vectorize(n, _LANES).unroll(x).unroll(y)
        part.compute_at(whole, loops[0]).vectorize(n, _LANES).unroll(x).unroll(y)
        part.update().unroll(p, _TILE).reorder(n, x, y, p).vectorize(n, _LANES).unroll(x).unroll(y)
    return out.compile_to_callable([data, sent, offset, there, later, beta, pitch])


class _Colour:
    """The arrays of the nodes where y + x + colour is even, nodes innermost."""

    def __init__(self, colour: int, data: Any, centres: Any):
        height, width, *labels = data.shape
        self.pitch = -(-width // 2)
        self.margin = -(-(self.pitch + 1) // _LANES) * _LANES
        y, x = np.divmod(np.arange(height * self.pitch), self.pitch)
        later = (y + colour) % 2
        nodes = np.nonzero(2 * x + later < width)[0]   # in a row of odd width the last may be none
        y, x = y[nodes], (2 * x + later)[nodes]
        size = -(-height * self.pitch // _LANES) * _LANES
        self.data = np.zeros((*labels, size), np.float32)
        self.data[:, :, nodes] = np.moveaxis(data[y, x], 0, 2)
        self.later = np.zeros(size, np.uint8)
        self.later[:len(later)] = later
        self.there, self.offset = np.zeros((4, size), np.uint8), np.zeros((2, 4, size), np.float32)
        self.meets = []   # for each direction: nodes that have a neighbour there, and where the other colour keeps it
        for d, (dy, dx) in enumerate(STEPS):
            b, a = y + dy, x + dx
            inside = (b >= 0) & (b < height) & (a >= 0) & (a < width)
            self.there[d, nodes] = inside
            here, other = (y[inside], x[inside]), (b[inside], a[inside])
            self.offset[:, d, nodes[inside]] = (centres[here] - centres[other]).T
            self.meets.append((here, other[0] * self.pitch + other[1] // 2))
        self.sent = np.zeros((4, *labels, self.margin + size + self.margin), np.float32)
        self.inner = self.sent[..., self.margin:self.margin + size]

    def take(self, messages: Any, other: _Colour) -> None:
        """What these nodes received becomes what the other colour sent."""
        for d, (here, sender) in enumerate(self.meets):
            other.inner[d ^ 1][..., sender] = np.moveaxis(messages[d][here], 0, 2)

    def give(self, messages: Any, other: _Colour) -> None:
        """The way back."""
        for d, (here, sender) in enumerate(self.meets):
            messages[d][here] = np.moveaxis(other.inner[d ^ 1][..., sender], 2, 0)


def with_halide(data: Any, centres: Any, beta: float, messages: Any, sweeps: int) -> None:
    """The same on the CPU, by Halide."""
    import halide as hl

    colours = [_Colour(colour, data, centres) for colour in (0, 1)]
    calls = []
    for one, other in (colours, colours[::-1]):
        one.take(messages, other)
        sent = hl.Buffer(other.sent)
        sent.set_min([-one.margin, 0, 0, 0])
        tables = [hl.Buffer(array) for array in (one.offset, one.there, one.later)]
        calls.append((hl.Buffer(one.data), sent, *tables, float(beta), one.pitch, hl.Buffer(one.inner)))
    for _ in range(sweeps):
        for call in calls:
            _compiled()(*call)
    for one, other in (colours, colours[::-1]):
        one.give(messages, other)
