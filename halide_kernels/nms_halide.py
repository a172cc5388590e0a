"""Non-max suppression by Halide on the CPU: bits from masks, conflicts of any two pathways, and the removal (`nms`)."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from .nms_grids import (
    CELL,
    HEIGHT,
    LEFT,
    REGION,
    SIDE,
    STRIDE,
    TOP,
    WIDTH,
    WORDS,
    Meeting,
    Packed,
    corner_of,
    fill_with_numpy,
    first_line,
    overlap,
    word_of,
)


@cache
def _compiled(fine_first: bool) -> Any:
    """The Halide pipeline, for own cells finer (or equal) or coarser than the others'; compiles in about a second."""
    import halide as hl

    x, y, n, k, e = (hl.Var(name) for name in "xynke")
    tables = {name: hl.ImageParam(kind, 1, name) for name, kind in (
        ("members", hl.Int(32)), ("alive", hl.UInt(8)), ("area", hl.Int(32)),
        ("rank", hl.Int(32)), ("words", hl.UInt(64)))}
    unit, rows = hl.Param(hl.Int(32), "unit"), hl.Param(hl.Int(32), "rows")
    threshold = hl.Param(hl.Float(64), "threshold")
    # numbers and not tables: no faster, but the bounds of an RDom may depend on them
    own, path = ([hl.Param(hl.Int(32), f"{name}_{i}") for i in range(10)] for name in ("own", "path"))

    def at(name: str, index: Any) -> Any:   # Halide cannot see that an index from a table is in bounds
        return tables[name][hl.clamp(index, 0, tables[name].dim(0).extent() - 1)]

    # where the member lies; which line of the grid is its y-th, and x-th; what depends on the row alone
    corner, rows_, columns, candidate = (hl.Func(name) for name in ("corner", "rows_", "columns", "candidate"))
    one = tables["members"][n]
    corner[n] = corner_of(own, one)
    window, other_window = own[SIDE] * own[CELL], path[SIDE] * path[CELL]
    row = first_line(corner[n][0], TOP, own, path) + y
    column = first_line(corner[n][1], LEFT, own, path) + x
    other_top, other_left = path[TOP] + path[STRIDE] * row, path[LEFT] + path[STRIDE] * column
    other = path[REGION] + row * path[WIDTH] + column
    # what two regions share is at most the smaller, or what their windows share
    both_areas = at("area", one), at("area", other)
    most = hl.min(*both_areas, overlap(hl, corner[n][0], window, other_top, other_window)
                   * overlap(hl, corner[n][1], window, other_left, other_window))
    there = (row >= 0) & (row < path[HEIGHT]) & (column >= 0) & (column < path[WIDTH])
    there = there & (at("alive", other) != 0) & (at("rank", other) > at("rank", one))
    there = there & (hl.f64(most) > threshold * hl.f64(both_areas[0] + both_areas[1] - most))

    candidate[x, y, n] = hl.u8(there)

    (fine, f), (coarse, c) = ((own, one), (path, other))[::1 if fine_first else -1]
    turn = 1 if fine_first else -1
    columns[x, n] = turn * (corner[n][1] - other_left) // unit
    down = turn * (corner[n][0] - other_top) + fine[CELL] * k
    i = down // coarse[CELL] + e
    height = hl.min(down + fine[CELL], (i + 1) * coarse[CELL]) - hl.max(down, i * coarse[CELL])
    rows_[e, k, y, n] = i, hl.select((i >= 0) & (i < coarse[SIDE]), hl.max(height, 0), 0)

    r = hl.RDom([hl.Range(0, fine[WORDS]), hl.Range(0, rows), hl.Range(0, fine[SIDE])], "r")
    i, height = rows_[r.y, r.z, y, n][0], rows_[r.y, r.z, y, n][1]
    r.where((candidate[x, y, n] != 0) & (height > 0))
    start = columns[x, n] + 64 * r.x
    word, shift = start >> 6, start & 63

    def coarser(w: Any) -> Any:
        return hl.select((w >= 0) & (w < coarse[WORDS]), at("words", word_of(coarse, c, i, w)), hl.u64(0))

    bits = coarser(word) >> hl.u64(shift) | coarser(word + 1) << hl.u64(1) << hl.u64(63 - shift)
    shared, out = hl.Func("shared"), hl.Func("out")
    shared[x, y, n] = 0
    shared[x, y, n] += height * hl.i32(hl.popcount(bits & at("words", word_of(fine, f, r.z, r.x))))
    both = shared[x, y, n] * unit
    either = both_areas[0] + both_areas[1] - both
    out[x, y, n] = hl.select(candidate[x, y, n] != 0, hl.u8(both > threshold * hl.f64(either)), hl.u8(0))
    corner.compute_at(out, n)
    columns.compute_at(out, n)
    rows_.compute_at(out, y)
    candidate.compute_at(out, y)
    # One thread. A region of 729 neighbours of 14 x 14 cells, of which no two are alike: 27 us, against 258 with
    # the geometry computed for each pair, and 52 without `candidate` as a stage: it spares pairs that cannot conflict.
    shared.store_in(hl.MemoryType.Stack).compute_at(out, x)
    return out.compile_to_callable([*own, *path, *tables.values(), unit, rows, threshold])


