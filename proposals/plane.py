"""What a region net gives for one picture, pathway by pathway (thesis 4.3).

A region's mask: its R x R logits, upsampled bilinearly by the size of a cell (tents that fade to 0 at the window's
edge), where they are above 0, cut off at the picture's border: `halide_kernels.rle` defines it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.coco import Instance
from halide_kernels import rle
from halide_kernels.nms import Pathway
from proposals.errors import DataError


@dataclass(frozen=True)
class Plane:
    """The output of one pathway on one picture.  Raises DataError when the shapes do not fit together."""
    name: str                     # the feature layer, "conv3_3" or "fire5"
    place: Pathway                # where its windows lie, in pixels of the picture
    cells: NDArray[np.float32]    # R*R x H x W logits, channel i*R + j for the cell in row i and column j
    scores: NDArray[np.float32]   # H x W, the score of each region; constant where the net has no scoring pathway

    def __post_init__(self) -> None:
        if self.cells.ndim != 3 or self.cells.shape[0] != self.place.side**2:
            raise DataError("the cells have a wrong shape", layer=self.name, found=self.cells.shape,
                            expected=f"{self.place.side**2} x H x W, for R = {self.place.side}",
                            help="give the logits of one picture, without the batch axis")
        if self.scores.shape != self.cells.shape[1:]:
            raise DataError("there is not one score for each region", layer=self.name, found=self.scores.shape,
                            expected=self.cells.shape[1:], help="give H x W scores, constant if nothing scores regions")

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of region centres, H and W."""
        return self.scores.shape[0], self.scores.shape[1]

    def corner(self, y: Any, x: Any) -> tuple[Any, Any]:
        """The first pixel of a window (of many, if y and x are arrays), row and column; maybe outside the picture."""
        return self.place.top + self.place.stride * y, self.place.left + self.place.stride * x

    def region(self, y: int, x: int) -> NDArray[np.float32]:
        """R x R logits of one region."""
        return self.cells[:, y, x].reshape(self.place.side, self.place.side)

    def mask(self, y: int, x: int, height: int, width: int) -> NDArray[np.bool_]:
        """The region's mask on the whole picture, height x width."""
        mask, inside = np.zeros((height, width), bool), rle.window(self.region(y, x), self.place.cell)
        (top, left), size = self.corner(y, x), self.place.window
        first, before = max(top, 0), max(left, 0)
        part = mask[first:max(top + size, 0), before:max(left + size, 0)]
        part[...] = inside[first - top:, before - left:][:part.shape[0], :part.shape[1]]
        return mask


def thin(values: NDArray[Any], step: int) -> NDArray[Any]:
    """Every `step`-th line of the last two axes, of a grid; what is left over at the borders is shared by both."""
    rows, columns = (min(step - 1, size - 1) // 2 for size in values.shape[-2:])
    return values[..., rows::step, columns::step]


def thinned(plane: Plane, step: int) -> Plane:
    """Every `step`-th region centre of a plane, in both directions: 1, 2, 3, 4, 8 of a net whose lowest stride is 2
    are the lowest strides 2, 4, 6, 8, 16 of Table 4.2."""
    if step < 1:
        raise DataError("the density is not that of every m-th centre", found=step, expected="1 or more")
    top, left = plane.corner(*(min(step - 1, size - 1) // 2 for size in plane.grid))
    place = replace(plane.place, top=top, left=left, stride=plane.place.stride * step)
    return Plane(plane.name, place, thin(plane.cells, step), thin(plane.scores, step))


def size_of(instances: Sequence[Instance]) -> tuple[int, int]:
    """Height and width of the picture of some instances.  Raises DataError where masks differ in size, or none is."""
    sizes = {tuple(instance.mask.shape) for instance in instances}
    if len(sizes) != 1 or len(next(iter(sizes))) != 2:
        raise DataError("the instances of a picture have no size in common", found=sorted(sizes),
                        expected="masks of height x width, all of one size")
    height, width = sizes.pop()
    return height, width
