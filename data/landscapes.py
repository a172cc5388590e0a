"""The drawn data set `landscapes`: pictures with two kinds of labels, semantic and geometric, as SIFT Flow has them.

Sky above a horizon, below it grass with a lake, and on the grass houses and trees. Sky and lake are painted alike,
and so are grass and tree crowns: what tells them apart is where they are.

The set has SIFT Flow's layout (data/siftflow.py).

    python -m data.landscapes [--out DIR] [--seed N]
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data import drawn
from data.drawn import Draw, cloud, void_rim
from data.siftflow import FOLDER

SEMANTIC = ("sky", "grass", "lake", "house", "tree")
GEOMETRIC_OF = np.array([0, 1, 1, 2, 2], np.uint8)   # sky, horizontal, vertical
SIZE = 64
COUNTS = {"trainval": 240, "test": 60}
SEED = 2016
VERSION = 1  # of the drawing: another number makes `ensure` draw again

_COLOURS = np.array([(120, 160, 215), (85, 140, 65), (115, 150, 200), (185, 95, 75), (65, 120, 55)])


def render(seed: int, index: int, size: int = SIZE) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Picture number `index` of the set with `seed`: RGB size x size x 3 and semantic labels size x size, no void."""
    draw = Draw(seed, index)
    y, x = np.mgrid[:size, :size]
    horizon = draw.between(size * 3 // 10, size * 5 // 10)
    label = (y >= horizon).astype(np.uint8)
    if draw.below(4):
        cy, cx = draw.between(horizon, size - 1), draw.below(size)
        high, wide = draw.between(size // 10, size // 5), draw.between(size // 5, size // 2)
        label[((y - cy) ** 2 * wide**2 + (x - cx) ** 2 * high**2 <= high**2 * wide**2) & (y > horizon)] = 2
    for _ in range(draw.between(2, 4)):
        kind = draw.between(3, 4)
        foot, middle = draw.between(horizon + size // 16, size - 1), draw.below(size)
        tall, half = draw.between(size // 4, size * 2 // 5), draw.between(size // 10, size // 7)
        beside, above = np.abs(x - middle), foot - y
        if kind == 3:   # walls and a roof
            roof = np.minimum(half, tall - above)
            label[(above >= 0) & (above < tall) & (beside <= roof)] = 3
        else:   # a trunk and a crown
            crown = (foot - tall - y + half) ** 2 + beside**2 <= half**2
            label[crown | ((above >= 0) & (above < tall - half) & (beside <= size // 32))] = 4
    tints = _COLOURS + draw.field(_COLOURS.shape, -12, 12)
    image = tints[label] + cloud(draw, size, 8, 18)[:, :, None] + draw.field((size, size, 3), -14, 14)
    return np.clip(image, 0, 255).astype(np.uint8), label


def write(
    folder: str | os.PathLike, seed: int = SEED, counts: dict[str, int] | None = None, size: int = SIZE
) -> Path:
    """Draw the set into `folder` in SIFT Flow's layout; see `drawn.write`."""
    counts = COUNTS if counts is None else counts
    stamp = {"drawn_by": "data.landscapes", "version": VERSION, "seed": seed, "size": size, "counts": counts}
    return drawn.write(folder, stamp, lambda work: _write_into(work, seed, counts, size))


def _write_into(folder: Path, seed: int, counts: dict[str, int], size: int) -> None:
    import scipy.io

    images, semantic, geometric = (folder / part / FOLDER for part in ("Images", "SemanticLabels", "GeoLabels"))
    for part in (images, semantic, geometric):
        part.mkdir(parents=True)
    index = 0
    for split, ids in drawn.split_ids("landscapes", counts).items():
        for picture in ids:
            image, label = render(seed, index, size)
            Image.fromarray(image).save(images / f"{picture}.jpg", quality=95, subsampling=0)
            for place, each, void in ((semantic, label, 0), (geometric, GEOMETRIC_OF[label], -1)):
                rimmed = void_rim(each).astype(np.int16)
                raw = np.where(rimmed == 255, void, rimmed + 1)   # classes from 1
                scipy.io.savemat(place / f"{picture}.mat", {"S": raw})
            index += 1
        (folder / f"{split}.txt").write_text("".join(f"{picture}\n" for picture in ids))


def ensure(folder: str | os.PathLike) -> Path:
    """`folder` with the standard drawing in it: see `drawn.ensure`."""
    return drawn.ensure(folder, "landscapes", VERSION, write)


def main(arguments: list[str] | None = None) -> int:
    """`python -m data.landscapes`: draw the set and say where it is."""
    return drawn.command("landscapes", write, SEED, COUNTS, SIZE, arguments)


if __name__ == "__main__":
    raise SystemExit(main())
