"""The embedded data set `shapes`: coloured shapes on textured grounds, drawn from a seed, in VOC layout.

It exists so that a segmentation net can be trained and scored in minutes on any machine with no download.
Colour and texture tell the classes apart easily; what is hard is geometry. Rings, crosses and dots are a few
pixels thin or small, so a prediction at stride 32 loses them, one at stride 16 blurs them, and one at stride
8 draws them (thesis, chapter 3).

The drawing is the same on every machine: its random numbers are raw PCG64 words, and it uses integers only,
in units of 1/16 pixel.

    python -m data.shapes [--out DIR] [--seed N]
"""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data import drawn
from data.drawn import Draw, cloud, void_rim
from data.palette import write_indexed_png

CLASSES = ("background", "disk", "square", "triangle", "ring", "cross", "dots")
SIZE = 160
COUNTS = {"train": 300, "val": 60}
SEED = 2016
VERSION = 1  # of the drawing: another number makes `ensure` draw again

_UNIT = 16  # drawing units per pixel
_TURNS = 64  # directions per full turn
# rounded to 1/1024, far above the last-bit differences between maths libraries
_COS = [round(1024 * math.cos(2 * math.pi * t / _TURNS)) for t in range(_TURNS)]
_SIN = [round(1024 * math.sin(2 * math.pi * t / _TURNS)) for t in range(_TURNS)]

# per class: the RGB colour around which objects are painted; outer radius in pixels, smallest and largest
_COLOURS = {
    1: (205, 70, 60),
    2: (60, 90, 205),
    3: (65, 175, 75),
    4: (225, 200, 60),
    5: (190, 70, 195),
    6: (60, 200, 205),
}
_RADII = {1: (16, 28), 2: (18, 30), 3: (20, 32), 4: (19, 30), 5: (18, 30), 6: (18, 26)}
# thickness of rings and bars, diameter of dots, in half pixels
_RING, _BAR, _DOT = (13, 18), (13, 18), (18, 24)


