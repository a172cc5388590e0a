"""Regions as full-resolution masks, run by run: COCO's RLE from R x R scores, one window at a time (thesis 4.3.6).

A region's scores become window pixels by bilinear interpolation with factor s, centred as Caffe's bilinear filler
does, and the mask is where that is above 0. A pixel's weights are counted in units of 1 / (2s), so whole numbers: only
the sign matters, which they leave exact. At the window's border the weights of cells outside are lost or go to the last
cell, with the same sign. The picture's border cuts the window off. The whole mask of a region is never made: its runs
follow from the window's, and a picture's memory is that of one window.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray


@cache
def _weights(side: int, factor: int) -> NDArray[np.float64]:
    """side * factor x side: what pixels take of cells, in units of 1 / (2 * factor)."""
    pixel, cell = np.mgrid[:side * factor, :side]
    return np.maximum(2 * factor - abs(2 * pixel + 1 - factor - 2 * factor * cell), 0).astype(np.float64)


def window(scores: Any, factor: int) -> NDArray[np.bool_]:
    """The mask of one region in its window: from R x R scores, R*s x R*s pixels."""
    weights = _weights(len(scores), factor)
    return weights @ np.asarray(scores, np.float64) @ weights.T > 0


def with_numpy(scores: Any, top: int, left: int, factor: int, height: int, width: int) -> NDArray[np.bool_]:
    """The definition: the whole mask, height x width, of a region whose window has its corner at pixel (top, left)."""
    mask, inside = np.zeros((height, width), bool), window(scores, factor)
    for y, x in np.ndindex(inside.shape):
        if 0 <= top + y < height and 0 <= left + x < width:
            mask[top + y, left + x] = inside[y, x]
    return mask


def counts(inside: NDArray[np.bool_], top: int, left: int, height: int, width: int) -> NDArray[np.int64]:
    """Lengths of the runs, 0s first, column by column, of a height x width mask that is `inside` at (top, left) on."""
    inside = inside[max(-top, 0):max(height - top, 0), max(-left, 0):max(width - left, 0)]
    top, left = max(top, 0), max(left, 0)
    columns = np.zeros((inside.shape[1], inside.shape[0] + 2), np.int8)
    columns[:, 1:-1] = inside.T
    column, row = np.nonzero(np.diff(columns))   # where runs of a column begin and end, by turns
    turns = (left + column) * height + top + row
    # a run to the foot of a column goes on at the head of the next, where both touch the picture's borders
    joint = np.flatnonzero(turns[1:-1:2] == turns[2::2]) * 2 + 1
    turns = np.delete(turns, np.concatenate([joint, joint + 1]))
    lengths = np.diff(turns, prepend=0, append=height * width)
    return lengths if lengths[-1] or len(lengths) == 1 else lengths[:-1]


def compressed(lengths: Iterable[int]) -> bytes:
    """COCO's string of the lengths: differences to the length before last from the fourth on, 5 bits a byte, low bits
    first, the sixth bit set but in the last byte of a number."""
    lengths, text = [int(n) for n in lengths], bytearray()
    for place, value in enumerate(lengths):
        if place > 2:
            value -= lengths[place - 2]
        while True:
            bits, value = value & 31, value >> 5
            last = value == (-1 if bits & 16 else 0)
            text.append(48 + bits + (0 if last else 32))
            if last:
                break
    return bytes(text)


def encode(scores: Any, top: int, left: int, factor: int, height: int, width: int) -> dict[str, Any]:
    """The RLE of one region, as pycocotools.mask.encode gives it for the whole mask: size and counts (bytes).

    `scores`: R x R; `top`, `left`: the window's corner in pixels, may be negative; `factor`: pixels for each cell."""
    return {"size": [height, width], "counts": compressed(counts(window(scores, factor), top, left, height, width))}
