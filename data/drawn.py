"""Data sets that are drawn from a seed: random numbers that never change, folders written whole or not at all."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.errors import DataError


class Draw:
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


def cloud(draw: Draw, size: int, cell: int, amplitude: int) -> NDArray[np.int64]:
    """Smooth noise in -amplitude..amplitude: a random lattice every `cell` pixels, interpolated linearly."""
    n = size // cell + 2
    lattice = draw.field((n, n), -amplitude, amplitude)
    at = np.arange(size)
    low, part = at // cell, at % cell
    rows = lattice[low] * (cell - part)[:, None] + lattice[low + 1] * part[:, None]
    both = rows[:, low] * (cell - part)[None, :] + rows[:, low + 1] * part[None, :]
    return np.asarray(both // (cell * cell), dtype=np.int64)


def void_rim(label: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """`label` with 255 on every pixel that touches (4-neighbours) a pixel of a higher class.

    So each object has a rim one pixel wide around it, as VOC's objects do, and keeps its own pixels.
    """
    padded = np.pad(label, 1, mode="edge")
    around = [padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]]
    out = label.copy()
    out[np.maximum.reduce(around) > label] = 255
    return out


def split_ids(name: str, counts: dict[str, int]) -> dict[str, list[str]]:
    """Consecutive ids <name>_<six digits> for each split."""
    splits, index = {}, 0
    for split, count in counts.items():
        splits[split] = [f"{name}_{i:06d}" for i in range(index, index + count)]
        index += count
    return splits


def write(folder: str | os.PathLike, stamp: dict[str, Any], draw: Callable[[Path], None]) -> Path:
    """Fill `folder` with what `draw(folder)` writes and the stamp; an older drawing in it is replaced whole.

    `stamp` says how it was drawn; `drawn_by` is the module.  The folder appears when it is complete.  DataError
    when the place cannot be written, or holds something that was not drawn here.
    """
    folder, module = Path(folder), stamp["drawn_by"]
    name = module.removeprefix("data.")
    if folder.exists() and any(folder.iterdir()) and not (folder / f"{name}.json").is_file():
        raise DataError(
            f"this folder is not empty and was not drawn by {module}",
            file=folder,
            help="give another folder with --out, or empty this one",
        )
    work = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        draw(work)
        (work / f"{name}.json").write_text(json.dumps(stamp, indent=2) + "\n")
        work.chmod(0o755)
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(work, folder)
    except OSError as error:
        if _stamp_of(folder, name) == stamp:
            return folder  # another process was faster
        raise DataError(
            f"the data set '{name}' cannot be written ({error})",
            file=folder,
            help="set CAFFE_LUNGO_DATA to a folder that can be written",
        ) from error
    finally:
        if work is not None and work.exists():
            shutil.rmtree(work, ignore_errors=True)
    return folder


def _stamp_of(folder: Path, name: str) -> dict[str, Any]:
    try:
        stamp = json.loads((folder / f"{name}.json").read_text())
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def ensure(folder: str | os.PathLike, name: str, version: int, standard: Callable[[Path], Path]) -> Path:
    """`folder` with the drawing `standard(folder)` in it, drawn now (in seconds) where it is missing or out of date.

    A drawing with another seed or size, made on purpose, is left as it is.
    """
    folder = Path(folder)
    return folder if _stamp_of(folder, name).get("version") == version else standard(folder)


def command(
    name: str, standard: Callable[..., Path], seed: int, counts: dict[str, int], size: int,
    arguments: list[str] | None,
) -> int:
    """`python -m data.<name>`: draw the set with `standard(folder, seed, counts, size)` and say where it is."""
    from data.sources import folder_of

    train, val = counts
    parser = argparse.ArgumentParser(prog=f"python -m data.{name}", description=f"Draw the data set '{name}'.")
    parser.add_argument(
        "--out", metavar="DIR", help="the folder to write (default: where open_dataset looks)"
    )
    parser.add_argument("--seed", type=int, default=seed, help=f"another seed draws other pictures ({seed})")
    for option, split in (("--train", train), ("--val", val)):
        parser.add_argument(option, type=int, default=counts[split], metavar="N",
                            help=f"{split} pictures ({counts[split]})")
    parser.add_argument("--size", type=int, default=size, metavar="PIXELS", help=f"side of the pictures ({size})")
    given = parser.parse_args(arguments)
    if min(given.train, given.val) < 1 or given.size < 32 or given.seed < 0:
        parser.error("--train and --val must be at least 1, --size at least 32, --seed not negative")
    out = Path(given.out) if given.out else folder_of(name)
    try:
        standard(out, given.seed, {train: given.train, val: given.val}, given.size)
    except DataError as error:
        parser.exit(1, f"{error}\n")
    print(f"{given.train} {train} and {given.val} {val} pictures in {out}")
    return 0
