"""Put a data set that was downloaded by hand where `open_dataset` finds it.

    python -m data.prepare                                        what is known and where each set comes from
    python -m data.prepare voc2012 --from-local VOCtrainval_11-May-2012.tar
    python -m data.prepare sbd --from-local /disk/benchmark_RELEASE
    python -m data.prepare nyud --from-local /disk/nyu              the original files of NYUDv2, in one folder

An archive is unpacked, a folder is linked to (--copy copies it), and the original files of NYUDv2 are converted.
What comes is looked through before it takes the name, so that a set that can be opened is a set that is complete in
outline.  `tools/check_data.py NAME` then reads every file.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

from data.dataset import Dataset
from data.downloads import is_web_page
from data.errors import DataError
from data.nyud_original import LABELED, convert
from data.registry import open_at
from data.sources import DRAWN, SOURCES, folder_of


def prepare(
    name: str, source: str | os.PathLike, out: str | os.PathLike | None = None, copy: bool = False
) -> Dataset:
    """Make `source`, an archive or a folder, the data set `name`, and open it.

    `out` is the folder to make (where `open_dataset` looks by default). Nothing is left behind on failure.
    DataError when the name is unknown or derived, `out` exists already, or `source` is missing, is no archive
    (an HTML page is named as such), is damaged, would unpack outside its folder, or does not hold the set.
    """
    _known(name)
    source, target = Path(source).expanduser(), folder_of(name) if out is None else Path(out)
    if target.is_symlink() or (target.exists() and (not target.is_dir() or any(target.iterdir()))):
        raise DataError(
            f"'{name}' is there already",
            file=target,
            help="remove it first, or give another place with --out",
        )
    if not source.exists():
        raise DataError("no such archive or folder", file=source, help=f"get {SOURCES[name].words}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    except OSError as error:
        raise DataError(
            f"nothing can be written here ({error})",
            file=target.parent,
            help="give a folder that can be written with --out, or set CAFFE_LUNGO_DATA",
        ) from error
    try:
        if name == "nyud" and (source / LABELED).is_file():
            made = work / "converted"
            convert(source, made, _bar)
        elif source.is_dir():
            _open(name, source)
            made = work / "link"
            if copy:
                shutil.copytree(source, made)
            else:
                made.symlink_to(source.resolve(), target_is_directory=True)
        else:
            made = work / "unpacked"
            made.mkdir()
            unpack(source, made)
            try:
                _open(name, made)
            except DataError as error:
                if error.file is not None and not Path(error.file).is_relative_to(made):
                    raise   # of a set that this one needs
                # its file is in a folder that is about to vanish: name the archive
                raise DataError(
                    f"the archive does not hold '{name}': {error.message}",
                    file=source,
                    expected=SOURCES[name].layout,
                    help=f"get {SOURCES[name].words}",
                ) from error
        if target.is_dir():
            target.rmdir()  # empty, as checked above
        os.replace(made, target)
    except OSError as error:
        raise DataError(
            f"the data set cannot be written ({error})",
            file=target,
            help="is the disk full? Nothing was left behind",
        ) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return _open(name, target)


def _bar(numbers: Iterable[int]) -> Iterable[int]:
    from tqdm import tqdm

    return tqdm(numbers, unit="frame", disable=not sys.stderr.isatty())


def _known(name: str) -> None:
    if name not in SOURCES:
        raise DataError(
            f"no data set '{name}' is known",
            found=name,
            expected=", ".join(SOURCES),
            help="a folder in VOC layout needs no preparation: give the folder itself",
        )
    if name in DRAWN:
        raise DataError(f"'{name}' is drawn, not unpacked", help=f"run `python -m data.{name}`")
    if SOURCES[name].needs:
        raise DataError(
            f"'{name}' is derived from {' and '.join(SOURCES[name].needs)}",
            help="prepare those; nothing else is needed",
        )


def _open(name: str, folder: Path) -> Dataset:
    """The set in `folder`, with at least one split, and the first picture of each split in place."""
    dataset = open_at(name, folder)
    if not dataset.splits():
        raise DataError(
            "no split list",
            file=dataset.root,
            expected=SOURCES[name].layout,
            help="the archive is not the one named below `python -m data.prepare`",
        )
    for split in dataset.splits():
        for picture in dataset.ids(split)[:1]:
            for top in dataset.image_tops:
                if not dataset.path(picture, top).is_file():
                    raise DataError(
                        f"the first image of the split '{split}' is missing",
                        file=dataset.path(picture, top),
                        expected=SOURCES[name].layout,
                        help="the set is incomplete: unpack the archive again"
                        + (", or compute HHA from depth with tools/hha.py" if top == "hha" else ""),
                    )
    return dataset


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a tar (plain or compressed) or zip file into `folder`, never outside it; DataError otherwise."""
    if is_web_page(archive):
        raise DataError(
            "this is an HTML page, not an archive",
            file=archive,
            help="the server sent a page (a login, an error, a warning) in place of the file; "
            "open the address in a browser and download again",
        )
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as packed:
                packed.extractall(folder)  # drops '..', roots and drive letters by itself
        elif tarfile.is_tarfile(archive):
            with tarfile.open(archive) as packed_tar:
                packed_tar.extractall(folder, filter="data")
            _whole(archive)
        else:
            raise DataError(
                "neither a tar nor a zip file",
                file=archive,
                found=f"{archive.stat().st_size} bytes",
                help="compare its size with the one on the server and download again",
            )
    except tarfile.FilterError as error:
        raise DataError(
            f"the archive holds a member that must not be unpacked ({error})",
            file=archive,
            help="this is not the original archive: do not use it",
        ) from error
    except (tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        raise DataError(
            f"the archive is damaged or cut short ({error})",
            file=archive,
            help="compare its size with the one on the server and download again",
        ) from error


def _whole(archive: Path) -> None:
    """ReadError for a plain tar without its closing zeros: tarfile does not see a cut between members."""
    with open(archive, "rb") as file:
        plain = file.read(262)[257:] == b"ustar"
        file.seek(-512, os.SEEK_END)
        if plain and any(file.read(512)):
            raise tarfile.ReadError("it does not end as an archive does")


def main(arguments: list[str] | None = None) -> int:
    """`python -m data.prepare`: without a name, list what is known."""
    parser = argparse.ArgumentParser(
        prog="python -m data.prepare", description="Put a downloaded data set in place."
    )
    parser.add_argument("name", nargs="?", help=", ".join(SOURCES))
    parser.add_argument(
        "--from-local", metavar="ARCHIVE_OR_DIR", help="the downloaded archive, or its folder"
    )
    parser.add_argument(
        "--out", metavar="DIR", help="the folder to make (default: where the set is looked for)"
    )
    parser.add_argument("--copy", action="store_true", help="copy a folder instead of linking to it")
    given = parser.parse_args(arguments)
    if given.name is None:
        for name, source in SOURCES.items():
            folder = folder_of(name)
            state = "there" if all(folder_of(part).is_dir() for part in source.needs or (name,)) else "not there"
            print(f"{name}\n  from    {source.words}\n  holds   {source.layout}\n  folder  {folder} ({state})")
        return 0
    try:
        _known(given.name)
        if given.from_local is None:
            raise DataError(
                "nothing to prepare from",
                file=folder_of(given.name),
                help=f"get {SOURCES[given.name].words}; then give it with --from-local",
            )
        dataset = prepare(given.name, given.from_local, given.out, given.copy)
    except DataError as error:
        parser.exit(1, f"{error}\n")
    sizes = ", ".join(f"{split} {len(dataset.ids(split))}" for split in dataset.splits())
    print(f"{given.name} is ready in {dataset.root} ({sizes})\ncheck it: tools/check_data.py {given.name}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
