"""The Halide pipelines of `pairwise_matmul`: one for each semiring forward, and one for each gradient; float32.

Importing this module imports Halide; `pairwise_matmul` does so on first use.
"""

from __future__ import annotations

from functools import cache
from math import isqrt
from typing import Any

import halide as hl
import numpy as np

from .pairwise_matmul import slopes, times

x, y, j, i, n, plane = (hl.Var(name) for name in ("x", "y", "j", "i", "n", "plane"))


def buffers(*blobs: Any) -> list[Any]:
    """The blobs as Halide sees them, by x, y, j, i, n; writable, as a buffer must be, also one that is read."""
    windows = ((np.require(blob, requirements=["C", "W"]), isqrt(blob.shape[1])) for blob in blobs)
    return [hl.Buffer(blob.reshape(len(blob), r, r, *blob.shape[2:])) for blob, r in windows]


def _inputs(*names: str) -> tuple[Any, ...]:
    return tuple(hl.ImageParam(hl.Int(32) if name == "arg" else hl.Float(32), 5, name) for name in names)


def _size(blob: Any, axis: int) -> Any:
    return blob.dim(axis).extent()


def _inside(at: Any, size: Any) -> Any:
    return (at >= 0) & (at < size)


def _value(blob: Any, *at: Any) -> Any:
    """The blob's value there; outside it the nearest one, which is read and not used."""
    return hl.Expr(hl.BoundaryConditions.repeat_edge(blob)[at])


def _schedule(func: Any) -> None:
    """Planes share out the cores; a row is a vector's loop, for which Halide tests the borders outside."""
    func.vectorize(x, 8, hl.TailStrategy.GuardWithIf)


def _planes(func: Any) -> None:
    _schedule(func)
    func.fuse(j, i, plane).fuse(plane, n, plane).parallel(plane)


@cache
def forward(semiring: str) -> Any:
    """(p1, p2, shift, crop) to out and arg; compiling takes about a second, once in a process."""
    p1, p2 = _inputs("p1", "p2")
    s, crop = hl.Param(hl.Int(32), "s"), hl.Param(hl.Int(32), "crop")
    r1 = _size(p1, 2)
    d = hl.RDom([(0, r1), (0, r1)])
    j2, i2, there_x, there_y = j + crop - d.x, i + crop - d.y, x + d.x - s, y + d.y - s
    d.where(_inside(j2, _size(p2, 2)) & _inside(i2, _size(p2, 3)) & _inside(there_y, _size(p2, 1)))
    exists = hl.likely(_inside(there_x, _size(p2, 0)))
    term = times(semiring, _value(p1, x, y, d.x, d.y, n), _value(p2, there_x, there_y, j2, i2, n), hl.select)
    out, best, total = hl.Func("out"), hl.Func("best"), hl.Func("total")
    at = (x, y, j, i, n)
    if semiring == "sum_product":
        total[at] = hl.f32(0)
        total[at] += hl.select(exists, term, hl.f32(0))
        out[at] = (total[at], hl.i32(-1))
        stages = [total]
    else:
        best[at] = (hl.f32(0), hl.i32(-1))
        value, chosen = hl.Expr(best[at][0]), hl.Expr(best[at][1])
        takes = exists & ((chosen < 0) | (term < value if semiring == "min_sum" else term > value))
        best[at] = (hl.select(takes, term, value), hl.select(takes, d.y * r1 + d.x, chosen))
        stages = [best]
        result = hl.Expr(best[at][0])
        if semiring == "logsumexp_sum":   # terms of -inf alone: exp(-inf - 0)
            most = hl.select(result == -hl.f32(np.inf), hl.f32(0), result)
            total[at] = hl.f32(0)
            total[at] += hl.select(exists, hl.exp(term - most), hl.f32(0))
            result = hl.select(best[at][1] < 0, hl.f32(0), most + hl.log(total[at]))
            stages = [best, total]
        out[at] = (result, best[at][1])
    _planes(out)
    for func in stages:
        func.compute_at(out, y)
        _schedule(func)
        _schedule(func.update())
    return out.compile_to_callable([p1, p2, s, crop])


@cache
def backward(semiring: str, which: int) -> Any:
    """(p1, p2, out, arg, diff, shift, crop) to the diff of p1 or (`which` 2) of p2: each gathers its own terms."""
    p1, p2, out, arg, diff = _inputs("p1", "p2", "out", "arg", "diff")
    s, crop = hl.Param(hl.Int(32), "s"), hl.Param(hl.Int(32), "crop")
    result = hl.Func("result")
    other = p2 if which == 1 else p1
    k = hl.RDom([(0, _size(other, 2)), (0, _size(other, 2))])
    if which == 1:
        (j1, i1, x1, y1), (j2, i2, x2, y2) = (j, i, x, y), (k.x, k.y, x + j - s, y + i - s)
        there_x, there_y = x2, y2
    else:
        (j1, i1, x1, y1), (j2, i2, x2, y2) = (k.x, k.y, x - k.x + s, y - k.y + s), (j, i, x, y)
        there_x, there_y = x1, y1
    goal_j, goal_i = j1 + j2 - crop, i1 + i2 - crop
    k.where(_inside(goal_j, _size(out, 2)) & _inside(goal_i, _size(out, 3)) & _inside(there_y, _size(other, 1)))
    exists = hl.likely(_inside(there_x, _size(other, 0)))
    a, b, goal = _value(p1, x1, y1, j1, i1, n), _value(p2, x2, y2, j2, i2, n), (x1, y1, goal_j, goal_i, n)
    if semiring == "logsumexp_sum":
        value = _value(out, *goal)
        share = hl.exp(times(semiring, a, b) - hl.select(value == -hl.f32(np.inf), hl.f32(0), value))
    elif semiring == "sum_product":
        share = hl.f32(1)
    else:
        share = hl.select(_value(arg, *goal) == i1 * _size(p1, 2) + j1, hl.f32(1), hl.f32(0))
    slope = slopes(semiring, a, b, share, hl.select)[which - 1]
    result[x, y, j, i, n] = hl.f32(0)
    result[x, y, j, i, n] += hl.select(exists, _value(diff, *goal) * slope, hl.f32(0))
    _planes(result)
    _planes(result.update())
    return result.compile_to_callable([p1, p2, out, arg, diff, s, crop])
