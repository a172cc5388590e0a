"""A database of features from many images, and exact nearest neighbours in it by cosine similarity (thesis 2.1).

Features are stored at length 1 in float16 (two bytes a value: a million features of 384 channels take 0.8 GB) and
compared in float32, a block at a time, by matrix products.  Rounding to float16 changes a cosine by less than 0.001.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from correspondence.errors import DataError
from correspondence.grids import FeatureNet
from data.dataset import read_image

BLOCK = 1 << 16   # features compared at once
QUERIES = 512   # queries at once: with BLOCK, a table of 134 MB


@dataclass(frozen=True)
class Database:
    """N features of one layer.  Feature i comes from `pictures[picture[i]]`, around the point `place[i]` (x, y).

    `features`: N x channels float16, of length 1.  `stride` and `size` are those of the layer's receptive fields.
    """

    features: NDArray[np.float16]
    picture: NDArray[np.int32]
    place: NDArray[np.float32]
    pictures: Sequence[Path]
    stride: float
    size: float

    def __len__(self) -> int:
        return len(self.features)


def build_databases(
    net: FeatureNet, pictures: Sequence[Path], limit: int | None = None,
    progress: Callable[[Iterable[Path]], Iterable[Path]] = iter,
) -> dict[str, Database]:
    """A Database for each of the net's layers of all features in the pictures, in one pass through the net.

    `limit`: pictures are taken until every layer has that many features (all pictures where it is None or out of
    reach).  `progress` wraps the loop.  Raises DataError without pictures.
    """
    parts: dict[str, list[tuple[NDArray, NDArray, int]]] = {layer: [] for layer in net.blobs}
    sizes: dict[str, tuple[float, float]] = {}
    counts = dict.fromkeys(net.blobs, 0)
    for number, path in enumerate(progress(pictures)):
        if limit is not None and min(counts.values()) >= limit:
            break
        for layer, grid in net.grids(read_image(path)).items():
            found = grid.features.reshape(-1, grid.features.shape[2])
            parts[layer].append((unit(found).astype(np.float16), grid.centres().reshape(-1, 2), number))
            counts[layer] += len(found)
            sizes[layer] = grid.stride, grid.size
    if not sizes:
        raise DataError("a database needs pictures", found="none", help="give a folder with photographs")
    return {
        layer: Database(
            np.concatenate([features for features, _, _ in made]),
            np.repeat([number for *_, number in made], [len(features) for features, _, _ in made]).astype(np.int32),
            np.concatenate([places for _, places, _ in made]).astype(np.float32), pictures, *sizes[layer],
        )
        for layer, made in parts.items()
    }


def unit(features: ArrayLike) -> NDArray[np.float32]:
    """Rows scaled to length 1; rows of zeros stay zeros."""
    rows = np.asarray(features, np.float32)
    return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), np.finfo(np.float32).tiny)


def nearest(
    queries: ArrayLike, features: NDArray, k: int, excluded: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """For each of Q queries (Q x channels) the k rows of `features` (of length 1) with the largest cosine.

    Returns indices and cosines, Q x k, best first; of equals the earlier row comes first.  `excluded`: rows that no
    query may find, for instance those from the queries' own picture.  Raises DataError when there are not k rows.
    """
    wanted = unit(queries)
    there = len(features) - (0 if excluded is None else int(excluded.sum()))
    if wanted.ndim != 2 or wanted.shape[1] != features.shape[1] or not 1 <= k <= there:
        raise DataError("no such neighbours", found=f"k = {k}, queries {wanted.shape}, {there} features of "
                        f"{features.shape[1]} channels", expected="Q x channels, and at least k features")
    index = np.zeros((len(wanted), k), np.int64)
    cosine = np.full((len(wanted), k), -np.inf, np.float32)
    for first in range(0, len(features), BLOCK):
        block = features[first : first + BLOCK].astype(np.float32)
        for low in range(0, len(wanted), QUERIES):
            part = slice(low, low + QUERIES)
            similar = wanted[part] @ block.T
            if excluded is not None:
                similar[:, excluded[first : first + BLOCK]] = -np.inf
            best = _largest(similar, k)
            both = np.concatenate([cosine[part], np.take_along_axis(similar, best, axis=1)], axis=1)
            numbers = np.concatenate([index[part], best + first], axis=1)
            chosen = np.argsort(-both, axis=1, kind="stable")[:, :k]
            cosine[part] = np.take_along_axis(both, chosen, axis=1)
            index[part] = np.take_along_axis(numbers, chosen, axis=1)
    return index, cosine


def _largest(values: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Columns of the k largest values of each row, in the order of columns."""
    if k == 1:
        return values.argmax(axis=1)[:, None]
    if k >= values.shape[1]:
        return np.broadcast_to(np.arange(values.shape[1]), values.shape)
    return np.sort(np.argpartition(-values, k - 1, axis=1)[:, :k], axis=1)
