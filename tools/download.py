#!/usr/bin/env python3
"""Download data sets and weights: several sources, resumed, compared with known sizes and hashes.

    python tools/download.py --list
    python tools/download.py vgg16                   # into models/, where training looks for it
    python tools/download.py voc2012 sbd [--to DIR]
    python tools/download.py vgg16 --from-local ~/old/VGG_ILSVRC_16_layers.caffemodel

Exit code 0 when every file is there and right, 1 otherwise.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

if __package__ in (None, ""):  # started as a file: the checkout's root is not yet on the path
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from data import DataError
from data.downloads import HASHES, fetch, manifest
from data.sources import folder_of
from tools.weights import folders


def show() -> None:
    """Every name with its file, what is known of it, and its sources."""
    for name, item in manifest().items():
        known = [f"{item.size} bytes"] if item.size is not None else ["size unknown"]
        known += [f"{kind} {getattr(item, kind)}" for kind in HASHES if getattr(item, kind)]
        print(f"{name}\n  {item.file}: {', '.join(known)}{'' if item.known else ', no hash known'}")
        print("".join(f"  {url}\n" for url in item.urls), end="")


def _place(name: str) -> Path:
    item = manifest().get(name)
    return folders()[0] if item and item.file.endswith(".caffemodel") else folder_of("downloads")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="download.py", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="what to get; --list shows all")
    parser.add_argument("--list", action="store_true", help="show names, sizes, hashes and sources")
    parser.add_argument("--to", metavar="DIR", help="the folder to put files in (default for weights models/ or "
                        "$CAFFE_LUNGO_MODELS, for data data/downloads or $CAFFE_LUNGO_DATA/downloads)")
    parser.add_argument("--from-local", metavar="PATH", help="check and copy this file instead of downloading")
    given = parser.parse_args(arguments)
    if given.list or not given.names:
        show()
        return 0
    if given.from_local and len(given.names) > 1:
        parser.error("--from-local is the file of one name")
    status = 0
    for name in given.names:
        try:
            path = fetch(name, given.to or _place(name), given.from_local)
        except DataError as error:
            print(error, file=sys.stderr)
            status = 1
            continue
        print(f"{path}: {'as it should be' if manifest()[name].known else 'no hash is known, taken as it came'}")
    return status


if __name__ == "__main__":
    raise SystemExit(main())
