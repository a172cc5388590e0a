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
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import backend, nms_grids, nms_within
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
    WORDS,
    Meeting,
    Packed,
    Pathway,
    corner_of,
    fill_with_numpy,
    first_line,
    overlap,
    word_of,
)
from .nms_halide import fill_with_halide, remove_with_halide, with_halide

__all__ = ["BACKENDS", "CUDA", "Kernels", "Packed", "Pathway", "pack", "suppress", "with_numpy", "with_pixels"]

# Regions are members of chunks by rank, of _FIRST up to _LAST: those that another of the same chunk removes are
# compared in vain, and most are removed early. No more pairs across pathways than _PAIRS, each of which takes a byte.
_FIRST, _LAST, _PAIRS = 64, 4096, 2**24


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
    found = np.zeros(i.shape, np.int64)
    for w in range(fine[WORDS]):
        at, shift = np.divmod(((f_left - c_left) // packed.unit)[:, None, None] + 64 * w, 64)
        row = np.zeros(i.shape, np.uint64)
        for n in range(2):   # the bits from `shift` on of word `at`, then those of the next word
            there = (at + n >= 0) & (at + n < coarse[WORDS]) & (height > 0)
            place = np.where(there, word_of(coarse, c[:, None, None], i, at + n), 0)
            word = np.where(there, packed.words[place], np.uint64(0))
            # the next word moves up by 64 - shift, in two steps since a word cannot be moved by 64
            row |= word << np.uint64(1) << (63 - shift).astype(np.uint64) if n else word >> shift.astype(np.uint64)
        found += _ones(row & packed.words[word_of(fine, f[:, None], k, w)][:, :, None])
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

    Two regions share at most the smaller area, or what their windows share: that spares most pairs."""
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
    most = np.minimum(np.minimum(one, two), high * wide)
    there &= most > threshold * (one + two - most)
    pairs = np.nonzero(there)
    both = _shared(packed, meet, members[pairs[0]].astype(np.int64), others[pairs])
    out[...] = 0
    out[pairs] = both > threshold * (packed.area[members[pairs[0]]] + two[pairs] - both)
    return len(both)


def remove_with_numpy(ones: Any, others: Any, alive: Any) -> None:
    """Greedily: pair by pair, sorted by rank of `ones`, the other is no longer alive if the one still is."""
    starts = np.flatnonzero(np.diff(ones, prepend=-1))
    for start, end in zip(starts, np.append(starts[1:], len(ones)), strict=False):
        if alive[ones[start]]:
            alive[others[start:end]] = 0


class Kernels(NamedTuple):
    """What a back end computes: bits from masks, conflicts across two pathways, within one (None: as across two),
    and the removal."""
    fill: Any
    across: Any
    within: Any
    remove: Any


BACKENDS = {"numpy": Kernels(fill_with_numpy, with_numpy, None, remove_with_numpy),
            "halide": Kernels(fill_with_halide, with_halide, nms_within.conflicts, remove_with_halide),
            "cuda": Kernels(fill_with_numpy, with_cuda, None, remove_with_numpy)}


def pack(pathways: Sequence[Pathway], masks: Sequence[Any], scores: Sequence[Any],
         kernels: Kernels | None = None) -> Packed:
    """What `suppress` takes, from the masks and scores of each pathway: bool, (R*R) x H x W, channel i*R + j of a mask
    being the cell in row i and column j of the window; and H x W."""
    kernels = kernels or BACKENDS[backend.choose(masks[0])[0]]
    return nms_grids.pack(pathways, masks, scores, kernels.fill)


def _pairs(packed: Packed, meet: Meeting, members: Any, alive: Any, threshold: float, across: Any) -> Any:
    """The conflicts of some regions of a pathway with those of another: ones, others, and what `across` returned."""
    out = np.empty((len(members), meet.near, meet.near), np.uint8)
    returned = across(packed, meet, members, alive, threshold, out)
    which, y, x = np.unravel_index(np.flatnonzero(out), out.shape)
    top, left = corner_of(meet.own, members[which])
    y, x = y + first_line(top, TOP, meet.own, meet.path), x + first_line(left, LEFT, meet.own, meet.path)
    return members[which], (meet.path[REGION] + y * meet.path[WIDTH] + x).astype(np.int32), returned


def _pairs_within(path: Any, members: Any, found: Any) -> Any:
    """The conflicts of some regions within their pathway, from the bits that `Kernels.within` `found`."""
    steps, words = found
    y, x = np.divmod(members - path[REGION], path[WIDTH])
    bits = words[y, :, x]
    some = bits.any(1)
    members, bits = members[some], np.unpackbits(bits[some].view(np.uint8), axis=1, bitorder="little")
    which, step = np.divmod(np.flatnonzero(bits), bits.shape[1])
    return members[which], members[which] + (steps @ np.array([path[WIDTH], 1], np.int32))[step]


def suppress(packed: Packed, threshold: float, kernels: Kernels | None = None, most: int | None = None,
             ) -> tuple[NDArray[np.bool_], list[Any]]:
    """Which regions are kept, bool, and what each call of the kernel across pathways returned; by the back end
    `kernels`, else that for `packed`. With `most`, only the best so many of those that are kept.

    Chunk by chunk by rank: each region is a member of at most one chunk, so that the number of pairs is at most that
    of overlapping windows, however many are kept."""
    kernels = kernels or BACKENDS[backend.choose(packed.words)[0]]
    alive = (packed.rank >= 0).astype(np.uint8)
    wanted = len(packed.order) if most is None else most
    # within a pathway all regions are compared, at a tenth of the cost of one pair after another: not for a few
    all_of_them = kernels.within and 10 * wanted >= len(packed.order)
    within = {p: kernels.within(packed, path, threshold) for p, path in enumerate(packed.paths)
              if all_of_them and nms_within.suits(path)}
    meets = [(p, Meeting(own, path, packed.unit)) for p, own in enumerate(packed.paths)
             for q, path in enumerate(packed.paths) if p != q or p not in within]
    last = min([_LAST, *(max(_PAIRS // meet.near**2, 1) for _, meet in meets)])
    kept, returned, start, size = np.zeros(len(packed.rank), bool), [], 0, min(_FIRST, last)
    growth = 2 if meets else 4   # within a pathway all is compared before: fewer calls
    while start < len(packed.order) and wanted > 0:
        chunk = packed.order[start:start + size]
        start, size, chunk = start + size, min(growth * size, last), chunk[alive[chunk] != 0]
        parts = [chunk[packed.of[chunk] == p] for p in range(len(packed.paths))]
        pairs = [_pairs_within(packed.paths[p], parts[p], found) for p, found in within.items()]
        for p, meet in meets:
            *found, count = _pairs(packed, meet, parts[p], alive, threshold, kernels.across)
            pairs.append(found)
            returned.append(count)
        ones, others = (np.concatenate(found) for found in zip(*pairs, strict=True))
        if len(pairs) > 1:
            order = np.argsort(packed.rank[ones], kind="stable")
            ones, others = ones[order], others[order]
        kernels.remove(ones, others, alive)
        best = chunk[alive[chunk] != 0][:wanted]
        kept[best] = True
        wanted -= len(best)
    return kept, returned