def with_halide(packed: Packed, meet: Meeting, members: Any, alive: Any, threshold: float, out: Any) -> None:
    """As `nms.with_numpy`, without the count."""
    import halide as hl

    # NumPy has two names for 64 bits, of which Halide knows one
    tables = (members, alive, packed.area, packed.rank, packed.words.view(np.ulonglong))
    _compiled(meet.fine_first)(
        *meet.own.tolist(), *meet.path.tolist(), *(hl.Buffer(table) for table in tables), packed.unit, meet.rows,
        float(threshold), hl.Buffer(out))


@cache
def _filling() -> Any:
    """The Halide pipeline for masks whose rows have a word each; compiles in about a second."""
    import halide as hl

    x, y, k = (hl.Var(name) for name in "xyk")
    cells, bits = hl.ImageParam(hl.UInt(8), 4, "cells"), hl.Param(hl.Int(32), "bits")
    words, area, count = hl.Func("words"), hl.Func("area"), hl.Func("count")
    j, r = hl.RDom([(0, cells.dim(2).extent())], "j"), hl.RDom([(0, cells.dim(2).extent())], "r")
    ones = (hl.u64(2) << hl.u64(bits - 1)) - 1
    word = hl.Func("word")
    word[x, k, y] = hl.u64(0)
    word[x, k, y] = word[x, k, y] | hl.select(cells[x, y, j.x, k] != 0, ones << hl.u64(j.x * bits), hl.u64(0))
    words[x, k, y] = word[x, k, y]
    count[x, y] = hl.i32(0)
    count[x, y] += hl.i32(hl.popcount(words[x, r.x, y]))
    area[x, y] = count[x, y] // bits
    for stage in (words, area, word, word.update(), count, count.update()):
        stage.vectorize(x, 8, hl.TailStrategy.GuardWithIf)
    words.compute_root()
    word.compute_at(words, k).update().reorder(x, j.x)
    count.compute_at(area, y).update().reorder(x, r.x)
    return hl.Pipeline([words, area]).compile_to_callable([cells, bits])


def fill_with_halide(cells: Any, bits: int, words: Any, area: Any) -> None:
    """As `nms_grids.fill_with_numpy`, which does it where a row has several words."""
    import halide as hl

    if words.shape[2] > 1 or not words.size:
        fill_with_numpy(cells, bits, words, area)
    else:
        _filling()(hl.Buffer(np.require(cells.view(np.uint8), requirements=["C", "W"])), bits,
                   hl.Buffer(words[:, :, 0].view(np.ulonglong)), hl.Buffer(area))


@cache
def _removal() -> Any:
    import halide as hl

    ones, others = (hl.ImageParam(hl.Int(32), 1, name) for name in ("ones", "others"))
    alive, i = hl.Func("alive"), hl.Var("i")
    r = hl.RDom([(0, ones.dim(0).extent())], "r")

    def region(table: Any) -> Any:
        return hl.unsafe_promise_clamped(table[r.x], 0, alive.output_buffer().dim(0).extent() - 1)

    alive[i] = hl.undef(hl.UInt(8))   # what is there stays
    alive[region(others)] = hl.select(alive[region(ones)] != 0, hl.u8(0), alive[region(others)])
    return alive.compile_to_callable([ones, others])


def remove_with_halide(ones: Any, others: Any, alive: Any) -> None:
    """As `nms.remove_with_numpy`."""
    import halide as hl

    _removal()(hl.Buffer(ones), hl.Buffer(others), hl.Buffer(alive))
