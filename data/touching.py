"""The embedded data set `touching`: discs of one colour that touch, drawn from a seed, in COCO's layout.

All discs of a picture have the same class, colour and texture, and no line between them: a label for every pixel cannot
tell them apart, since translation-covariance gives equal places equal labels (thesis 4.1).  Their outline
separates them, on which pairs of pixels are connected.  Random numbers and coordinates are whole, as in `data.shapes`.

    python -m data.touching [--out DIR] [--seed N]
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data import drawn
from data.drawn import Draw, cloud

SIZE = 128
COUNTS = {"train": 160, "val": 40}
SEED = 2016
VERSION = 1   # of the drawing: another number makes `ensure` draw again

_RADII = (10, 20)   # pixels
_DISCS = (4, 9)
_TURNS = 64
_COS = [round(1024 * math.cos(2 * math.pi * t / _TURNS)) for t in range(_TURNS)]
_SIN = [round(1024 * math.sin(2 * math.pi * t / _TURNS)) for t in range(_TURNS)]


def _discs(draw: Draw, size: int) -> list[tuple[int, int, int]]:
    """(y, x, radius) in pixels of discs: each touches an earlier one and overlaps none by more than a pixel."""
    edge = _RADII[1] + 2
    found = [(draw.between(edge, size - edge - 1), draw.between(edge, size - edge - 1), draw.between(*_RADII))]
    wanted = draw.between(*_DISCS)
    for _ in range(200):
        if len(found) == wanted:
            break
        y, x, r = found[draw.below(len(found))]
        radius, turn = draw.between(*_RADII), draw.below(_TURNS)
        y += (r + radius - 1) * _SIN[turn] // 1024
        x += (r + radius - 1) * _COS[turn] // 1024
        inside = radius < y < size - radius and radius < x < size - radius
        if inside and all((y - b)**2 + (x - a)**2 >= (radius + c - 2)**2 for b, a, c in found):
            found.append((y, x, radius))
    return found


def render(seed: int, index: int, size: int = SIZE) -> tuple[NDArray[np.uint8], list[NDArray[np.bool_]]]:
    """Picture number `index` of the set with `seed`: RGB size x size x 3 uint8, and the masks of its discs."""
    draw = Draw(seed, index)
    y, x = np.mgrid[:size, :size]
    ground, colour = (np.array([draw.between(*span) for _ in range(3)]) for span in ((40, 110), (140, 220)))
    image = ground + cloud(draw, size, 16, 25)[:, :, None] + np.zeros((size, size, 3), np.int64)
    masks: list[NDArray[np.bool_]] = []
    taken = np.zeros((size, size), bool)
    for b, a, r in _discs(draw, size):
        mask = ((y - b)**2 + (x - a)**2 <= r * r) & ~taken
        taken |= mask
        masks.append(mask)
    image[taken] = (colour + cloud(draw, size, 8, 15)[:, :, None])[taken]
    image += draw.field((size, size, 3), -8, 8)
    return np.clip(image, 0, 255).astype(np.uint8), masks


def _annotation(number: int, picture: int, mask: NDArray[np.bool_]) -> dict[str, Any]:
    """COCO's record of a mask, as uncompressed run lengths down the columns."""
    flat = np.concatenate([[False], mask.ravel(order="F"), [False]])
    turns = np.flatnonzero(flat[1:] != flat[:-1])
    counts = np.diff(np.concatenate([[0], turns, [mask.size]]))
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    box = [int(columns[0]), int(rows[0]), int(columns[-1] - columns[0] + 1), int(rows[-1] - rows[0] + 1)]
    return {"id": number, "image_id": picture, "category_id": 1, "iscrowd": 0, "area": int(mask.sum()), "bbox": box,
            "segmentation": {"size": list(mask.shape), "counts": [int(n) for n in counts]}}


def write(
    folder: str | os.PathLike, seed: int = SEED, counts: dict[str, int] | None = None, size: int = SIZE
) -> Path:
    """Draw the set into `folder` in COCO's layout; an older drawing in it is replaced whole.

    `counts` gives the pictures per split. The folder appears when it is complete, never half written. DataError when
    the place cannot be written, or holds something that was not drawn here.
    """
    counts = COUNTS if counts is None else counts
    stamp = {"drawn_by": "data.touching", "version": VERSION, "seed": seed, "size": size, "counts": counts}
    return drawn.write(folder, stamp, lambda work: _write_into(work, seed, counts, size))


def _write_into(folder: Path, seed: int, counts: dict[str, int], size: int) -> None:
    (folder / "annotations").mkdir(parents=True)
    number = 0
    for split, count in counts.items():
        (folder / split).mkdir()
        images, annotations = [], []
        for _ in range(count):
            number += 1
            image, masks = render(seed, number, size)
            name = f"{number:012d}.png"
            Image.fromarray(image).save(folder / split / name)
            images.append({"id": number, "file_name": name, "height": size, "width": size})
            annotations += [_annotation(100 * number + k, number, mask) for k, mask in enumerate(masks)]
        content = {"info": {"description": "touching discs, data.touching"}, "images": images,
                   "annotations": annotations, "categories": [{"id": 1, "name": "disc"}]}
        (folder / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))


def ensure(folder: str | os.PathLike) -> Path:
    """`folder` with the standard drawing in it: see `drawn.ensure`."""
    return drawn.ensure(folder, "touching", VERSION, write)


def main(arguments: list[str] | None = None) -> int:
    """`python -m data.touching`: draw the set and say where it is."""
    return drawn.command("touching", write, SEED, COUNTS, SIZE, arguments)


if __name__ == "__main__":
    raise SystemExit(main())
