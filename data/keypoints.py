"""Keypoints of objects: PASCAL VOC 2011 with the annotations of Bourdev and Malik (Berkeley), and sets laid out so.

annotations/<category>/<picture>_<n>.xml   one object: its box and keypoints (voc2011_keypoints_Feb2012.tgz)
JPEGImages/<picture>.jpg                   VOC 2011's pictures
ImageSets/Main/<split>.txt                 one id per line

    <annotation>
      <image>2008_000008</image> <category>person</category> <voc_id>1</voc_id>
      <visible_bounds xmin="158.00" ymin="44.00" width="131.00" height="123.00"/>
      <keypoints> <keypoint name="L_Knee" visible="0" x="256.33" y="146.05" z="95.24" zorder="0"/> ... </keypoints>
    </annotation>

`voc_id` (the object's number in VOC's own Annotations/<picture>.xml, from 1), `subcategory`, `zorder` and outlines
(`polylinesegments`) are not in every file and are not read.  Coordinates count from 1, as VOC's do; here (0, 0) is the
middle of the first pixel.  A keypoint may lie outside its box, and outside the picture.
"""

from __future__ import annotations

import os
import xml.etree.ElementTree as ET
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from data.dataset import IMAGE_ENDINGS, Dataset, find_below, find_file
from data.errors import DataError
from data.sources import missing
from data.voc import find_voc_root

_LISTS = Path("ImageSets") / "Main"


class Keypoint(NamedTuple):
    """Where a keypoint is, in pixels, and whether it can be seen."""

    x: float
    y: float
    visible: bool


@dataclass(frozen=True)
class Instance:
    """One annotated object: `box` is (left, top, right, bottom) in pixels, of which the middle of the first is 0."""

    picture: str
    category: str
    file: Path
    box: tuple[float, float, float, float]
    keypoints: dict[str, Keypoint]

    @property
    def extent(self) -> float:
        """The larger of the box's width and height, which accuracies are relative to (thesis 2.2)."""
        return max(self.box[2] - self.box[0], self.box[3] - self.box[1])


class Keypoints(Dataset):
    """The annotations at or below `folder`, on the pictures of the VOC folder `voc`.

    `classes` are the categories.  It has no labels of pixels.  DataError when annotations or pictures are missing.
    """

    label_tops = ()

    def __init__(
        self, folder: str | os.PathLike, voc: str | os.PathLike | None = None, name: str = "keypoints",
        classes: tuple[str, ...] | None = None,
    ) -> None:
        folder = Path(folder)
        found = find_below(folder, _is_root, ("annotations", "voc", "pascal"))
        if not found:
            raise missing(name, folder, "no annotations/<category>/*.xml in it" if folder.is_dir()
                          else "there is no such folder")
        self.voc = Path(found[0] if voc is None else voc)
        if not (self.voc / _LISTS).is_dir():
            self.voc = find_voc_root(self.voc, "voc2011")
        self.annotations = found[0] / "annotations" if (found[0] / "annotations").is_dir() else found[0]
        categories = sorted(path.name for path in self.annotations.iterdir() if path.is_dir())
        super().__init__(name, found[0], classes or tuple(categories))

    def splits(self) -> tuple[str, ...]:
        return tuple(split for split in ("train", "val", "trainval") if (self.voc / _LISTS / f"{split}.txt").is_file())

    def ids(self, split: str) -> list[str]:
        return self._listed(split, self.voc / _LISTS / f"{split}.txt")

    def image_path(self, picture: str) -> Path:
        return find_file(self.voc / "JPEGImages", picture, IMAGE_ENDINGS)

    def label_path(self, picture: str) -> Path:
        raise DataError(f"the data set '{self.name}' has keypoints, no labels of pixels", file=self.root,
                        help="use it with tools/correspond.py")

    @cached_property
    def files(self) -> dict[str, dict[str, list[Path]]]:
        """The annotation files of each category and picture, in order."""
        found: dict[str, dict[str, list[Path]]] = {category: defaultdict(list) for category in self.classes}
        for category, pictures in found.items():
            for path in sorted((self.annotations / category).glob("*.xml")):
                pictures[path.stem.rpartition("_")[0]].append(path)
        return found

    def instances(self, split: str, category: str | None = None) -> list[Instance]:
        """The annotated objects in a split's pictures, of one category or of all.  DataError says what is missing."""
        if category is not None and category not in self.classes:
            raise DataError(f"no category '{category}' in '{self.name}'", expected=", ".join(self.classes),
                            help="choose one of those")
        chosen = self.classes if category is None else (category,)
        ids = self.ids(split)
        return [read_instance(path) for each in chosen for picture in ids for path in self.files[each].get(picture, ())]

    def names(self, split: str, category: str) -> list[str]:
        """The keypoints that a category's objects in a split have, by name."""
        return sorted({name for each in self.instances(split, category) for name in each.keypoints})


def _is_root(folder: Path) -> bool:
    """Whether annotations of objects are in it, by category; VOC's own are files in Annotations/, without folders."""
    base = folder / "annotations" if (folder / "annotations").is_dir() else folder
    return any(path.parent.name != "Annotations" for path in base.glob("*/*.xml"))


def has_keypoints(folder: Path) -> bool:
    """Whether a folder has pictures, their lists and keypoint annotations."""
    return (folder / _LISTS).is_dir() and next((folder / "annotations").glob("*/*.xml"), None) is not None


def read_instance(path: str | os.PathLike) -> Instance:
    """The object in an annotation file.  DataError names the file and what is wrong with it."""
    try:
        root = ET.parse(path).getroot()
        bounds = root.find("visible_bounds")
        if bounds is None:
            raise ValueError("no visible_bounds")
        left, top, width, height = (float(bounds.attrib[key]) for key in ("xmin", "ymin", "width", "height"))
        keypoints: dict[str, Keypoint] = {}
        for each in root.iterfind("keypoints/keypoint"):
            if each.attrib["name"] in keypoints:
                raise ValueError(f"keypoint {each.attrib['name']} twice")
            keypoints[each.attrib["name"]] = Keypoint(
                float(each.attrib["x"]) - 1, float(each.attrib["y"]) - 1, float(each.attrib["visible"]) > 0)
        picture, category = (root.findtext(tag, "").strip() for tag in ("image", "category"))
        if not picture or not category or width <= 0 or height <= 0:
            raise ValueError("no image, no category or an empty box")
    except (OSError, ET.ParseError, KeyError, ValueError) as error:
        raise DataError(f"this is no keypoint annotation ({error!r})", file=path,
                        expected="image, category, visible_bounds and keypoints",
                        help="the file is damaged or of another set: unpack the archive again") from error
    return Instance(picture, category, Path(path), (left - 1, top - 1, left - 1 + width, top - 1 + height), keypoints)
