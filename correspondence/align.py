"""Alignment of two images by features on grids: a smooth flow, images warped and points carried along it (thesis 2.2).

The flow of a net's features and SIFT flow are the same code: features are arrays on a grid with centres (grids.Grid).
The source is the image that the flow is a field on, f_s in the thesis; what is at p in the source is at p + w(p) in the
target. Points are (x, y) in pixels; (0, 0) is the middle of the first pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import RectBivariateSpline
from scipy.spatial import cKDTree

from correspondence.energy import BETA, Energy, Labels, belief_propagation, between
from correspondence.errors import DataError
from correspondence.grids import Grid
from correspondence.neighbours import unit as units
from correspondence.sift import dense_sift

REFINE = 4     # steps that a finer grid may correct a coarser one by
SWEEPS = 50


@dataclass(frozen=True)
class Flow:
    """Where the centres of the source's grid are in the target.

    `steps`: H x W x 2, in steps of the grid as (rows, columns).  `data_term` and `deformation`: the two sums of the
    energy on this grid (`deformation` with its beta).
    """

    rows: NDArray[np.float64]
    columns: NDArray[np.float64]
    stride: float
    steps: NDArray[np.float64]
    data_term: float = 0.0
    deformation: float = 0.0

    @property
    def energy(self) -> float:
        """E(w)."""
        return self.data_term + self.deformation

    @cached_property
    def _splines(self) -> tuple[RectBivariateSpline, RectBivariateSpline]:
        """Of the displacement's x and y in pixels, over y and x."""
        if min(len(self.rows), len(self.columns)) < 2:
            raise DataError("a flow on one row or column has no spline", found=self.steps.shape[:2],
                            expected="2 x 2 centres or more", help="take a larger image, or a layer of smaller stride")
        orders = {"kx": min(3, len(self.rows) - 1), "ky": min(3, len(self.columns) - 1)}
        down, across = (RectBivariateSpline(self.rows, self.columns, self.stride * self.steps[..., axis], **orders)
                        for axis in (0, 1))
        return across, down

    def displacement(self, points: ArrayLike) -> NDArray[np.float64]:
        """w in pixels, N x 2 as (x, y), at N points: a bicubic spline through the centres', constant beyond them."""
        x, y = np.asarray(points, np.float64).reshape(-1, 2).T
        return np.stack([spline.ev(y, x) for spline in self._splines], axis=1)

    def forward(self, points: ArrayLike) -> NDArray[np.float64]:
        """Where N points of the source are in the target."""
        points = np.asarray(points, np.float64).reshape(-1, 2)
        return np.asarray(points + self.displacement(points))

    def backward(self, points: ArrayLike, height: int, width: int) -> NDArray[np.float64]:
        """Where N points of the target are in the source, of that size: its pixel that the flow takes nearest to each.

        A flow has no inverse where it tears or folds; a pixel of the source there always is.  NaN stays NaN.
        """
        points = np.asarray(points, np.float64).reshape(-1, 2)
        pixels = _pixels(height, width)
        there = ~np.isnan(points).any(axis=1)
        found = np.full_like(points, np.nan)
        if there.any():
            found[there] = pixels[cKDTree(self.forward(pixels)).query(points[there])[1]]
        return found

    def warp(self, image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
        """The target's image as the source sees it, height x width x 3: bicubic splines of flow and colours.

        Beyond the target's edges are its outermost pixels.
        """
        there = self.forward(_pixels(height, width))
        rows, columns = (np.arange(length, dtype=np.float64) for length in image.shape[:2])
        colours = [RectBivariateSpline(rows, columns, channel).ev(there[:, 1], there[:, 0])
                   for channel in np.moveaxis(image.astype(np.float64), 2, 0)]
        return np.rint(np.stack(colours, axis=-1)).clip(0, 255).astype(np.uint8).reshape(height, width, -1)


def _pixels(height: int, width: int) -> NDArray[np.float64]:
    return np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).reshape(-1, 2).astype(np.float64)


def align(
    source: Grid, target: Grid, beta: float = BETA, reach: int | None = None, levels: int | None = None,
    sweeps: int = SWEEPS, unit: bool = True,
) -> Flow:
    """The flow of least energy that belief propagation finds.

    `reach`: the longest displacement in steps, along each axis; None: a third of the grid's longer side.  `levels`: 1
    solves the thesis's problem on its grid, with windows of (2 reach + 1)^2 displacements. More solve it first on grids
    of half as many rows and columns, whose features are means of 2 x 2, and centre each node's window of a finer grid,
    REFINE steps to each side, where the coarser one's flow is; None: until a grid is no more than 32 wide and high.
    `unit`: features are scaled to length 1 first. Features of different layers then have a similar scale, as the
    thesis says of conv4 and SIFT, and the same beta suits them.

    Raises DataError for grids of different strides or channels.
    """
    if source.stride != target.stride or source.start != target.start:
        raise DataError("the grids are not alike", found=f"stride {source.stride} and {target.stride}",
                        expected="the same net and layer for both images", help="compute both by one FeatureNet")
    pyramid = [(source.features, target.features)]
    longest = max(source.shape)
    levels = max(1, int(np.ceil(np.log2(longest / 32))) + 1) if levels is None else levels
    for _ in range(levels - 1):
        pyramid.append((_halved(pyramid[-1][0]), _halved(pyramid[-1][1])))
    radius = int(np.ceil((-(-longest // 3) if reach is None else reach) / 2 ** (levels - 1)))
    steps: NDArray[np.float64] | None = None
    for own, other in pyramid[::-1]:
        if unit:
            own, other = units(own), units(other)
        centres = None if steps is None else 2 * _doubled(steps)[: own.shape[0], : own.shape[1]]
        energy = between(own, other, radius, beta, centres)
        labels = solve(energy, sweeps, blocks=centres is None)
        steps, radius = energy.displacement(labels), REFINE
    assert steps is not None
    return Flow(source.rows(), source.columns(), source.stride, steps, energy.data_term(labels),
                energy.deformation(labels))


def solve(energy: Energy, sweeps: int, blocks: bool) -> Labels:
    """Belief propagation, begun on blocks of nodes if their windows have one centre."""
    one_centre = blocks and not np.ptp(energy.centres, axis=(0, 1)).any()
    return belief_propagation(energy, sweeps, levels=3 if one_centre else 1)


def identity(grid: Grid) -> Flow:
    """No flow: each point of the source is at the same place in the target."""
    return Flow(grid.rows(), grid.columns(), grid.stride, np.zeros((*grid.shape, 2)))


def sift_grid(image: ArrayLike, like: Grid, radius: float) -> Grid:
    """SIFT descriptors of a radius at the centres of another grid, "at the same locations" (thesis 2.2)."""
    features = dense_sift(image, like.centres().reshape(-1, 2), radius)
    return Grid(features.reshape(*like.shape, -1), like.start, like.stride, 2 * radius)


def _halved(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Means of 2 x 2; of the last row or column alone where their number is odd."""
    even = np.pad(features, ((0, features.shape[0] % 2), (0, features.shape[1] % 2), (0, 0)), mode="edge")
    return np.asarray(even.reshape(even.shape[0] // 2, 2, even.shape[1] // 2, 2, -1).mean((1, 3)), np.float32)


def _doubled(steps: NDArray[np.float64]) -> NDArray[np.float64]:
    return steps.repeat(2, axis=0).repeat(2, axis=1)
