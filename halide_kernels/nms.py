"""Non-max suppression of coarse region masks, each compared only with the windows that overlap its own (thesis 4.3.5).

The windows of a pathway lie on a grid: region (y, x) of `Pathway` has its corner at pixel (top + stride*y,
left + stride*x) and side x side square cells of `cell` pixels. Hence the windows that overlap a given one are known
beforehand, a number of them that does not grow with the picture, and the time is linear in the number of regions.

The IoU of two regions is that of their pixels, where a cell of the mask is cell x cell pixels, before any bilinear
upsampling, whatever the two cell sizes, and not cut off at the picture's border: the pixels in both over the pixels in
either, whole numbers. Greedy, by falling score, ties by index (pathway, then y, then x): a region that is still there
is kept, and removes those after it with intersection > threshold * union (in float64). So an empty mask neither
removes nor is removed. A score of -inf, or NaN, says that there is no region: it is not kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import backend
from .nms_cuda import CUDA, with_cuda
from .nms_grids import (
    CELL,
    HEIGHT,
    LEFT,
    REGION,
    SIDE,
    STRIDE,
    TOP,
    WIDTH,
    WORD,
    WORDS,
    Meeting,
    Packed,
    Pathway,
    corner_of,
    first_line,
    overlap,
    pack,
)
from .nms_halide import with_halide

__all__ = ["BACKENDS", "CUDA", "Packed", "Pathway", "pack", "suppress", "with_cuda", "with_halide", "with_numpy",
           "with_pixels"]

_CHUNK = 256   # regions compared at a time, the best that are left; only those of one chunk are compared in vain


def with_pixels(pathways: Sequence[Pathway], masks: Sequence[Any], scores: Sequence[Any], threshold: float) -> Any:
    """The definition, quadratic: every mask painted on a canvas that holds all windows, each compared with all."""
    painted = []
    top, left = min(p.top for p in pathways), min(p.left for p in pathways)
    height, width = (max(p_corner + p.stride * (s.shape[axis] - 1) + p.window for p, p_corner, s in zip(
        pathways, corners, scores, strict=True)) - first for axis, corners, first in (
        (0, [p.top for p in pathways], top), (1, [p.left for p in pathways], left)))
    for p, mask, score in zip(pathways, masks, scores, strict=True):
        for y, x in np.ndindex(score.shape):
            canvas = np.zeros((height, width), bool)
            window = np.kron(mask[:, y, x].reshape(p.side, p.side), np.ones((p.cell, p.cell))) != 0
            t, r = p.top - top + p.stride * y, p.left - left + p.stride * x
            canvas[t:t + p.window, r:r + p.window] = window
            painted.append(canvas.ravel())
    flat = np.concatenate([np.ravel(score) for score in scores])
    alive, kept = flat > -np.inf, np.zeros(len(flat), bool)
    for i in sorted(np.flatnonzero(alive), key=lambda i: (-flat[i], i)):
        if alive[i]:
            kept[i] = True
            alive[i] = False
            for j in np.flatnonzero(alive):
                both, either = np.count_nonzero(painted[i] & painted[j]), np.count_nonzero(painted[i] | painted[j])
                alive[j] = not both > threshold * either
    return kept


def _shared(packed: Packed, meet: Meeting, ones: Any, others: Any) -> Any:
    """The pixels that each of the regions `ones` shares with that of `others`."""
    (fine, f), (coarse, c) = ((meet.own, ones), (meet.path, others))[::1 if meet.fine_first else -1]
    (f_top, f_left), (c_top, c_left) = corner_of(fine, f), corner_of(coarse, c)
    k = np.arange(fine[SIDE])
    down = (f_top - c_top)[:, None, None] + fine[CELL] * k[:, None]   # pairs x rows x 1: pixels from coarse's top
    i = down // coarse[CELL] + np.arange(meet.rows)
    height = np.minimum(down + fine[CELL], (i + 1) * coarse[CELL]) - np.maximum(down, i * coarse[CELL])
    height = np.where((i >= 0) & (i < coarse[SIDE]), np.maximum(height, 0), 0)
    f_row = fine[WORD] + ((f - fine[REGION])[:, None] * fine[SIDE] + k) * fine[WORDS]
    c_row = coarse[WORD] + ((c - coarse[REGION])[:, None, None] * coarse[SIDE] + i) * coarse[WORDS]
    found = np.zeros(i.shape, np.int64)
    for w in range(fine[WORDS]):
        at, shift = np.divmod(((f_left - c_left) // packed.unit)[:, None, None] + 64 * w, 64)
        row = np.zeros(i.shape, np.uint64)
        for n in range(2):   # the bits from `shift` on of word `at`, then those of the next word
            there = (at + n >= 0) & (at + n < coarse[WORDS]) & (height > 0)
            word = np.where(there, packed.words[np.where(there, c_row + at + n, 0)], np.uint64(0))
            # the next word moves up by 64 - shift, in two steps since a word cannot be moved by 64
            row |= word << np.uint64(1) << (63 - shift).astype(np.uint64) if n else word >> shift.astype(np.uint64)
        found += _ones(row & packed.words[f_row + w][:, :, None])
    return (found * height).sum((1, 2)) * packed.unit


def _ones(words: Any) -> Any:
    """The set bits of each word (NumPy has that function since 2.0 only)."""
    pairs = words - (words >> np.uint64(1) & np.uint64(0x5555555555555555))
    fours = (pairs & np.uint64(0x3333333333333333)) + (pairs >> np.uint64(2) & np.uint64(0x3333333333333333))
    bytes_ = fours + (fours >> np.uint64(4)) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return (bytes_ * np.uint64(0x0101010101010101) >> np.uint64(56)).astype(np.int64)


def with_numpy(packed: Packed, meet: Meeting, members: Any, alive: Any, threshold: float, out: Any) -> int:
    """Which windows' regions a chunk of regions, `members` (K) of pathway `meet.own`, would remove: `out`, uint8,
    K x near x near, from the first line of the grid that overlaps on; returns how many pairs that took.

    The IoU is at most the smaller area, or what the windows share, over the larger area: that spares most pairs."""
    own, path = meet.own, meet.path
    top, left = corner_of(own, members.astype(np.int64))
    y = first_line(top, TOP, own, path)[:, None, None] + np.arange(meet.near)[:, None]
    x = first_line(left, LEFT, own, path)[:, None, None] + np.arange(meet.near)
    there = (y >= 0) & (y < path[HEIGHT]) & (x >= 0) & (x < path[WIDTH])
    others = np.where(there, path[REGION] + y * path[WIDTH] + x, 0)
    one, two = packed.area[members][:, None, None], packed.area[others]
    there &= (alive[others] != 0) & (packed.rank[others] > packed.rank[members][:, None, None])
    window, other_window = own[SIDE] * own[CELL], path[SIDE] * path[CELL]
    high = overlap(np, top[:, None, None], window, path[TOP] + path[STRIDE] * y, other_window)
    wide = overlap(np, left[:, None, None], window, path[LEFT] + path[STRIDE] * x, other_window)
    there &= np.minimum(np.minimum(one, two), high * wide) > threshold * np.maximum(one, two)
    pairs = np.nonzero(there)
    both = _shared(packed, meet, members[pairs[0]].astype(np.int64), others[pairs])
    out[...] = 0
    out[pairs] = both > threshold * (packed.area[members[pairs[0]]] + two[pairs] - both)
    return len(both)


BACKENDS = {"numpy": with_numpy, "halide": with_halide, "cuda": with_cuda}


def suppress(packed: Packed, threshold: float, conflicts: Any = None, most: int | None = None,
             ) -> tuple[NDArray[np.bool_], list[Any]]:
    """Which regions are kept, bool, and what each call of `conflicts` returned: a back end, else that for `packed`.
    With `most`, only the best so many of those that are kept, and no work for the others.

    Chunk by chunk by rank: each region is a member of at most one chunk, so that the number of pairs is at most that
    of overlapping windows, however many are kept."""
    conflicts = conflicts or BACKENDS[backend.choose(packed.words)[0]]
    alive, kept = (packed.rank >= 0).astype(np.uint8), np.zeros(len(packed.rank), bool)
    returned, place, wanted = [], 0, len(packed.order) if most is None else most
    while place < len(packed.order) and wanted:
        places = packed.order[place:place + _CHUNK]
        place += len(places)
        chunk = places[alive[places] != 0]
        removed: dict[int, list[Any]] = {int(region): [] for region in chunk}
        for p, own in enumerate(packed.paths):
            members = chunk[packed.of[chunk] == p]
            for path in packed.paths if len(members) else ():
                meet = Meeting(own, path, packed.unit)
                out = np.empty((len(members), meet.near, meet.near), np.uint8)
                returned.append(conflicts(packed, meet, members, alive, threshold, out))
                which, y, x = np.unravel_index(np.flatnonzero(out), out.shape)
                top, left = corner_of(own, members[which])
                y, x = y + first_line(top, TOP, own, path), x + first_line(left, LEFT, own, path)
                others = path[REGION] + y * path[WIDTH] + x
                ends = np.searchsorted(which, np.arange(len(members) + 1))
                for m, region in enumerate(members):
                    if ends[m] < ends[m + 1]:
                        removed[int(region)].append(others[ends[m]:ends[m + 1]])
        for region, lists in removed.items():
            if alive[region] and wanted:
                kept[region], wanted = True, wanted - 1
                for others in lists:
                    alive[others] = 0
    return kept, returned
