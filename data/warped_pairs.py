"""Pairs of images with known correspondence: photographs, warped at random and seen in another light.

The target is a square part of a photograph. The source shows the photograph at F(x, y), an affine map and a thin-plate
spline on top of it, so that a point of the source is found in the target where F says, exactly and anywhere, not only
at pixels. Points are (x, y) in pixels; (0, 0) is the middle of the first pixel.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from scipy.interpolate import RBFInterpolator
from scipy.ndimage import map_coordinates

from data.dataset import IMAGE_ENDINGS, read_image
from data.errors import DataError

_KNOTS = 5        # the spline bends at 5 x 5 points
_LEAST_AREA = 0.2   # a pixel of the source never covers less of one of the target: nothing folds


@dataclass(frozen=True)
class Change:
    """How far apart the two images of a pair are: standard deviations of normal draws, cut off at twice that."""

    turn: float = 10.0     # degrees
    scale: float = 0.10    # of the logarithm, along each axis
    shear: float = 0.05
    shift: float = 0.05    # of the side
    bend: float = 0.03     # of the side: how far the spline moves each of its points
    light: float = 0.2     # logarithm of gain, of each channel's gain (a third of it), of gamma and of a slope across
    noise: float = 3.0     # of 255, on each pixel of the source


SMALL = Change(turn=2.0, scale=0.02, shear=0.01, shift=0.02, bend=0.008, light=0.0, noise=0.0)
"""Small warps in the same light without noise: what any alignment should find."""


@dataclass(frozen=True)
class Pair:
    """Two images of side x side x 3 uint8 RGB, and where the points of the first are in the second."""

    source: NDArray[np.uint8]
    target: NDArray[np.uint8]
    photograph: Path
    _forward: RBFInterpolator

    def forward(self, points: ArrayLike) -> NDArray[np.float64]:
        """Where N points (N x 2) of the source are in the target; outside its frame for those it does not show."""
        return np.asarray(self._forward(np.asarray(points, np.float64).reshape(-1, 2)), np.float64)

    def inside(self, points: ArrayLike) -> NDArray[np.bool_]:
        """Which of N points lie in the frame."""
        points = np.asarray(points, np.float64).reshape(-1, 2)
        return np.asarray(((points >= 0) & (points <= len(self.target) - 1)).all(axis=1))


class WarpedPairs:
    """Pair number i of photographs, again and again: all below a folder, in the order of their names, or a list.

    `side`: of the images, in pixels.  The same seed and number give the same pair.  Raises DataError for a folder
    without images, and for photographs with a side under 32 pixels.
    """

    def __init__(
        self, photographs: str | os.PathLike[str] | Sequence[Path], side: int = 227, change: Change | None = None,
        seed: int = 2014,
    ) -> None:
        self.side, self.change, self.seed = side, change or Change(), seed
        self.photographs = list(photographs) if isinstance(photographs, Sequence) and not isinstance(
            photographs, str) else sorted(p for p in Path(photographs).rglob("*") if p.suffix in IMAGE_ENDINGS)
        if not self.photographs:
            raise DataError("no images in it", file=photographs, expected=", ".join(IMAGE_ENDINGS),
                            help="give a folder of photographs")

    def __getitem__(self, number: int) -> Pair:
        draw = np.random.default_rng((self.seed, number))
        path = self.photographs[number % len(self.photographs)]
        photograph = read_image(path)
        short = min(photograph.shape[:2])
        if short < 32:
            raise DataError("the photograph is too small for a pair", file=path, found=f"{short} pixels",
                            expected="32 or more", help="leave it out of the folder")
        part = short * draw.uniform(0.6, 0.8)   # the rest is what the source shows beyond the target's frame
        left, top = (draw.uniform(0, size - part) for size in photograph.shape[1::-1])
        box = left, top, left + part, top + part
        target = np.asarray(Image.fromarray(photograph).resize((self.side,) * 2, Image.Resampling.BICUBIC, box))
        forward = self._warp(draw)
        return Pair(self._seen(draw, photograph, box, forward), target, path, forward)

    def _warp(self, draw: np.random.Generator) -> RBFInterpolator:
        """F, with no folds: bent less where the draw would fold it."""
        c, middle = self.change, (self.side - 1) / 2
        turn, shear, across, down = (_normal(draw) * spread for spread in (
            np.radians(c.turn), c.shear, c.scale, c.scale))
        matrix = (np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
                  @ [[1, shear], [0, 1]] @ np.diag(np.exp([across, down])))
        shift = _normal(draw, 2) * c.shift * self.side
        knots = np.stack(np.meshgrid(*[np.linspace(0, self.side - 1, _KNOTS)] * 2), axis=-1).reshape(-1, 2)
        bend = _normal(draw, knots.shape) * c.bend * self.side
        check = np.stack(np.meshgrid(*[np.linspace(0, self.side - 1, 41)] * 2), axis=-1)
        while True:
            moved = (knots - middle) @ matrix.T + middle + shift + bend
            forward = RBFInterpolator(knots, moved, kernel="thin_plate_spline")
            there = forward(check.reshape(-1, 2)).reshape(check.shape)
            if _areas(there).min() > _LEAST_AREA * _areas(check).min():
                return forward
            bend = 0.7 * bend

    def _seen(
        self, draw: np.random.Generator, photograph: NDArray[np.uint8], box: tuple[float, ...], forward: RBFInterpolator
    ) -> NDArray[np.uint8]:
        """The source: the photograph where F points, in another light.  Beyond the photograph is its mirror image."""
        # at the target's scale first, by the same filter, so that the source is no sharper than the target
        scale = self.side / (box[2] - box[0])
        size = [round(length * scale) for length in photograph.shape[1::-1]]
        scaled = np.asarray(Image.fromarray(photograph).resize(size, Image.Resampling.BICUBIC), np.float64)
        pixels = np.stack(np.meshgrid(*[np.arange(self.side)] * 2), axis=-1).reshape(-1, 2)
        x, y = ((forward(pixels)[:, axis] + 0.5 + box[axis] * scale) * size[axis] / (photograph.shape[1 - axis] * scale)
                - 0.5 for axis in (0, 1))
        seen = np.stack([map_coordinates(scaled[..., channel], [y, x], order=3, mode="mirror") for channel in range(3)],
                        axis=-1).clip(0, 255).reshape(self.side, self.side, 3)
        light = self.change.light
        gain = np.exp(light * (_normal(draw) + _normal(draw, 3) / 3))
        slope = np.linspace(-1, 1, self.side)
        across, down = light * _normal(draw, 2)
        seen = 255 * (seen / 255) ** np.exp(light * _normal(draw)) * gain
        seen *= np.exp(slope[None, :, None] * across + slope[:, None, None] * down)
        seen += self.change.noise * draw.standard_normal(seen.shape)
        return np.rint(seen).clip(0, 255).astype(np.uint8)


def _normal(draw: np.random.Generator, shape: int | tuple[int, ...] | None = None) -> NDArray[np.float64]:
    return np.asarray(np.clip(draw.standard_normal(shape), -2, 2))


def _areas(places: NDArray[np.float64]) -> NDArray[np.float64]:
    """The area, with its sign, of each cell of a mesh of points, H x W x 2."""
    down, across = np.diff(places, axis=0)[:, :-1], np.diff(places, axis=1)[:-1]
    return np.asarray(across[..., 0] * down[..., 1] - across[..., 1] * down[..., 0])
