"""Regions as pictures, RGB or grey arrays: planes of small masks, masks over a photograph, the weights of a net.

Figures 4.3, 4.5, 4.7 and 4.8 of the thesis; `proposals.figures` puts them on a page.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.coco import Instance
from halide_kernels import rle
from proposals.errors import DataError
from proposals.overlap import Best
from proposals.plane import Plane, thinned

_BLANK, _BLOB = 255, 40


def plane_picture(plane: Plane, across: int = 32, pixels: int = 3) -> NDArray[np.uint8]:
    """A plane of Figure 4.5: the shape of each region, dark, at the place of its centre; grey, uint8.

    So that shapes do not overlap, windows are drawn small, `pixels` for each cell, side by side with a gap of a cell,
    and only every so many centres are drawn that at most `across` of them stand in a row."""
    few = thinned(plane, -(-plane.grid[1] // across))
    size = plane.place.side * pixels
    rows, columns = few.grid
    canvas = np.full((rows, size + pixels, columns, size + pixels), _BLANK, np.uint8)
    for y, x in np.ndindex(few.grid):
        canvas[y, :size, x, :size][rle.window(few.region(y, x), pixels)] = _BLOB
    return canvas.reshape(rows * (size + pixels), columns * (size + pixels))


def colours(count: int) -> NDArray[np.uint8]:
    """Colours that are told apart, count x 3, whatever the count: hues by the golden ratio, in three strengths."""
    given = [colorsys.hsv_to_rgb(0.6180339887 * n % 1, (1, 0.65, 0.85)[n % 3], (0.95, 1, 0.75)[n % 3])
             for n in range(count)]
    return np.rint(255 * np.array(given)).reshape(-1, 3).astype(np.uint8)


def outline(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pixels of a mask that have a neighbour, of four, outside it; the picture's border is no outside."""
    padded = np.pad(mask, 1, mode="edge")
    return mask & ~(padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:])


def over(image: NDArray[np.uint8], masks: Sequence[NDArray[np.bool_]], paint: NDArray[np.uint8] | None = None,
         alpha: float = 0.5) -> NDArray[np.uint8]:
    """Masks over an image (h x w x 3): filled with weight `alpha`, and outlined; the larger ones below.

    `paint`: a colour for each mask, count x 3.  Raises DataError where a mask has another size than the image."""
    image = np.asarray(image)
    if image.ndim != 3 or any(mask.shape != image.shape[:2] for mask in masks):
        raise DataError("image and masks do not fit together",
                        found=f"image {image.shape}, masks {sorted({mask.shape for mask in masks})}",
                        expected="h x w x 3, and h x w", help="predict on the image that is drawn")
    drawn = image.astype(np.float32)
    paint = colours(len(masks)) if paint is None else paint
    for n in sorted(range(len(masks)), key=lambda n: -np.count_nonzero(masks[n])):
        drawn[masks[n]] += alpha * (paint[n] - drawn[masks[n]])
        drawn[outline(masks[n])] = paint[n]
    return np.rint(drawn).astype(np.uint8)


def best_masks(planes: Sequence[Plane], best: Best, height: int, width: int) -> list[NDArray[np.bool_]]:
    """The masks of the regions that `overlap.best_overlaps` found; empty where no region meets an object."""
    return [planes[p].mask(y, x, height, width) if p >= 0 else np.zeros((height, width), bool)
            for p, y, x in zip(best.plane, best.y, best.x, strict=True)]


def best_matches(image: NDArray[np.uint8], planes: Sequence[Plane], instances: Sequence[Instance], best: Best,
                 ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Figures 4.7 and 4.8: the objects over an image, and over it the best region of each, in the same colours."""
    paint, (height, width) = colours(len(instances)), image.shape[:2]
    return (over(image, [np.asarray(one.mask, bool) for one in instances], paint),
            over(image, best_masks(planes, best, height, width), paint))


def block_norms(weights: Any, differences: bool = False) -> NDArray[np.float32]:
    """Figure 4.3: the L1 norm over channels of weights (R*R) x C x k x k, as R x R blocks of k x k.

    Block (i, j) belongs to output cell i*R + j. With `differences`, the norm of the weights of cell (i + 1, j) less
    those of (i, j): R-1 x R blocks.  Raises DataError where the number of outputs is no square."""
    weights = np.asarray(weights)
    side = int(round(np.sqrt(len(weights))))
    if weights.ndim != 4 or side * side != len(weights):
        raise DataError("these are no weights of region prediction", found=weights.shape, expected="R*R x C x k x k",
                        help="take the first convolution of a pathway")
    blocks = weights.reshape(side, side, *weights.shape[1:])
    return np.abs(np.diff(blocks, axis=0) if differences else blocks).sum(2)


def tiled(blocks: NDArray[Any], gap: int = 1) -> NDArray[np.uint8]:
    """A two-dimensional array of two-dimensional arrays as one grey picture: 0 black, the greatest white, and a line of
    `gap` pixels, grey, between blocks."""
    rows, columns, height, width = blocks.shape
    canvas = np.full((rows, height + gap, columns, width + gap), 70, np.uint8)
    canvas[:, :height, :, :width] = np.rint(255 / (blocks.max(initial=0) or 1) * blocks).transpose(0, 2, 1, 3)
    return canvas.reshape(rows * (height + gap), columns * (width + gap))[:rows * (height + gap) - gap,
                                                                          :columns * (width + gap) - gap]
