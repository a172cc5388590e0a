"""`seg11valid`: the pictures on which nets trained on SBD may be scored (thesis, section 3.3, footnote 8).

SBD train contains pictures of VOC 2011 val.  What is left of VOC 2011 val without them, 736 pictures, is the
validation set of the thesis.  It is computed from the two lists, never shipped.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.dataset import Dataset, read_ids
from data.errors import DataError
from data.sbd import SBD
from data.voc import VOC

# sizes of the real lists; a derived list of another size from lists of these sizes means a damaged list
VOC2011_VAL, SBD_TRAIN, SEG11VALID = 1111, 8498, 736


def seg11valid(voc_val: Iterable[str], sbd_train: Iterable[str]) -> list[str]:
    """The ids of `voc_val` that are not in `sbd_train`, in the order of `voc_val`.

    DataError when lists of the real sets' sizes do not give 736 ids.
    """
    val, train = list(voc_val), set(sbd_train)
    left = [picture for picture in val if picture not in train]
    if (len(val), len(train)) == (VOC2011_VAL, SBD_TRAIN) and len(left) != SEG11VALID:
        raise DataError(
            "VOC 2011 val minus SBD train has the wrong size",
            found=f"{len(left)} ids",
            expected=f"{SEG11VALID} ids",
            help="one of the two lists is damaged; prepare both sets again",
        )
    if not left:
        raise DataError(
            "VOC val minus SBD train is empty",
            found=f"{len(val)} and {len(train)} ids",
            expected="pictures of VOC val that SBD does not train on",
            help="the two lists must be VOC 2011 val and SBD train",
        )
    return left


def compare_published(derived: Iterable[str], published: str | os.PathLike) -> None:
    """DataError unless the list file `published` holds exactly the ids of `derived` (in any order)."""
    ours, theirs = set(derived), set(read_ids(published))
    if ours != theirs:
        extra, absent = sorted(ours - theirs), sorted(theirs - ours)
        raise DataError(
            "the derived seg11valid differs from the published list",
            file=published,
            found=f"{len(extra)} ids only derived {extra[:3]}, {len(absent)} only published {absent[:3]}",
            help="the VOC 2011 val list or the SBD train list is not the original one",
        )


class Seg11Valid(Dataset):
    """Train on SBD train, score on VOC 2011 val without it: splits `train` and `seg11valid` (also `val`).

    A published seg11valid.txt beside VOC's lists is compared with the derived one.
    """

    def __init__(self, voc: VOC, sbd: SBD) -> None:
        super().__init__("seg11valid", voc.root, voc.classes)
        self.voc, self.sbd = voc, sbd
        self._train = sbd.ids("train")
        self._val = seg11valid(voc.ids("val"), self._train)
        self._from_sbd = frozenset(self._train)
        published = voc.root / "ImageSets" / "Segmentation" / "seg11valid.txt"
        if published.is_file():
            compare_published(self._val, published)

    def splits(self) -> tuple[str, ...]:
        return ("train", "seg11valid")

    def ids(self, split: str) -> list[str]:
        if split == "train":
            return list(self._train)
        if split in ("seg11valid", "val"):
            return list(self._val)
        raise DataError(
            f"no split '{split}' in the data set 'seg11valid'",
            file=self.root,
            found="train, seg11valid",
            help="train is SBD train, seg11valid (or val) is VOC 2011 val without it",
        )

    def _set(self, picture: str) -> Dataset:
        """The set a picture belongs to: the two splits have no picture in common."""
        return self.sbd if picture in self._from_sbd else self.voc

    def image_path(self, picture: str) -> Path:
        return self._set(picture).image_path(picture)

    def label_path(self, picture: str) -> Path:
        return self._set(picture).label_path(picture)

    def label(self, picture: str) -> NDArray[np.uint8]:
        return self._set(picture).label(picture)
