"""What features keep of an image: patches replaced by those of nearest neighbours, averaged receptive fields (2.1)."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from correspondence.grids import Grid
from correspondence.neighbours import Database, nearest
from correspondence.sift import gray
from data.dataset import read_image

Picture = NDArray[np.uint8]


def window(image: NDArray, centre: NDArray | tuple[float, float], size: int) -> NDArray:
    """The `size` x `size` pixels around a point (x, y); beyond the image its edge is repeated.

    Around the middle between pixels when `size` is even: the point's pixel is then the one after the middle.
    """
    low = [int(np.floor(c - (size - 1) / 2 + 0.5)) for c in (centre[1], centre[0])]
    rows, columns = (np.clip(np.arange(start, start + size), 0, length - 1)
                     for start, length in zip(low, image.shape[:2], strict=True))
    return np.asarray(image[np.ix_(rows, columns)])


def assemble(grid: Grid, patches: NDArray) -> NDArray:
    """Patches (rows x columns x s x s x 3) side by side, an image of rows * s by columns * s."""
    rows, columns, size, _, channels = patches.shape
    assert (rows, columns) == grid.shape
    return patches.swapaxes(1, 2).reshape(rows * size, columns * size, channels)


def original(image: Picture, grid: Grid) -> NDArray[np.float32]:
    """The part of an image that its patches cover, as `assemble` puts them together."""
    return assemble(grid, patches_of(image, grid))


def patches_of(image: Picture, grid: Grid) -> NDArray[np.float32]:
    """The patch of stride by stride pixels around every centre of the grid."""
    size = round(grid.stride)
    made = [window(image, centre, size) for centre in grid.centres().reshape(-1, 2)]
    return np.array(made, np.float32).reshape(*grid.shape, size, size, 3)


def reader(cached: int = 512) -> Callable[[Path], Picture]:
    """A reader of pictures that keeps the last ones."""
    return lru_cache(cached)(read_image)


def from_neighbours(
    grid: Grid, database: Database, k: int, read: Callable[[Path], Picture] = read_image,
    excluded: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The image with every patch replaced by the mean of the patches of its k nearest neighbours, and their cosines."""
    index, cosine = nearest(grid.features.reshape(-1, grid.features.shape[2]), database.features, k, excluded)
    size = round(grid.stride)
    patches = np.zeros((len(index), size, size, 3), np.float32)
    found, patch = index.ravel(), np.repeat(np.arange(len(index)), k)
    for i in np.argsort(database.picture[found], kind="stable"):   # picture by picture, so that each is read once
        image = read(database.pictures[int(database.picture[found[i]])])
        patches[patch[i]] += window(image, database.place[found[i]], size)
    return assemble(grid, (patches / k).reshape(*grid.shape, size, size, 3)), cosine


def uniform(image: Picture, grid: Grid, field: int, k: int, seed: int) -> NDArray[np.float32]:
    """The best to be expected of features that lose all places within their fields: patches from anywhere in them.

    Each patch becomes the mean of k patches of the same image whose middles are drawn uniformly from the `field` x
    `field` pixels around it, as far as they lie within the image.
    """
    draw = np.random.default_rng(seed)
    size, half = round(grid.stride), (field - 1) // 2
    height, width = image.shape[:2]
    patches = np.zeros((*grid.shape, size, size, 3), np.float32)
    centres = np.rint(grid.centres()).astype(int)
    for row, column in np.ndindex(grid.shape):
        x, y = centres[row, column]
        for _ in range(k):
            at = (draw.integers(max(0, x - half), min(width - 1, x + half), endpoint=True),
                  draw.integers(max(0, y - half), min(height - 1, y + half), endpoint=True))
            patches[row, column] += window(image, at, size)
    return assemble(grid, patches / k)


def detail(found: NDArray, true: NDArray, field: int) -> float:
    """How far an image put together agrees with the true one in what is finer than the receptive field.

    The correlation of both (H x W x 3) in gray, less their means over field x field pixels around each pixel: 1 for the
    image itself, about 0 for patches from anywhere in the field.
    """
    fine = [values - uniform_filter(values, field, mode="nearest") for values in (gray(found), gray(true))]
    return float(np.corrcoef(fine[0].ravel(), fine[1].ravel())[0, 1])


def fields(
    database: Database, chosen: NDArray[np.int64], read: Callable[[Path], Picture] = read_image
) -> NDArray[np.float32]:
    """The whole receptive fields of features of a database, N x size x size x 3."""
    size = round(database.size)
    return np.array([window(read(database.pictures[int(database.picture[i])]), database.place[i], size)
                     for i in chosen], np.float32)


def expanded(image: NDArray[np.float32]) -> Picture:
    """An average with its contrast expanded: its 1st and 99th percentiles become black and white."""
    low, high = np.percentile(image, [1, 99])
    return np.clip(255 * (image - low) / max(high - low, 1e-6), 0, 255).astype(np.uint8)


def spread_by_distance(stack: NDArray[np.float32], rings: int = 8) -> NDArray[np.float64]:
    """How much N receptive fields differ (standard deviation of a pixel's colour), by distance from their centre.

    `rings` values, from the centre to the edge, of square rings of equal width.
    """
    size = stack.shape[1]
    away = np.abs(np.arange(size) - (size - 1) / 2)
    ring = np.minimum((np.maximum.outer(away, away) / (size / 2) * rings).astype(int), rings - 1)
    deviation = stack.std(axis=0).mean(axis=2)
    return np.array([deviation[ring == i].mean() for i in range(rings)])
