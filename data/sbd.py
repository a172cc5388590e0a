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

from data.dataset import IMAGE_ENDINGS, Dataset, find_below, find_file, read_ids
from data.errors import DataError
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


def read_sbd_label(path: str | os.PathLike) -> NDArray[np.uint8]:
    """`GTcls.Segmentation` of one of SBD's .mat files as H x W uint8; DataError says what is wrong."""
    import scipy.io  # here, because it takes longer to import than everything else in this folder

    if not Path(path).is_file():
        raise DataError(
            "no label file", file=path, help="`python tools/check_data.py DIR` lists every missing file"
        )
    try:
        labels = np.asarray(scipy.io.loadmat(path, variable_names=["GTcls"])["GTcls"]["Segmentation"][0, 0])
    except Exception as error:  # SciPy raises a dozen kinds for a damaged file; each means the same here
        raise DataError(
            f"the labels cannot be read ({type(error).__name__}: {error})",
            file=path,
            expected="a MATLAB 5 file with GTcls.Segmentation",
            help="the file is damaged or not one of SBD's cls/*.mat; unpack the archive again",
        ) from error
    whole = labels.ndim == 2 and labels.dtype.kind in "ui"
    if not whole or (labels.size and not 0 <= labels.min() <= labels.max() <= 255):
        raise DataError(
            "GTcls.Segmentation is not one class index per pixel",
            file=path,
            found=f"{labels.dtype} of shape {labels.shape}",
            expected="H x W whole numbers in 0..255",
            help="unpack the archive again",
        )
    return labels.astype(np.uint8)


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
        path = self.root / f"{split}.txt"
        if not path.is_file():
            raise DataError(
                f"no split '{split}' in the data set '{self.name}'",
                file=path,
                found=", ".join(self.splits()) or "no list at all",
                help="choose one of those, or write the list: one picture id per line",
            )
        return read_ids(path)

    def image_path(self, picture: str) -> Path:
        return find_file(self.root / "img", picture, IMAGE_ENDINGS)

    def label_path(self, picture: str) -> Path:
        return self.root / "cls" / f"{picture}.mat"

    def label(self, picture: str) -> NDArray[np.uint8]:
        return read_sbd_label(self.label_path(picture))
