"""Reader of CamVid as the SegNet tutorial has it: road scenes of 360 x 480 with 11 classes.

    train/<id>.png, val/<id>.png, test/<id>.png      pictures
    trainannot/<id>.png, ...                         8-bit gray, classes 0..10, 11 for what is unlabelled
    train.txt, val.txt, test.txt                     "/SegNet/CamVid/train/<id>.png /SegNet/CamVid/trainannot/<id>.png"

Brostow, Shotton, Fauqueur, Cipolla, ECCV 2008; this edition: Badrinarayanan, Kendall, Cipolla, "SegNet", 2015. An
edition in VOC's layout, with a classes.txt, is read by data/voc.py.
"""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.dataset import Dataset, find_below, read_ids, read_indices
from data.errors import DataError
from data.sources import missing

CAMVID_CLASSES = ("Sky", "Building", "Pole", "Road", "Pavement", "Tree", "SignSymbol", "Fence", "Car", "Pedestrian",
                  "Bicyclist")  # fmt: skip
UNLABELLED = 11
_SPLITS = ("train", "val", "test")


def find_camvid(folder: Path) -> list[Path]:
    """The folders at or below `folder` that are laid out so."""
    return find_below(folder, lambda path: (path / "trainannot").is_dir(), ("camvid", "segnet"))


class CamVid(Dataset):
    """The set at or below `folder`; `classes` replaces the 11 names.  Unlabelled pixels are void."""

    def __init__(
        self, folder: str | os.PathLike, name: str = "camvid", classes: tuple[str, ...] | None = None
    ) -> None:
        found = find_camvid(Path(folder))
        if not found:
            raise missing(name, Path(folder), "no trainannot/ in it")
        super().__init__(name, found[0], classes or CAMVID_CLASSES)

    def splits(self) -> tuple[str, ...]:
        return tuple(split for split in _SPLITS if (self.root / f"{split}.txt").is_file())

    def ids(self, split: str) -> list[str]:
        self._listed(split, self.root / f"{split}.txt")   # for its error
        return [picture for picture, (of, _) in self._files.items() if of == split]

    @cached_property
    def _files(self) -> dict[str, tuple[str, tuple[Path, Path]]]:
        """Id -> its split, and the files of picture and labels."""
        files = {}
        for split in self.splits():
            for line in read_ids(self.root / f"{split}.txt"):
                parts = [Path(*Path(part).parts[-2:]) for part in line.split()]   # written for another machine
                if len(parts) != 2:
                    raise DataError("a line must name a picture and its labels", file=self.root / f"{split}.txt",
                                    found=repr(line), help="unpack the archive again")
                files[parts[0].stem] = split, (self.root / parts[0], self.root / parts[1])
        return files

    def _file(self, picture: str, which: int) -> Path:
        if picture not in self._files:
            raise DataError(f"no picture '{picture}' in the lists", file=self.root, help="choose one of `ids(split)`")
        return self._files[picture][1][which]

    def image_path(self, picture: str) -> Path:
        return self._file(picture, 0)

    def label_path(self, picture: str) -> Path:
        return self._file(picture, 1)

    def label(self, picture: str) -> NDArray[np.uint8]:
        indices = read_indices(self.label_path(picture))
        return np.where(indices == UNLABELLED, self.ignore, indices).astype(np.uint8)
