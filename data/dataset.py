"""What every data set of this folder offers, and the reading of images, label files and id lists."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from data.errors import DataError
from data.palette import voc_palette

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG")


class Dataset(ABC):
    """Images with one class index per pixel.

    `name`, `root` (its folder), `classes` (names, line n is class n), `ignore` (the index that counts neither
    in the loss nor in scores). Reading never changes anything; every failure is a DataError that names the
    file.
    """

    ignore: ClassVar[int] = 255
    image_tops: ClassVar[tuple[str, ...]] = ("data",)
    label_tops: ClassVar[tuple[str, ...]] = ("label",)
    """What `top` gives: pictures or other measurements of them, and labels, one kind for each task."""

    def __init__(self, name: str, root: str | os.PathLike, classes: tuple[str, ...]) -> None:
        self.name = name
        self.root = Path(root)
        self.classes = tuple(classes)

    @abstractmethod
    def splits(self) -> tuple[str, ...]:
        """The names of the splits whose lists are there, train first."""

    @abstractmethod
    def ids(self, split: str) -> list[str]:
        """The picture ids of a split, in the order of its list."""

    @abstractmethod
    def image_path(self, picture: str) -> Path:
        """Where the image of `picture` is (the file need not exist)."""

    @abstractmethod
    def label_path(self, picture: str) -> Path:
        """Where the labels of `picture` are (the file need not exist)."""

    def path(self, picture: str, name: str) -> Path:
        """The file in which the top `name` is (it need not exist)."""
        return self.label_path(picture) if name in self.label_tops else self.image_path(picture)

    def image(self, picture: str) -> NDArray[np.uint8]:
        """The image as H x W x 3 uint8, RGB; a grayscale file gives three equal channels."""
        return read_image(self.image_path(picture))

    def label(self, picture: str) -> NDArray[np.uint8]:
        """The labels as H x W uint8 class indices, `ignore` for void.  Not checked against `classes`."""
        return read_indices(self.label_path(picture))

    def top(self, picture: str, name: str) -> NDArray:
        """What a net reads: a top of `image_tops` as H x W x channels (colours as BGR), of `label_tops` as H x W."""
        if name in self.label_tops:
            return self.label(picture)
        return self.image(picture)[:, :, ::-1]

    def classes_of(self, label: str) -> tuple[str, ...]:
        """The class names of a top of `label_tops`."""
        return self.classes

    @cached_property
    def palette(self) -> NDArray[np.uint8]:
        """The 256 x 3 RGB colours in which this set's labels are shown: VOC's, unless a set has its own."""
        return voc_palette()

    def _listed(self, split: str, path: Path) -> list[str]:
        """The ids in the list of a split; DataError names the splits that there are."""
        if not path.is_file():
            raise DataError(
                f"no split '{split}' in the data set '{self.name}'",
                file=path,
                found=", ".join(self.splits()) or "no list at all",
                help="choose one of those, or write the list: one picture id per line",
            )
        return read_ids(path)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} at {self.root}, {len(self.classes)} classes>"


@contextmanager
def _opened(path: Path, what: str) -> Iterator[Image.Image]:
    """The opened image file; DataError when it is missing, is no image, or what is done with it cannot decode it."""
    try:
        opened = Image.open(path)
    except FileNotFoundError:
        raise DataError(
            f"no {what} file", file=path, help="`python tools/check_data.py DIR` lists every missing file"
        ) from None
    except (UnidentifiedImageError, OSError) as error:
        raise DataError(
            f"the {what} is not a readable image file ({error})",
            file=path,
            help="the file is damaged or no image; fetch or unpack it again",
        ) from error
    with opened:
        try:
            yield opened
        except (OSError, SyntaxError, ValueError) as error:
            raise DataError(
                f"the {what} cannot be decoded ({error})",
                file=path,
                help="the file is cut short or damaged; fetch or unpack it again",
            ) from error


def read_image(path: str | os.PathLike) -> NDArray[np.uint8]:
    """The image file at `path` as H x W x 3 uint8 RGB (what Caffe's own data layers call colour)."""
    with _opened(Path(path), "image") as image:
        return np.array(image.convert("RGB"))


def image_mode(path: str | os.PathLike) -> tuple[str, tuple[int, int]]:
    """(Pillow's mode, (height, width)) from the file's header, without decoding."""
    with _opened(Path(path), "image") as image:
        return image.mode, (image.height, image.width)


def read_depth(path: str | os.PathLike) -> NDArray[np.uint16]:
    """The 16-bit gray PNG at `path` as H x W uint16; DataError for other files."""
    with _opened(Path(path), "depth") as image:
        if image.mode not in ("I;16", "I;16B", "I"):
            raise DataError(
                "depth must be a 16-bit gray PNG", file=path, found=f"a file of mode {image.mode}",
                help="8 bits are too few; unpack or convert the set again",
            )
        return np.array(image).astype(np.uint16)


def read_indices(path: str | os.PathLike) -> NDArray[np.uint8]:
    """The label file at `path` as H x W uint8: a palette PNG's indices or an 8-bit gray file's values.

    DataError for colour-coded labels: their colours are not class indices, and reading them as such is how
    label values come out wrong without a word.
    """
    with _opened(Path(path), "label") as image:
        if image.mode not in ("P", "L"):
            words = (
                "colour-coded (RGB) labels"
                if image.mode in ("RGB", "RGBA")
                else f"a file of mode {image.mode}"
            )
            raise DataError(
                "labels must be class indices",
                file=path,
                found=words,
                expected="a palette PNG or 8-bit gray PNG whose pixel values are class indices",
                help="map each colour to its index and write with data.palette.write_indexed_png",
            )
        return np.array(image)


def read_palette(path: str | os.PathLike) -> NDArray[np.uint8] | None:
    """The 256 x 3 palette of a palette PNG, black where it has fewer entries; None for other files."""
    with _opened(Path(path), "label") as image:
        flat = image.getpalette() if image.mode == "P" else None
    if not flat:
        return None
    colours = np.zeros((256, 3), dtype=np.uint8)
    given = np.array(flat, dtype=np.uint8).reshape(-1, 3)
    colours[: len(given)] = given
    return colours


def read_ids(path: str | os.PathLike) -> list[str]:
    """The ids of a split list: one per line, empty lines skipped."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(
            "no such split list", file=path, help="a split list holds one picture id per line"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"the split list cannot be read ({error})",
            file=path,
            help="a split list is plain text with one picture id per line",
        ) from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def find_file(folder: Path, picture: str, endings: tuple[str, ...]) -> Path:
    """`folder/picture` with the first of `endings` that exists, or with endings[0] where none does."""
    for ending in endings:
        path = folder / (picture + ending)
        if path.is_file():
            return path
    return folder / (picture + endings[0])


def find_below(folder: Path, is_root, nested: tuple[str, ...], depth: int = 3) -> list[Path]:
    """The folders at or below `folder` for which `is_root` holds.

    Only subfolders whose names start with one of `nested` (any case) are entered, at most `depth` deep, so
    that no folder of ten thousand images is searched. A folder that qualifies is not searched further.
    """
    if not folder.is_dir():
        return []
    if is_root(folder):
        return [folder]
    if depth == 0:
        return []
    found: list[Path] = []
    for entry in sorted(folder.iterdir()):
        if entry.is_dir() and entry.name.lower().startswith(nested):
            found += find_below(entry, is_root, nested, depth - 1)
    return found
