#!/usr/bin/env python3
"""Correspondence with the features of any Caffe net: grids, pictures, alignment, keypoints (docs/correspondence.md).

    python tools/correspond.py features cat.jpg --net deploy.prototxt --weights net.caffemodel --layers conv4
    python tools/correspond.py align cat.jpg other.jpg --net ... --layers conv4 --sift 20
    python tools/correspond.py classify --data figures --net ... --layers conv3 conv4
    python tools/correspond.py predict --data figures --net ... --layer conv5

A group of commands is a module with `register(subparsers)`; a parser's default `run` is what is called with the
arguments.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

if __package__ in (None, ""):  # started as a file: the checkout's root is not yet on the path
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tools import correspond_align, correspond_keypoints
from tools.errors import exit_status

GROUPS = (correspond_keypoints, correspond_align)


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="correspond.py", description=(__doc__ or "").splitlines()[0])
    commands = p.add_subparsers(metavar="COMMAND", required=True)
    for group in GROUPS:
        group.register(commands)
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    given = parser().parse_args(arguments)
    return exit_status(lambda: given.run(given))


if __name__ == "__main__":
    raise SystemExit(main())
