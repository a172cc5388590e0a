"""Reader of SIFT Flow: 2688 outdoor pictures with 33 semantic and 3 geometric classes.

    Images/<F>/<id>.jpg              <F> is spatial_envelope_256x256_static_8outdoorcategories
    SemanticLabels/<F>/<id>.mat      MATLAB 5, `S`: classes 1..33, 0 for void
    GeoLabels/<F>/<id>.mat           MATLAB 5, `S`: classes 1..3, -1 or 0 for void
    TestSet1.txt                     the test pictures, one file name per line
    trainval.txt, test.txt           ids; optional

Liu, Yuen, Torralba, PAMI 2011; geometric labels of Tighe and Lazebnik, IJCV 2013 (thesis, section 3.4.2).  Three
classes (cow, desert, moon) do not occur in the test pictures: score with --present-only.
"""

from __future__ import annotations

import os
from pathlib import Path, PureWindowsPath

import numpy as np
from numpy.typing import NDArray

from data.dataset import Dataset, find_below, read_ids
from data.matlab import from_one, read_map
from data.sources import missing

SEMANTIC = (
    "awning", "balcony", "bird", "boat", "bridge", "building", "bus", "car", "cow", "crosswalk", "desert", "door",
    "fence", "field", "grass", "moon", "mountain", "person", "plant", "pole", "river", "road", "rock", "sand", "sea",
    "sidewalk", "sign", "sky", "staircase", "streetlight", "sun", "tree", "window",
)  # fmt: skip
GEOMETRIC = ("sky", "horizontal", "vertical")
FOLDER = "spatial_envelope_256x256_static_8outdoorcategories"
UNLABELLED = ("highway_bost181", "street_urb506")   # both files are there, without any annotation

_PARTS = {"data": "Images", "sem": "SemanticLabels", "geo": "GeoLabels"}


class SIFTFlow(Dataset):
    """The set at or below `folder`; `classes` replaces the semantic names, `geometric` the others.

    Tops: `data` (BGR), `sem` and `geo`. Where trainval.txt and test.txt are absent, test is TestSet1.txt, and trainval
    all other pictures, in the order of their names, both without the two that have no annotation.
    """

    label_tops = ("sem", "geo")

    def __init__(
        self, folder: str | os.PathLike, name: str = "siftflow", classes: tuple[str, ...] | None = None,
        geometric: tuple[str, ...] = GEOMETRIC,
    ) -> None:
        folder = Path(folder)
        found = find_below(folder, lambda path: (path / "SemanticLabels").is_dir(), ("sift",))
        if not found:
            lacking = "no SemanticLabels/ in it" if folder.is_dir() else "there is no such folder"
            raise missing(name, folder, lacking)
        lacks = [part for part in _PARTS.values() if not (found[0] / part / FOLDER).is_dir()]
        if lacks:
            raise missing(name, found[0], f"no {lacks[0]}/{FOLDER}/ in it")
        super().__init__(name, found[0], classes or SEMANTIC)
        self._geometric = geometric

    def classes_of(self, label: str) -> tuple[str, ...]:
        return self._geometric if label == "geo" else self.classes

    def splits(self) -> tuple[str, ...]:
        derived = (self.root / "TestSet1.txt").is_file()
        return tuple(s for s in ("trainval", "test") if derived or (self.root / f"{s}.txt").is_file())

    def ids(self, split: str) -> list[str]:
        path = self.root / f"{split}.txt"
        if path.is_file() or split not in self.splits():
            return self._listed(split, path)
        # its lines are <F>\<id>.jpg, as written on Windows
        test = [PureWindowsPath(line).stem for line in read_ids(self.root / "TestSet1.txt")]
        if split == "trainval":
            left = {path.stem for path in (self.root / "Images" / FOLDER).glob("*.jpg")} - set(test)
            return sorted(left - set(UNLABELLED))
        return [picture for picture in test if picture not in UNLABELLED]

    def path(self, picture: str, name: str) -> Path:
        return self.root / _PARTS[name] / FOLDER / (picture + (".jpg" if name == "data" else ".mat"))

    def image_path(self, picture: str) -> Path:
        return self.path(picture, "data")

    def label_path(self, picture: str) -> Path:
        return self.path(picture, "sem")

    def label(self, picture: str) -> NDArray[np.uint8]:
        return self.top(picture, "sem")

    def top(self, picture: str, name: str) -> NDArray:
        if name in self.label_tops:
            return from_one(read_map(self.path(picture, name), "S", low=-1))
        return super().top(picture, name)
