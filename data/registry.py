"""`open_dataset`: a data set by its name or by its folder."""

from __future__ import annotations

import difflib
import os
from importlib import import_module
from pathlib import Path

from data.camvid import CamVid, find_camvid
from data.coco import COCO
from data.context import PASCALContext
from data.dataset import Dataset
from data.errors import DataError
from data.keypoints import Keypoints, has_keypoints
from data.nyud import NYUD
from data.sbd import SBD
from data.siftflow import SIFTFlow
from data.sources import DRAWN, SOURCES, folder_of
from data.splits import Seg11Valid
from data.voc import VOC


def open_dataset(
    name_or_dir: str | os.PathLike,
    *,
    root: str | os.PathLike | None = None,
    classes: tuple[str, ...] | None = None,
) -> Dataset:
    """The data set with a known name (those of data.sources.SOURCES) or in a folder.

    A name is looked for in `root`, or where data.sources.folder_of says; those in data.sources.DRAWN
    are drawn on first use. A folder is in the layout of PASCAL VOC, SBD, NYUDv2, SIFT Flow, COCO, the SegNet
    tutorial's CamVid, or of keypoint annotations beside pictures. `classes` replaces the class names (of the
    first kind of labels). DataError names the folder looked in, what is missing, and the command that prepares it.
    """
    name = os.fspath(name_or_dir)
    if name in SOURCES:
        return _named(name, None if root is None else Path(root), classes)
    folder = Path(name).expanduser()
    if not folder.is_dir():
        near = difflib.get_close_matches(name.lower(), SOURCES, n=1)
        raise DataError(
            f"no data set '{name}': neither a folder nor a known name",
            found=f"names {', '.join(SOURCES)}",
            help=(f"did you mean '{near[0]}'? " if near else "")
            + "Give one of the names, or a folder in VOC layout",
        )
    if (folder / "img").is_dir() and (folder / "cls").is_dir():
        return SBD(folder, name=folder.name, classes=classes)
    if (folder / "segmentation").is_dir():
        return NYUD(folder, folder.name, classes)
    if (folder / "trainannot").is_dir():
        return CamVid(folder, folder.name, classes)
    if any((folder / "annotations").glob("instances_*.json")):
        return COCO(folder, folder.name)
    if (folder / "SemanticLabels").is_dir():
        return SIFTFlow(folder, folder.name, classes)
    if has_keypoints(folder):
        return Keypoints(folder, name=folder.name, classes=classes)
    return VOC(folder, classes=classes)


def _named(name: str, root: Path | None, classes: tuple[str, ...] | None) -> Dataset:
    def place(of: str) -> Path:
        return folder_of(of) if root is None else root / of

    if name == "seg11valid":
        return Seg11Valid(VOC(place("voc2011"), "voc2011", classes), SBD(place("sbd"), classes=classes))
    if name == "keypoints":
        return Keypoints(place(name), place("voc2011"), classes=classes)
    if name in DRAWN:
        import_module(f"data.{name}").ensure(place(name))
    return open_at(name, place(name), classes, place("voc2010"))


def open_at(
    name: str, folder: Path, classes: tuple[str, ...] | None = None, voc2010: Path | None = None
) -> Dataset:
    """The set with that name in `folder`; PASCAL-Context has its pictures in `voc2010`."""
    if name == "sbd":
        return SBD(folder, classes=classes)
    if name == "nyud":
        return NYUD(folder, classes=classes)
    if name == "siftflow":
        return SIFTFlow(folder, classes=classes)
    if name == "context":
        return PASCALContext(folder, voc2010 or folder_of("voc2010"), classes=classes)
    if name == "keypoints":
        return Keypoints(folder, folder_of("voc2011"), classes=classes)
    if name == "figures":
        return Keypoints(folder, name=name, classes=classes)
    if name == "solids":
        from data.solids import CLASSES  # here, so that `python -m data.solids` does not find itself already imported

        return NYUD(folder, name, classes or CLASSES)
    if name == "landscapes":
        from data.landscapes import SEMANTIC

        return SIFTFlow(folder, name, classes or SEMANTIC)
    if name == "camvid" and find_camvid(folder):
        return CamVid(folder, name, classes)
    if name in ("coco", "touching"):
        return COCO(folder, name)
    return VOC(folder, name, classes)
