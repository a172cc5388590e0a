"""Reader of PASCAL-Context: the pictures of VOC 2010 with every pixel labelled, 59 classes and background.

    trainval/<id>.mat                MATLAB 5, `LabelMap`: classes 1..459 of labels.txt, 0 for void
    labels.txt                       "<number>: <name>", the names of all classes
    59_labels.txt                    likewise, the 59 classes of the task; optional

Mottaghi et al., "The Role of Context for Object Detection and Semantic Segmentation in the Wild", CVPR 2014 (thesis,
section 3.6). What belongs to none of the 59 classes is background, class 0. The pictures and splits are VOC 2010's.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.dataset import Dataset, find_below, read_ids
from data.errors import DataError
from data.matlab import read_map
from data.sources import missing
from data.voc import find_voc_root

CONTEXT_CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor", "bag", "bed", "bench",
    "book", "building", "cabinet", "ceiling", "clothes", "computer", "cup", "door", "fence", "floor", "flower", "food",
    "grass", "ground", "keyboard", "light", "mountain", "mouse", "curtain", "platform", "sign", "plate", "road", "rock",
    "shelves", "sidewalk", "sky", "snow", "bedcloth", "track", "tree", "truck", "wall", "water", "window", "wood",
)  # fmt: skip
# three classes have another name in labels.txt than in the task
_IN_FULL = {"diningtable": "table", "bedcloth": "bedclothes", "clothes": "cloth"}
_MOST = 65535


def read_names(path: Path) -> dict[str, int]:
    """Name (without blanks) -> number, from lines "<number>: <name>"."""
    names = {}
    for line in read_ids(path):
        number, colon, name = line.partition(":")
        if not colon or not number.strip().isdigit() or int(number) > _MOST:
            raise DataError("not a list of classes", file=path, found=repr(line), expected="<number>: <name>",
                            help="it is in the archive of the annotations")
        names[name.replace(" ", "")] = int(number)
    return names


class PASCALContext(Dataset):
    """The annotations at or below `folder` on the pictures of VOC 2010 at or below `voc`: splits train, val, trainval.

    DataError when either is missing, or a class of the task has no number in labels.txt.
    """

    def __init__(
        self, folder: str | os.PathLike, voc: str | os.PathLike, name: str = "context",
        classes: tuple[str, ...] | None = None,
    ) -> None:
        folder = Path(folder)
        found = find_below(folder, lambda path: (path / "labels.txt").is_file(), ("pascal", "context"))
        if not found:
            raise missing(name, folder, "no labels.txt in it" if folder.is_dir() else "there is no such folder")
        root = found[0]
        if not (root / "trainval").is_dir():
            raise missing(name, root, "no trainval/ in it")
        task: tuple[str, ...] = CONTEXT_CLASSES
        if (root / "59_labels.txt").is_file():
            task = ("background", *read_names(root / "59_labels.txt"))
        numbers = read_names(root / "labels.txt")
        self._class_of = np.zeros(_MOST + 1, np.uint8)
        for index, each in enumerate(task[1:], start=1):
            number = numbers.get(_IN_FULL.get(each, each))
            if number is None:
                raise DataError(f"no class '{each}' among the names", file=root / "labels.txt",
                                help="labels.txt and 59_labels.txt must be those of PASCAL-Context")
            self._class_of[number] = index
        self.voc = find_voc_root(voc, "voc2010")
        super().__init__(name, root, classes or task)

    def splits(self) -> tuple[str, ...]:
        return tuple(split for split in ("train", "val", "trainval") if self._list(split).is_file())

    def _list(self, split: str) -> Path:
        return self.voc / "ImageSets" / "Main" / f"{split}.txt"

    def ids(self, split: str) -> list[str]:
        return self._listed(split, self._list(split))

    def image_path(self, picture: str) -> Path:
        return self.voc / "JPEGImages" / f"{picture}.jpg"

    def label_path(self, picture: str) -> Path:
        return self.root / "trainval" / f"{picture}.mat"

    def label(self, picture: str) -> NDArray[np.uint8]:
        return self._class_of[read_map(self.label_path(picture), "LabelMap", high=_MOST)]
