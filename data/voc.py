"""Reader of the PASCAL VOC directory layout: VOC 2011, VOC 2012, and any other data set laid out like them.

JPEGImages/<id>.jpg                       images (.jpeg and .png are read too)
SegmentationClass/<id>.png                labels, palette PNG whose indices are the classes, 255 for void
ImageSets/Segmentation/<split>.txt        one id per line
classes.txt                               optional: line n is the name of class n (VOC's 21 where absent)
"""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.dataset import IMAGE_ENDINGS, Dataset, find_below, find_file, read_ids, read_palette
from data.errors import DataError
from data.palette import voc_palette
from data.sources import missing

VOC_CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
)  # fmt: skip

_LISTS = Path("ImageSets") / "Segmentation"
_ORDER = ("train", "val", "trainval", "test")


def find_voc_root(folder: str | os.PathLike, name: str = "") -> Path:
    """The folder that holds JPEGImages/ and ImageSets/, at or below `folder`.

    VOC's archives unpack to VOCdevkit/VOC2012 or TrainVal/VOCdevkit/VOC2011; either level may be given.  With
    several years below one folder, `name` (voc2011, voc2012) chooses.  DataError says what is missing.
    """
    folder = Path(folder)
    found = find_below(folder, lambda path: (path / _LISTS).is_dir(), ("voc", "trainval"))
    named = [root for root in found if root.name.lower() == name.lower()]
    if named or len(found) == 1:
        return (named or found)[0]
    if found:
        raise DataError(
            f"{len(found)} data sets below one folder: {', '.join(path.name for path in found)}",
            file=folder,
            help="give the folder of one of them",
        )
    if not folder.is_dir():
        raise missing(name, folder, "there is no such folder")
    raise missing(name, folder, f"no {_LISTS.as_posix()}/ in it")


class VOC(Dataset):
    """A data set in VOC layout at or below `folder`.

    `classes` replaces the names in classes.txt. DataError when the folder, one of its three parts or every
    split list is missing.
    """

    def __init__(
        self, folder: str | os.PathLike, name: str | None = None, classes: tuple[str, ...] | None = None
    ) -> None:
        root = find_voc_root(folder, name or "")
        lacking = [part for part in ("JPEGImages", "SegmentationClass") if not (root / part).is_dir()]
        if lacking:
            raise missing(name or "", root, "no " + "/, no ".join(lacking) + "/ in it")
        super().__init__(name or root.name, root, classes or _classes(root))

    def splits(self) -> tuple[str, ...]:
        """The lists in ImageSets/Segmentation: train, val, trainval, test first, then others by name."""
        there = {path.stem for path in (self.root / _LISTS).glob("*.txt")}
        return tuple(s for s in _ORDER if s in there) + tuple(sorted(there - set(_ORDER)))

    def ids(self, split: str) -> list[str]:
        return self._listed(split, self.root / _LISTS / f"{split}.txt")

    def image_path(self, picture: str) -> Path:
        return find_file(self.root / "JPEGImages", picture, IMAGE_ENDINGS)

    def label_path(self, picture: str) -> Path:
        return self.root / "SegmentationClass" / f"{picture}.png"

    @cached_property
    def palette(self) -> NDArray[np.uint8]:
        """The palette of the set's first label file; VOC's where there is none."""
        for split in self.splits():
            for picture in self.ids(split)[:1]:
                if self.label_path(picture).is_file():
                    found = read_palette(self.label_path(picture))
                    return voc_palette() if found is None else found
        return voc_palette()


def _classes(root: Path) -> tuple[str, ...]:
    """The class names of classes.txt, or VOC's 21 where there is none; DataError for an empty file."""
    path = root / "classes.txt"
    if not path.is_file():
        return VOC_CLASSES
    names = tuple(read_ids(path))
    if not names or len(names) > 255 or len(set(names)) != len(names):
        raise DataError(
            "class names must be 1 to 255 different lines",
            file=path,
            found=f"{len(names)} lines, {len(set(names))} different",
            help="line n names class n; 255 is void and has no line",
        )
    return names
