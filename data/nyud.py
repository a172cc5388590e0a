"""Reader of NYUDv2 as the public FCN code has it: RGB-D pictures of rooms with 40 classes.

    data/images/img_<id>.png     colour
    data/depth/img_<id>.png      depth in millimetres, 16 bits
    data/hha/img_<id>.png        HHA: horizontal disparity, height above ground, angle with gravity (Gupta et al., 2014)
    segmentation/img_<id>.mat    MATLAB 5, `segmentation`: classes 1..40, 0 for void
    train.txt, val.txt, trainval.txt, test.txt      ids, 5001 and up

Silberman, Hoiem, Kohli, Fergus, "Indoor Segmentation and Support Inference from RGBD Images", ECCV 2012; classes of
Gupta, Arbelaez, Malik, CVPR 2013 (thesis, section 3.4.2). data/nyud_original.py makes this from the original file.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.dataset import Dataset, find_below, read_depth, read_image
from data.errors import DataError
from data.matlab import from_one, read_map
from data.sources import missing

NYUD_CLASSES = (
    "wall", "floor", "cabinet", "bed", "chair", "sofa", "table", "door", "window", "bookshelf", "picture", "counter",
    "blinds", "desk", "shelves", "curtain", "dresser", "pillow", "mirror", "floor mat", "clothes", "ceiling", "books",
    "refridgerator", "television", "paper", "towel", "shower curtain", "box", "whiteboard", "person", "night stand",
    "toilet", "sink", "lamp", "bathtub", "bag", "otherstructure", "otherfurniture", "otherprop",
)  # fmt: skip

_SPLITS = ("trainval", "train", "val", "test")
_FOLDERS = {top: Path("data") / folder for top, folder in (("color", "images"), ("depth", "depth"), ("hha", "hha"))}


class NYUD(Dataset):
    """The set at or below `folder`; `classes` replaces the 40 names.

    Tops: `color` (BGR), `depth` (H x W x 1, natural logarithm of millimetres), `hha` (channels as in the file) and
    `label`. The split trainval is train and val where it has no list of its own.
    """

    image_tops = ("color", "depth", "hha")

    def __init__(
        self, folder: str | os.PathLike, name: str = "nyud", classes: tuple[str, ...] | None = None
    ) -> None:
        folder = Path(folder)
        found = find_below(folder, lambda path: (path / _FOLDERS["color"]).is_dir(), ("nyu",))
        if not found:
            lacking = "no data/images/ in it" if folder.is_dir() else "there is no such folder"
            raise missing(name, folder, lacking)
        super().__init__(name, found[0], classes or NYUD_CLASSES)

    def splits(self) -> tuple[str, ...]:
        there = {split for split in _SPLITS if (self.root / f"{split}.txt").is_file()}
        return tuple(split for split in _SPLITS if split in there or self._joined(split, there))

    def _joined(self, split: str, there: set[str]) -> bool:
        return split == "trainval" and split not in there and {"train", "val"} <= there

    def ids(self, split: str) -> list[str]:
        path = self.root / f"{split}.txt"
        if split == "trainval" and not path.is_file() and split in self.splits():
            return self.ids("train") + self.ids("val")
        return self._listed(split, path)

    def path(self, picture: str, name: str) -> Path:
        if name in self.label_tops:
            return self.root / "segmentation" / f"img_{picture}.mat"
        return self.root / _FOLDERS[name] / f"img_{picture}.png"

    def image_path(self, picture: str) -> Path:
        return self.path(picture, "color")

    def label_path(self, picture: str) -> Path:
        return self.path(picture, "label")

    def label(self, picture: str) -> NDArray[np.uint8]:
        return from_one(read_map(self.label_path(picture), "segmentation"))

    def top(self, picture: str, name: str) -> NDArray:
        if name == "depth":
            depth = read_depth(self.path(picture, name))
            if not depth.all():
                raise DataError(
                    "depth is missing in places", file=self.path(picture, name),
                    found=f"{int((depth == 0).sum())} pixels of 0 millimetres",
                    help="use the filled-in depth of the set (`depths`), not the raw one",
                )
            return np.log(depth.astype(np.float32))[:, :, None]
        if name == "hha":
            return read_image(self.path(picture, name))
        return super().top(picture, name)
