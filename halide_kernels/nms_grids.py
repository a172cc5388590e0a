"""Where the windows of region pathways lie, which overlap, and their coarse masks as bits (thesis 4.3.5).

Masks are bits. A row of cells becomes 64-bit words, one bit for each unit of columns: the greatest number of pixels
that divides all cells, strides and distances of corners, so that any two rows meet by a shift. For a grid whose stride
is a multiple of its cell this is the cell, and a row is one word up to 64 cells. Words of neighbours lie side by side:
a pathway's have the axes H x R x (words of a row) x W.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Pathway:
    """Where the windows of a pathway lie, in pixels of the input: corner of the first (may be negative), distance of
    neighbours, size of a cell; `side` is R, the cells along a window's side."""
    top: int
    left: int
    stride: int
    cell: int
    side: int

    @property
    def window(self) -> int:
        return self.side * self.cell


# Columns of `Packed.paths`
TOP, LEFT, STRIDE, CELL, SIDE, WORDS, HEIGHT, WIDTH, REGION, WORD = range(10)


@dataclass(frozen=True)
class Packed:
    """Regions of all pathways, one after another, as the kernels take them."""
    paths: NDArray[np.int32]    # a row for each pathway; the columns are named above
    unit: int                   # pixels for each bit of a row of cells
    words: NDArray[np.uint64]   # for each pathway H x SIDE x WORDS x W
    of: NDArray[np.int32]       # each region's pathway
    area: NDArray[np.int32]     # its pixels
    order: NDArray[np.int32]    # the regions that there are, best first
    rank: NDArray[np.int32]     # each region's place in `order`; -1 if it is no region


def fill_with_numpy(cells: Any, bits: int, words: Any, area: Any) -> None:
    """Bits from cells: `cells` bool, R x R x H x W, of so many bits each; `words` as in `Packed`; `area` H x W."""
    words[...] = 0
    for j in range(cells.shape[1]):
        ones = ((1 << bits) - 1) << j * bits
        for w in range(j * bits // 64, ((j + 1) * bits - 1) // 64 + 1):
            words[:, :, w] |= cells[:, j].swapaxes(0, 1) * np.uint64(ones >> 64 * w & 2**64 - 1)
    area[...] = cells.sum((0, 1))


def pack(pathways: Sequence[Pathway], masks: Sequence[Any], scores: Sequence[Any], fill: Any) -> Packed:
    """Bits and tables from masks: for each pathway bool, (R*R) x H x W, channel i*R + j; and scores, H x W."""
    unit = math.gcd(*(n for p in pathways for n in (p.cell, p.stride, p.left - pathways[0].left)))
    rows, words, areas, region, word = [], [], [], 0, 0
    for p, mask, score in zip(pathways, masks, scores, strict=True):
        bits, (height, width) = p.cell // unit, score.shape
        count = -(-p.side * bits // 64)
        cells = np.asarray(mask, bool).reshape(p.side, p.side, height, width)
        packed = np.empty((height, p.side, count, width), np.uint64)
        area = np.empty(score.shape, np.int32)
        fill(cells, bits, packed, area)
        rows.append((p.top, p.left, p.stride, p.cell, p.side, count, *score.shape, region, word))
        words.append(packed.ravel())
        areas.append(area.ravel() * np.int32(p.cell**2))
        region, word = region + score.size, word + packed.size
    flat = np.concatenate([np.ravel(score) for score in scores])
    order = np.argsort(-flat, kind="stable").astype(np.int32)
    order = order[flat[order] > -np.inf]
    rank = np.full(region, -1, np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    of = np.repeat(np.arange(len(rows), dtype=np.int32), [score.size for score in scores])
    return Packed(np.array(rows, np.int32), unit, np.concatenate(words), of, np.concatenate(areas), order, rank)


@dataclass(frozen=True)
class Meeting:
    """What is known of the regions of one pathway, `own`, and the windows of one, `path`, that may overlap theirs."""
    own: Any
    path: Any
    unit: int

    @property
    def near(self) -> int:
        """So many lines of the grid, at most, have windows that overlap a given one."""
        windows = self.own[SIDE] * self.own[CELL] + self.path[SIDE] * self.path[CELL]
        return int(-(-(windows - 1) // self.path[STRIDE]))

    @property
    def fine_first(self) -> bool:
        return bool(self.own[CELL] <= self.path[CELL])

    @property
    def rows(self) -> int:
        """Rows of the coarser cells that one of the finer meets: 1 if it always lies in one, else 2."""
        fine, coarse = sorted((int(self.own[CELL]), int(self.path[CELL])))
        steps = math.gcd(int(self.own[STRIDE]), int(self.path[STRIDE]), int(self.own[TOP] - self.path[TOP]), coarse)
        return 1 if steps % fine == 0 else 2


def corner_of(path: Any, region: Any) -> tuple[Any, Any]:
    i = region - path[REGION]
    return path[TOP] + path[STRIDE] * (i // path[WIDTH]), path[LEFT] + path[STRIDE] * (i % path[WIDTH])


def word_of(path: Any, region: Any, row: Any, word: Any) -> Any:
    """Where in `Packed.words` a word of a row of cells of a region is."""
    y, x = (region - path[REGION]) // path[WIDTH], (region - path[REGION]) % path[WIDTH]
    return path[WORD] + ((y * path[SIDE] + row) * path[WORDS] + word) * path[WIDTH] + x


def first_line(corner: Any, axis: int, own: Any, path: Any) -> Any:
    """The first line of the grid `path`, maybe below 0, whose windows overlap that of `own` at `corner`."""
    return (corner - path[SIDE] * path[CELL] - path[axis]) // path[STRIDE] + 1


def overlap(module: Any, one: Any, size: Any, two: Any, other_size: Any) -> Any:
    least, most = (module.minimum, module.maximum) if module is np else (module.min, module.max)
    return least(one + size, two + other_size) - most(one, two)
