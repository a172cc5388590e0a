#!/usr/bin/env python3
"""Weights for the classes of a data set, as lines for SoftmaxWithLoss and as the matrix of InfogainLoss.

    python tools/class_weights.py NAME_OR_DIR [--split train] [--method median|inverse] [--infogain H.binaryproto]

median: median frequency balancing, as SegNet. inverse: equal sums of weights, mean weight of a pixel 1.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

if __package__ in (None, ""):  # started as a file: the checkout's root is not yet on the path
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from data import DataError, open_dataset
from data.class_weights import METHODS, count, loss_lines, write_infogain


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="class_weights.py", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", metavar="NAME_OR_DIR", help="a data set's name or folder")
    parser.add_argument("--split", default="train", help="the split whose labels are counted (default train)")
    parser.add_argument("--method", choices=METHODS, default="median", help="how to weight (default median)")
    parser.add_argument("--infogain", metavar="FILE", help="also write the matrix H for InfogainLoss")
    given = parser.parse_args(arguments)
    try:
        dataset = open_dataset(given.data)
        weights = METHODS[given.method](count(dataset, dataset.ids(given.split)))
        print(loss_lines(dataset, weights))
        if given.infogain:
            write_infogain(given.infogain, weights)
    except (DataError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
