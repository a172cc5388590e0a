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

import argparse
import json
import math
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data.errors import DataError
from data.palette import write_indexed_png

CLASSES = ("background", "disk", "square", "triangle", "ring", "cross", "dots")
SIZE = 160
COUNTS = {"train": 300, "val": 60}
SEED = 2016
VOID = 255
VERSION = 1  # of the drawing: another number makes `ensure` draw again

_STAMP = "shapes.json"

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


class _Draw:
    """Whole random numbers from raw PCG64 words: unlike NumPy's distributions these never change."""

    def __init__(self, *key: int) -> None:
        self._bits = np.random.PCG64(key)

    def below(self, n: int) -> int:
        """One number in 0..n-1 (the bias of the remainder, n / 2**64, does not matter)."""
        return int(self._bits.random_raw()) % n

    def between(self, low: int, high: int) -> int:
        """One number in low..high, both included."""
        return low + self.below(high - low + 1)

    def field(self, shape: tuple[int, ...], low: int, high: int) -> NDArray[np.int64]:
        """An array of numbers in low..high."""
        words = self._bits.random_raw(int(np.prod(shape))) % np.uint64(high - low + 1)
        return np.asarray(words, dtype=np.int64).reshape(shape) + low


def _grid(size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """y and x of the pixel centres, in drawing units."""
    axis = np.arange(size, dtype=np.int64) * _UNIT + _UNIT // 2
    return axis[:, None] + 0 * axis[None, :], axis[None, :] + 0 * axis[:, None]


def _cloud(draw: _Draw, size: int, cell: int, amplitude: int) -> NDArray[np.int64]:
    """Smooth noise in -amplitude..amplitude: a random lattice every `cell` pixels, interpolated linearly."""
    n = size // cell + 2
    lattice = draw.field((n, n), -amplitude, amplitude)
    at = np.arange(size)
    low, part = at // cell, at % cell
    rows = lattice[low] * (cell - part)[:, None] + lattice[low + 1] * part[:, None]
    both = rows[:, low] * (cell - part)[None, :] + rows[:, low + 1] * part[None, :]
    return np.asarray(both // (cell * cell), dtype=np.int64)


def _waves(draw: _Draw, y: NDArray, x: NDArray, low: int, high: int, amplitude: int) -> NDArray[np.int64]:
    """Stripes in a random direction, a triangle wave of period low..high pixels."""
    turn, period = draw.below(_TURNS), draw.between(low, high) * _UNIT
    along = (x * _COS[turn] + y * _SIN[turn]) // 1024 + draw.below(period)
    phase = along % period
    return (4 * np.minimum(phase, period - phase) - period) * amplitude // period


def _tiles(draw: _Draw, y: NDArray, x: NDArray, low: int, high: int, amplitude: int) -> NDArray[np.int64]:
    """A chequered pattern in a random direction with fields of low..high pixels."""
    turn, side = draw.below(_TURNS), draw.between(low, high) * _UNIT
    u = (x * _COS[turn] + y * _SIN[turn]) // 1024 // side
    v = (y * _COS[turn] - x * _SIN[turn]) // 1024 // side
    return ((u + v) % 2 * 2 - 1) * amplitude


def _ground(draw: _Draw, size: int, y: NDArray, x: NDArray) -> NDArray[np.int64]:
    """A textured ground of muted colours, size x size x 3, not yet clipped to 0..255."""
    base = draw.between(70, 180)
    colour = np.array([base + draw.between(-22, 22) for _ in range(3)])
    kind = draw.below(4)
    if kind == 0:
        texture = _waves(draw, y, x, 6, 24, draw.between(12, 40))
    elif kind == 1:
        texture = _tiles(draw, y, x, 5, 18, draw.between(8, 26))
    elif kind == 2:
        texture = _cloud(draw, size, 8, 50) + _cloud(draw, size, 4, 20)
    else:
        texture = _waves(draw, y, x, 8, 20, 18) + _waves(draw, y, x, 8, 20, 18)
    ground = colour[None, None, :] + texture[:, :, None] + _cloud(draw, size, 32, 40)[:, :, None]
    for channel in range(3):
        ground[:, :, channel] += _cloud(draw, size, 32, 14)
    return ground


def _mask(draw: _Draw, kind: int, y: NDArray, x: NDArray, cy: int, cx: int, radius: int) -> NDArray[np.bool_]:
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


def _paint(draw: _Draw, kind: int, y: NDArray, x: NDArray) -> NDArray[np.int64]:
    """The surface of an object of class `kind`: its colour, slightly varied, with its own texture."""
    colour = np.array([c + draw.between(-20, 20) for c in _COLOURS[kind]])
    if kind in (1, 4):
        texture = _waves(draw, y, x, 5, 9, 20)
    elif kind in (2, 5):
        texture = _tiles(draw, y, x, 3, 5, 16)
    else:
        texture = _cloud(draw, len(y), 4, 30)
    return colour[None, None, :] + texture[:, :, None]


def void_rim(label: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """`label` with 255 on every pixel that touches (4-neighbours) a pixel of a higher class.

    So each object has a rim one pixel wide around it, as VOC's objects do, and keeps its own pixels.
    """
    padded = np.pad(label, 1, mode="edge")
    around = [padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]]
    out = label.copy()
    out[np.maximum.reduce(around) > label] = VOID
    return out


def render(seed: int, index: int, size: int = SIZE) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Picture number `index` of the set with `seed`: RGB size x size x 3 and labels size x size, uint8."""
    draw = _Draw(seed, index)
    y, x = _grid(size)
    image = _ground(draw, size, y, x)
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
    folder = Path(folder)
    counts = COUNTS if counts is None else counts
    if folder.exists() and any(folder.iterdir()) and not (folder / _STAMP).is_file():
        raise DataError(
            "this folder is not empty and was not drawn by data.shapes",
            file=folder,
            help="give another folder with --out, or empty this one",
        )
    work = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        _write_into(work, seed, counts, size)
        work.chmod(0o755)
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(work, folder)
    except OSError as error:
        if _is_current(folder, seed, counts, size):
            return folder  # another process was faster
        raise DataError(
            f"the data set 'shapes' cannot be written ({error})",
            file=folder,
            help="set CAFFE_LUNGO_DATA to a folder that can be written",
        ) from error
    finally:
        if work is not None and work.exists():
            shutil.rmtree(work, ignore_errors=True)
    return folder


def _write_into(folder: Path, seed: int, counts: dict[str, int], size: int) -> None:
    images, labels = folder / "JPEGImages", folder / "SegmentationClass"
    lists = folder / "ImageSets" / "Segmentation"
    for part in (images, labels, lists):
        part.mkdir(parents=True)
    index, everything = 0, []
    for split, count in counts.items():
        ids = [f"shapes_{i:06d}" for i in range(index, index + count)]
        for i, picture in enumerate(ids, start=index):
            image, label = render(seed, i, size)
            Image.fromarray(image).save(images / f"{picture}.jpg", quality=95, subsampling=0)
            write_indexed_png(labels / f"{picture}.png", label)
        (lists / f"{split}.txt").write_text("".join(f"{picture}\n" for picture in ids))
        index += count
        everything += ids
    (lists / "trainval.txt").write_text("".join(f"{picture}\n" for picture in everything))
    (folder / "classes.txt").write_text("".join(f"{name}\n" for name in CLASSES))
    (folder / _STAMP).write_text(json.dumps(_stamp(seed, counts, size), indent=2) + "\n")


def _stamp(seed: int, counts: dict[str, int], size: int) -> dict:
    return {"drawn_by": "data.shapes", "version": VERSION, "seed": seed, "size": size, "counts": counts}


def _is_current(folder: Path, seed: int, counts: dict[str, int], size: int) -> bool:
    """Whether `folder` holds exactly this drawing."""
    try:
        return json.loads((folder / _STAMP).read_text()) == _stamp(seed, counts, size)
    except (OSError, ValueError):
        return False


def ensure(folder: str | os.PathLike) -> Path:
    """`folder` with the standard drawing in it, drawn now (in seconds) where it is missing or out of date.

    A drawing with another seed or size, made on purpose, is left as it is.
    """
    folder = Path(folder)
    try:
        stamp = json.loads((folder / _STAMP).read_text())
        if isinstance(stamp, dict) and stamp.get("version") == VERSION:
            return folder
    except (OSError, ValueError):
        pass
    return write(folder)


def main(arguments: list[str] | None = None) -> int:
    """`python -m data.shapes`: draw the set and say where it is."""
    from data.sources import folder_of

    parser = argparse.ArgumentParser(prog="python -m data.shapes", description="Draw the data set 'shapes'.")
    parser.add_argument(
        "--out", metavar="DIR", help="the folder to write (default: where open_dataset looks)"
    )
    parser.add_argument("--seed", type=int, default=SEED, help=f"another seed draws other pictures ({SEED})")
    parser.add_argument(
        "--train", type=int, default=COUNTS["train"], metavar="N", help="train pictures (300)"
    )
    parser.add_argument("--val", type=int, default=COUNTS["val"], metavar="N", help="val pictures (60)")
    parser.add_argument("--size", type=int, default=SIZE, metavar="PIXELS", help="side of the pictures (160)")
    given = parser.parse_args(arguments)
    if min(given.train, given.val) < 1 or given.size < 32 or given.seed < 0:
        parser.error("--train and --val must be at least 1, --size at least 32, --seed not negative")
    out = Path(given.out) if given.out else folder_of("shapes")
    try:
        write(out, given.seed, {"train": given.train, "val": given.val}, given.size)
    except DataError as error:
        parser.exit(1, f"{error}\n")
    print(f"{given.train} train and {given.val} val pictures in {out}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
