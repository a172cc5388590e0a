"""Write every net's prototxt files, or prove that they are what the generators write.

    python -m prototxt           write them all
    python -m prototxt --check   exit with 1 and say which differ
    python -m prototxt --table   parameters, layers, receptive field and stride of every net (Table 3.1)
"""

from __future__ import annotations

import argparse
import sys

from .files import check, write
from .measure import table


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m prototxt", description="write all prototxt files")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--check", action="store_true", help="change nothing; say which files differ")
    mode.add_argument("--table", action="store_true", help="print every net's measures (thesis, Table 3.1)")
    options = parser.parse_args(arguments)
    if options.table:
        print(table())
        return 0
    if options.check:
        differing = check()
        for path in differing:
            print(f"differs: {path}")
        if differing:
            print("help: run `python -m prototxt` and commit the result", file=sys.stderr)
        return 1 if differing else 0
    for path in write():
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
