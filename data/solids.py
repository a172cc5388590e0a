"""The drawn data set `solids`: RGB-D pictures in which some classes differ in colour only, others in depth only.

A camera looks straight down on textured ground. Boxes stand on it and pits are dug into it; both are squares of the
same colours, so that a colour picture cannot tell them apart. Mats are disks of another colour, as flat as the
ground, so that depth cannot show them. A net has to read both (thesis, section 3.4.2: late fusion on NYUDv2).

The set has NYUDv2's layout (data/nyud.py). HHA is that of the scene as it was drawn, with the numbers of data/hha.py:
31000 / depth, height above the lowest point, and 38 for the angle of level surfaces; lengths in centimetres.

    python -m data.solids [--out DIR] [--seed N]
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data import drawn
from data.drawn import Draw, cloud, void_rim

CLASSES = ("ground", "box", "pit", "mat")
SIZE = 64
COUNTS = {"trainval": 240, "test": 60}
SEED = 2016
VERSION = 1  # of the drawing: another number makes `ensure` draw again

_SQUARE, _MAT = (190, 110, 60), (70, 110, 190)
_GROUND = 2000                # millimetres below the camera
_RELIEF = (300, 600)          # of boxes and pits, above and below the ground
_SIDE, _RADIUS = (14, 24), (8, 13)   # of squares and mats, in pixels of a picture of 64


def render(
    seed: int, index: int, size: int = SIZE
) -> tuple[NDArray[np.uint8], NDArray[np.uint16], NDArray[np.uint8], NDArray[np.uint8]]:
    """Picture number `index` of the set with `seed`: RGB, depth in millimetres, HHA, labels (255 void)."""
    draw = Draw(seed, index)
    y, x = np.mgrid[:size, :size]
    colour = draw.between(90, 150) + cloud(draw, size, 16, 30)[:, :, None] + np.zeros(3, np.int64)
    slant = draw.between(-150, 150), draw.between(-150, 150)
    depth = _GROUND + (2 * y - size) * slant[0] // (2 * size) + (2 * x - size) * slant[1] // (2 * size)
    label = np.zeros((size, size), np.uint8)
    for _ in range(draw.between(4, 6)):
        kind = draw.between(1, 3)
        cy, cx = draw.between(4, size - 5), draw.between(4, size - 5)
        if kind == 3:
            radius = draw.between(*_RADIUS) * size // 64
            mask = (y - cy) ** 2 + (x - cx) ** 2 <= radius**2
            paint = _MAT
        else:
            half = draw.between(*_SIDE) * size // 128
            mask = (np.abs(y - cy) <= half) & (np.abs(x - cx) <= half)
            paint = _SQUARE
            relief = draw.between(*_RELIEF)
        tint = np.array([c + draw.between(-20, 20) for c in paint])
        if label[mask].any():
            continue   # things do not overlap
        colour[mask] = tint
        if kind != 3:
            depth[mask] += relief if kind == 2 else -relief
        label[mask] = kind
    image = np.clip(colour + draw.field((size, size, 3), -12, 12), 0, 255).astype(np.uint8)
    depth = depth + draw.field((size, size), -8, 8)
    hha = np.stack([310000 // depth, (depth.max() - depth) // 10, np.full_like(depth, 38)], axis=2)
    return image, depth.astype(np.uint16), np.clip(hha, 0, 255).astype(np.uint8), void_rim(label)


def write(
    folder: str | os.PathLike, seed: int = SEED, counts: dict[str, int] | None = None, size: int = SIZE
) -> Path:
    """Draw the set into `folder` in NYUDv2's layout; see `drawn.write`."""
    counts = COUNTS if counts is None else counts
    stamp = {"drawn_by": "data.solids", "version": VERSION, "seed": seed, "size": size, "counts": counts}
    return drawn.write(folder, stamp, lambda work: _write_into(work, seed, counts, size))


def _write_into(folder: Path, seed: int, counts: dict[str, int], size: int) -> None:
    import scipy.io

    for part in ("data/images", "data/depth", "data/hha", "segmentation"):
        (folder / part).mkdir(parents=True)
    index = 0
    for split, ids in drawn.split_ids("solids", counts).items():
        for picture in ids:
            image, depth, hha, label = render(seed, index, size)
            for part, plane in (("images", image), ("depth", depth), ("hha", hha)):
                Image.fromarray(plane).save(folder / f"data/{part}/img_{picture}.png")
            raw = np.where(label == 255, 0, label + 1)   # classes from 1, 0 for void
            scipy.io.savemat(folder / f"segmentation/img_{picture}.mat", {"segmentation": raw.astype(np.uint8)})
            index += 1
        (folder / f"{split}.txt").write_text("".join(f"{picture}\n" for picture in ids))


def ensure(folder: str | os.PathLike) -> Path:
    """`folder` with the standard drawing in it: see `drawn.ensure`."""
    return drawn.ensure(folder, "solids", VERSION, write)


def main(arguments: list[str] | None = None) -> int:
    """`python -m data.solids`: draw the set and say where it is."""
    return drawn.command("solids", write, SEED, COUNTS, SIZE, arguments)


if __name__ == "__main__":
    raise SystemExit(main())