def grid(size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """y and x of the pixel centres, in drawing units."""
    axis = np.arange(size, dtype=np.int64) * _UNIT + _UNIT // 2
    return axis[:, None] + 0 * axis[None, :], axis[None, :] + 0 * axis[:, None]


def waves(draw: Draw, y: NDArray, x: NDArray, low: int, high: int, amplitude: int) -> NDArray[np.int64]:
    """Stripes in a random direction, a triangle wave of period low..high pixels."""
    turn, period = draw.below(_TURNS), draw.between(low, high) * _UNIT
    along = (x * _COS[turn] + y * _SIN[turn]) // 1024 + draw.below(period)
    phase = along % period
    return (4 * np.minimum(phase, period - phase) - period) * amplitude // period


def tiles(draw: Draw, y: NDArray, x: NDArray, low: int, high: int, amplitude: int) -> NDArray[np.int64]:
    """A chequered pattern in a random direction with fields of low..high pixels."""
    turn, side = draw.below(_TURNS), draw.between(low, high) * _UNIT
    u = (x * _COS[turn] + y * _SIN[turn]) // 1024 // side
    v = (y * _COS[turn] - x * _SIN[turn]) // 1024 // side
    return ((u + v) % 2 * 2 - 1) * amplitude


def ground(draw: Draw, size: int, y: NDArray, x: NDArray) -> NDArray[np.int64]:
    """A textured ground of muted colours, size x size x 3, not yet clipped to 0..255."""
    base = draw.between(70, 180)
    colour = np.array([base + draw.between(-22, 22) for _ in range(3)])
    kind = draw.below(4)
    if kind == 0:
        texture = waves(draw, y, x, 6, 24, draw.between(12, 40))
    elif kind == 1:
        texture = tiles(draw, y, x, 5, 18, draw.between(8, 26))
    elif kind == 2:
        texture = cloud(draw, size, 8, 50) + cloud(draw, size, 4, 20)
    else:
        texture = waves(draw, y, x, 8, 20, 18) + waves(draw, y, x, 8, 20, 18)
    ground = colour[None, None, :] + texture[:, :, None] + cloud(draw, size, 32, 40)[:, :, None]
    for channel in range(3):
        ground[:, :, channel] += cloud(draw, size, 32, 14)
    return ground


def _mask(draw: Draw, kind: int, y: NDArray, x: NDArray, cy: int, cx: int, radius: int) -> NDArray[np.bool_]:
    """The pixels of one object of class `kind` around (cy, cx) within `radius` (all in drawing units)."""
    dy, dx = y - cy, x - cx
    turn = draw.below(_TURNS)
    u = (dx * _COS[turn] + dy * _SIN[turn]) // 1024
    v = (dy * _COS[turn] - dx * _SIN[turn]) // 1024
    if kind == 1:
        return dx * dx + dy * dy <= radius * radius
    if kind == 2:
        side = radius * 724 // 1024
        return (np.abs(u) <= side) & (np.abs(v) <= side)
    if kind == 3:
        # height 1.5 r, half base 0.866 r: |v| <= (r - u) / sqrt(3)
        return (u >= -radius // 2) & (np.abs(v) * 1024 <= (radius - u) * 591)
    if kind == 4:
        inner = radius - draw.between(*_RING) * _UNIT // 2
        distance = dx * dx + dy * dy
        return (distance <= radius * radius) & (distance >= inner * inner)
    if kind == 5:
        half = draw.between(*_BAR) * _UNIT // 4
        return ((np.abs(u) <= radius) & (np.abs(v) <= half)) | ((np.abs(v) <= radius) & (np.abs(u) <= half))
    found = np.zeros(y.shape, dtype=bool)
    dot = draw.between(*_DOT) * _UNIT // 4
    for k in range(draw.between(3, 5)):
        turn_k = (turn + k * 13) % _TURNS
        reach = draw.between(max(radius - 6 * _UNIT, dot), radius - dot)
        oy, ox = dy - reach * _SIN[turn_k] // 1024, dx - reach * _COS[turn_k] // 1024
        found |= oy * oy + ox * ox <= dot * dot
    return found


def _paint(draw: Draw, kind: int, y: NDArray, x: NDArray) -> NDArray[np.int64]:
    """The surface of an object of class `kind`: its colour, slightly varied, with its own texture."""
    colour = np.array([c + draw.between(-20, 20) for c in _COLOURS[kind]])
    if kind in (1, 4):
        texture = waves(draw, y, x, 5, 9, 20)
    elif kind in (2, 5):
        texture = tiles(draw, y, x, 3, 5, 16)
    else:
        texture = cloud(draw, len(y), 4, 30)
    return colour[None, None, :] + texture[:, :, None]


def render(seed: int, index: int, size: int = SIZE) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Picture number `index` of the set with `seed`: RGB size x size x 3 and labels size x size, uint8."""
    draw = Draw(seed, index)
    y, x = grid(size)
    image = ground(draw, size, y, x)
    label = np.zeros((size, size), dtype=np.uint8)
    taken: list[tuple[int, int, int]] = []
    for _ in range(draw.between(3, 5)):
        kind = draw.between(1, len(CLASSES) - 1)
        radius = draw.between(*_RADII[kind]) * _UNIT
        for _attempt in range(12):
            cy, cx = draw.between(8, size - 9) * _UNIT, draw.between(8, size - 9) * _UNIT
            near = ((cy - b) ** 2 + (cx - a) ** 2 < (radius + r) ** 2 * 3 // 4 for b, a, r in taken)
            if not any(near):
                break
        else:
            continue
        taken.append((cy, cx, radius))
        mask = _mask(draw, kind, y, x, cy, cx, radius)
        surface = _paint(draw, kind, y, x)
        image[mask] = surface[mask]
        label[mask] = kind
    image += draw.field((size, size, 3), -10, 10)
    return np.clip(image, 0, 255).astype(np.uint8), void_rim(label)


def write(
    folder: str | os.PathLike, seed: int = SEED, counts: dict[str, int] | None = None, size: int = SIZE
) -> Path:
    """Draw the set into `folder` in VOC layout; an older drawing in it is replaced whole.

    `counts` gives the pictures per split ({"train": 300, "val": 60} by default). The folder appears when it
    is complete, never half written. Images are JPEG of quality 95 without chroma subsampling, as VOC's
    readers expect the ending .jpg; labels are palette PNG. DataError when the place cannot be written, or
    holds something that was not drawn here.
    """
    counts = COUNTS if counts is None else counts
    stamp = {"drawn_by": "data.shapes", "version": VERSION, "seed": seed, "size": size, "counts": counts}
    return drawn.write(folder, stamp, lambda work: _write_into(work, seed, counts, size))


def _write_into(folder: Path, seed: int, counts: dict[str, int], size: int) -> None:
    images, labels = folder / "JPEGImages", folder / "SegmentationClass"
    lists = folder / "ImageSets" / "Segmentation"
    for part in (images, labels, lists):
        part.mkdir(parents=True)
    splits = drawn.split_ids("shapes", counts)
    everything = [picture for ids in splits.values() for picture in ids]
    for index, picture in enumerate(everything):
        image, label = render(seed, index, size)
        Image.fromarray(image).save(images / f"{picture}.jpg", quality=95, subsampling=0)
        write_indexed_png(labels / f"{picture}.png", label)
    for split, ids in {**splits, "trainval": everything}.items():
        (lists / f"{split}.txt").write_text("".join(f"{picture}\n" for picture in ids))
    (folder / "classes.txt").write_text("".join(f"{name}\n" for name in CLASSES))


def ensure(folder: str | os.PathLike) -> Path:
    """`folder` with the standard drawing in it: see `drawn.ensure`."""
    return drawn.ensure(folder, "shapes", VERSION, write)


def main(arguments: list[str] | None = None) -> int:
    """`python -m data.shapes`: draw the set and say where it is."""
    return drawn.command("shapes", write, SEED, COUNTS, SIZE, arguments)


if __name__ == "__main__":
    raise SystemExit(main())
