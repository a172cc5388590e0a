"""`open_dataset`: a data set by its name or by its folder."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

from data.dataset import Dataset
from data.errors import DataError
from data.sbd import SBD
from data.sources import SOURCES, folder_of
from data.splits import Seg11Valid
from data.voc import VOC


def open_dataset(
    name_or_dir: str | os.PathLike,
    *,
    root: str | os.PathLike | None = None,
    classes: tuple[str, ...] | None = None,
) -> Dataset:
    """The data set with a known name (voc2011, voc2012, sbd, seg11valid, shapes, camvid) or in a folder.

    A name is looked for in `root`, or where data.sources.folder_of says; `shapes` is drawn on first use. A
    folder is in PASCAL VOC layout, or SBD's. `classes` replaces the class names of the set. DataError names
    the folder looked in, what is missing, and the command that prepares it.
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
    return VOC(folder, classes=classes)


def _named(name: str, root: Path | None, classes: tuple[str, ...] | None) -> Dataset:
    def place(of: str) -> Path:
        return folder_of(of) if root is None else root / of

    if name == "seg11valid":
        return Seg11Valid(VOC(place("voc2011"), "voc2011", classes), SBD(place("sbd"), classes=classes))
    if name == "sbd":
        return SBD(place("sbd"), classes=classes)
    if name == "shapes":
        from data import shapes  # here, so that `python -m data.shapes` does not find itself already imported

        shapes.ensure(place("shapes"))
    return VOC(place(name), name, classes)
