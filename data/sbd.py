"""Reader of SBD, the Semantic Boundaries Dataset: VOC's classes on 11355 images, as MATLAB files.

    img/<id>.jpg    cls/<id>.mat    train.txt    val.txt        (the archive's benchmark_RELEASE/dataset)

Hariharan, Arbelaez, Bourdev, Maji, Malik, "Semantic Contours from Inverse Detectors", ICCV 2011. The labels
have no void rim. SBD's own split differs from VOC's: data/splits.py says how to score without training
pictures.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.dataset import IMAGE_ENDINGS, Dataset, find_below, find_file
from data.matlab import read_map
from data.sources import missing
from data.voc import VOC_CLASSES

_PARTS = ("img", "cls")


def find_sbd_root(folder: str | os.PathLike, name: str = "sbd") -> Path:
    """The folder that holds img/ and cls/, at or below `folder`; DataError says what is missing."""
    folder = Path(folder)
    found = find_below(
        folder, lambda path: all((path / part).is_dir() for part in _PARTS), ("benchmark", "dataset", "sbd")
    )
    if found:
        return found[0]
    if not folder.is_dir():
        raise missing(name, folder, "there is no such folder")
    raise missing(name, folder, "no folder in it has both img/ and cls/")


class SBD(Dataset):
    """SBD at or below `folder`; `classes` replaces VOC's 21 names."""

    def __init__(
        self, folder: str | os.PathLike, name: str = "sbd", classes: tuple[str, ...] | None = None
    ) -> None:
        super().__init__(name, find_sbd_root(folder, name), classes or VOC_CLASSES)

    def splits(self) -> tuple[str, ...]:
        there = {path.stem for path in self.root.glob("*.txt")}
        first = tuple(split for split in ("train", "val") if split in there)
        return first + tuple(sorted(there - {"train", "val", "readme", "README"}))

    def ids(self, split: str) -> list[str]:
        return self._listed(split, self.root / f"{split}.txt")

    def image_path(self, picture: str) -> Path:
        return find_file(self.root / "img", picture, IMAGE_ENDINGS)

    def label_path(self, picture: str) -> Path:
        return self.root / "cls" / f"{picture}.mat"

    def label(self, picture: str) -> NDArray[np.uint8]:
        return read_map(self.label_path(picture), "GTcls", "Segmentation").astype(np.uint8)
