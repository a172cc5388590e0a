"""A baseline that does not look at the picture: at each region centre a disc of the best constant size.

All regions of a pathway are one disc in the middle of the window. Its radius is chosen on training pictures such that
ABO over all pathways together is greatest. ABO and not R@50, since every change of a radius changes it a little.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from data.coco import Instance
from halide_kernels import rle
from halide_kernels.nms import Pathway
from proposals.errors import DataError
from proposals.overlap import best_overlaps
from proposals.plane import Plane, size_of


def disc(plane: Plane, radius: float) -> Plane:
    """The plane with a disc of `radius` cells in every window, and no scores; only its geometry is used.

    The logit is the radius less the distance from the window's middle, so that after upsampling too the edge of the
    mask is near the circle; in 64ths of a cell, so that sums are exact. The memory is that of one region."""
    middle = np.arange(plane.place.side) - (plane.place.side - 1) / 2
    cells = np.rint(64 * (radius - np.hypot(*np.meshgrid(middle, middle)))).astype(np.float32).reshape(-1, 1, 1) / 64
    return replace(plane, cells=np.broadcast_to(cells, (len(cells), *plane.grid)),
                   scores=np.zeros(plane.grid, np.float32))


def disc_areas(plane: Plane, height: int, width: int) -> NDArray[np.int64]:
    """`overlap.areas` where all regions are alike: what is left of one mask at each place, from its integral image."""
    window = rle.window(plane.region(0, 0), plane.place.cell)
    integral = np.zeros((len(window) + 1, len(window) + 1), np.int64)
    integral[1:, 1:] = window.cumsum(0).cumsum(1)
    (above, below), (before, after) = (
        [np.clip(limit - first - plane.place.stride * np.arange(lines), 0, len(window)) for limit in (0, size)]
        for size, first, lines in zip((height, width), (plane.place.top, plane.place.left), plane.grid, strict=True))
    return (integral[np.ix_(below, after)] - integral[np.ix_(above, after)]
            - integral[np.ix_(below, before)] + integral[np.ix_(above, before)])


def grid_of(name: str, place: Pathway, grid: tuple[int, int]) -> Plane:
    """A plane of empty regions: the geometry alone, for a picture whose pathway has grid[0] x grid[1] centres."""
    return disc(Plane(name, place, np.broadcast_to(np.float32(0), (place.side**2, *grid)),
                      np.zeros(grid, np.float32)), -place.side)


def radii(side: int, count: int = 8) -> list[float]:
    """Radii in cells to choose from, for R = `side`: from one cell to what the window holds, in equal ratios."""
    return [float(r) for r in np.geomspace(min(1, side / 2), side / 2, count)]


@dataclass(frozen=True)
class Choice:
    """What was chosen, and how well it does on the pictures it was chosen on."""
    radius: tuple[float, ...]     # cells, for each pathway
    abo: float                    # of all pathways together
    tried: tuple[tuple[float, ...], ...]   # the radii that each pathway could choose from


def best_radii(pictures: Iterable[tuple[Sequence[Plane], Sequence[Instance]]],
               tried: Sequence[Sequence[float]] | None = None, progress: bool = False) -> Choice:
    """The radius of each pathway, out of `tried` (`radii` of each side), with the greatest ABO of all together.

    `pictures`: planes (geometry alone counts) and instances of each. Each pathway begins with the radius that is best
    for it alone; then one after another takes the best beside the others', until none changes: a local maximum.
    Raises DataError where there is no object, or pictures differ in their pathways."""
    table: list[NDArray[np.float64]] = []   # for each picture pathways x radii x objects
    sides: list[int] = []
    for planes, instances in tqdm(pictures, desc="discs", disable=not progress):
        if sides and sides != [plane.place.side for plane in planes]:
            raise DataError("pictures differ in their pathways", found=[plane.place.side for plane in planes],
                            expected=sides)
        sides = [plane.place.side for plane in planes]
        tried = tried or [radii(side) for side in sides]
        objects = [one for one in instances if not one.crowd]
        if objects:
            size = size_of(objects)
            table.append(np.array([[best_overlaps([one], objects, [disc_areas(one, *size)]).overlap
                                    for one in (disc(plane, r) for r in some)]
                                   for plane, some in zip(planes, tried, strict=True)]))
    overlap = np.concatenate(table, 2) if table else np.zeros((0, 0, 0))
    if not overlap.size or tried is None:
        raise DataError("no disc can be chosen without objects", help="give training pictures with instances")
    chosen = overlap.mean(2).argmax(1)
    while True:
        before = chosen.copy()
        for p in range(len(chosen)):
            others = np.delete(overlap[np.arange(len(chosen)), chosen], p, 0).max(0, initial=0)
            means = np.maximum(overlap[p], others).mean(1)
            if means.max() > means[chosen[p]]:   # strictly: it ends
                chosen[p] = means.argmax()
        if (chosen == before).all():
            break
    best = overlap[np.arange(len(chosen)), chosen].max(0)
    return Choice(tuple(float(some[k]) for some, k in zip(tried, chosen, strict=True)), float(best.mean()),
                  tuple(tuple(map(float, some)) for some in tried))
