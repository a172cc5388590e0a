"""COCO's layout: pictures, and object instances that may overlap, as polygons or run-length masks (thesis 4.4.3)."""

from __future__ import annotations

import contextlib
import io
import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.dataset import Dataset
from data.errors import DataError
from data.sources import missing

_PREFIX = "instances_"


@dataclass(frozen=True)
class Instance:
    """One object of a picture: its `mask` (bool, h x w), COCO's `area`, whether it is a `crowd` region of several
    objects, its annotation `id` and category."""

    mask: NDArray[np.bool_]
    area: float
    crowd: bool
    id: int
    category: int


class COCO(Dataset):
    """A folder with annotations/instances_<split>.json and the pictures of each split in <split>/.

    `classes` are the categories' names, in the order of their ids.  The label of a picture is its instance map:
    h x w uint8, 0 for background, 1, 2, ... for instances, 255 (void) for crowd regions.  Where instances overlap the
    smaller one is on top.  Annotations are read split by split, when first asked for.
    """

    label_tops = ("instances",)

    def __init__(self, root: str | os.PathLike, name: str = "coco") -> None:
        self._api: dict[str, Any] = {}
        super().__init__(name, root, ())
        if not self.splits():
            raise missing(name, self.root, f"no annotations/{_PREFIX}<split>.json")
        categories = self.api(self.splits()[0]).dataset.get("categories", [])
        self.classes = tuple(c["name"] for c in sorted(categories, key=lambda c: c["id"]))

    def splits(self) -> tuple[str, ...]:
        names = [p.stem.removeprefix(_PREFIX) for p in (self.root / "annotations").glob(f"{_PREFIX}*.json")]
        return tuple(sorted(names, key=lambda name: (not name.startswith("train"), name)))

    def api(self, split: str) -> Any:
        """pycocotools' `COCO` of a split, for its evaluation.  DataError names a split or file that is not there."""
        if split not in self._api:
            path = self.root / "annotations" / f"{_PREFIX}{split}.json"
            if not path.is_file():
                raise DataError(f"no split '{split}' in the data set '{self.name}'", file=path,
                                found=", ".join(self.splits()), help="choose one of those")
            self._api[split] = _read(path)
        return self._api[split]

    def ids(self, split: str) -> list[str]:
        """The picture ids as text, in the order of the file."""
        return [str(picture["id"]) for picture in self.api(split).dataset["images"]]

    def info(self, picture: str) -> dict[str, Any]:
        """COCO's record of a picture: file_name, height, width, ..."""
        found: dict[str, Any] = self.api(self._split_of(picture)).imgs[int(picture)]
        return found

    def image_path(self, picture: str) -> Path:
        return self.root / self._split_of(picture) / self.info(picture)["file_name"]

    def label_path(self, picture: str) -> Path:
        """Of all pictures of a split the same file."""
        return self.root / "annotations" / f"{_PREFIX}{self._split_of(picture)}.json"

    def instances(self, picture: str) -> list[Instance]:
        """The objects of a picture, crowd regions too, in the order of the file.  DataError for a broken annotation."""
        api = self.api(self._split_of(picture))
        found = []
        for annotation in api.imgToAnns[int(picture)]:
            try:
                mask = _mask(api.annToRLE(annotation))
                found.append(Instance(mask, float(annotation["area"]), bool(annotation.get("iscrowd", 0)),
                                      int(annotation["id"]), int(annotation["category_id"])))
            except Exception as error:   # whatever pycocotools raises, the user needs the annotation's id
                raise DataError(
                    f"annotation {annotation.get('id')} of picture {picture} cannot be read "
                    f"({type(error).__name__}: {error})", file=self.label_path(picture),
                    help="the file is damaged or not in COCO's format",
                ) from error
        return found

    def label(self, picture: str) -> NDArray[np.uint8]:
        """The instance map; instance number i + 1 is `instances(picture)[i]`."""
        info = self.info(picture)
        return instance_map(self.instances(picture), info["height"], info["width"], self.label_path(picture))

    def classes_of(self, label: str) -> tuple[str, ...]:
        """Numbers of instances, not categories: as many as the picture with the most has, of all splits."""
        return self._numbers

    @cached_property
    def _numbers(self) -> tuple[str, ...]:
        most = max((len(found) for split in self.splits() for found in self.api(split).imgToAnns.values()), default=0)
        return ("background", *(str(i) for i in range(1, most + 1)))

    def _split_of(self, picture: str) -> str:
        for split in self.splits():
            if picture.isdecimal() and int(picture) in self.api(split).imgs:
                return split
        raise DataError(f"no picture '{picture}' in the data set '{self.name}'", file=self.root,
                        help="`ids(split)` lists them")


def instance_map(instances: list[Instance], height: int, width: int, file: Path | None = None) -> NDArray[np.uint8]:
    """Instances as one label image: larger ones below smaller ones, crowd regions (255) below all."""
    if len(instances) > 254:
        raise DataError("more instances in a picture than a label image can hold", file=file,
                        found=f"{len(instances)}", expected="at most 254", help="leave the picture out")
    labels = np.zeros((height, width), np.uint8)
    sizes = {i: int(instance.mask.sum()) for i, instance in enumerate(instances)}
    for i in sorted(sizes, key=lambda i: (not instances[i].crowd, -sizes[i])):
        labels[instances[i].mask] = 255 if instances[i].crowd else i + 1
    return labels


def _mask(rle: dict[str, Any]) -> NDArray[np.bool_]:
    """The mask of COCO's compressed run lengths (pycocotools' own decoding warns under NumPy 2).

    A number is bytes of 5 bits above 48, low bits first, the sixth bit set but in the last, whose fifth is the sign;
    from the fourth number on it is the difference to the one before last.
    """
    lengths: list[int] = []
    value = shift = 0
    for byte in rle["counts"]:
        bits = byte - 48
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (bits & 16) << (shift - 4)
            lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
            value = shift = 0
    height, width = rle["size"]
    return np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).reshape(width, height).T


def _read(path: Path) -> Any:
    """pycocotools' index of a file, without what it prints."""
    from pycocotools.coco import COCO as Index

    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        index = Index()
        index.dataset = {"annotations": [], **content}
        with contextlib.redirect_stdout(io.StringIO()):
            index.createIndex()
        _ = [picture["file_name"] for picture in index.dataset["images"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"the annotations cannot be read ({type(error).__name__}: {error})", file=path,
                        expected="COCO's JSON with images, annotations and categories",
                        help="fetch or unpack the file again") from error
    return index
