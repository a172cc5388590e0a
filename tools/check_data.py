#!/usr/bin/env python3
"""Check a data set before training: label histogram, missing pairs, wrong sizes, labels that are not indices.

    python tools/check_data.py NAME_OR_DIR [--split SPLIT ...] [--json]

Exit code 0 when all is well, 1 when there are problems (listed on stderr), 2 for a wrong command line.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path

if __package__ in (None, ""):  # started as a file: the checkout's root is not yet on the path
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from data import DataError, open_dataset
from data.check import Report, check
from data.keypoints import Keypoints
from data.keypoints_check import KeypointReport, check_keypoints
from data.sources import SOURCES

SHOWN = 50  # problems listed in full; --json lists all


def _bar(ids: Iterable[str], total: int, split: str) -> Iterable[str]:
    """A progress bar on a terminal, for sets that take a while."""
    from tqdm import tqdm

    return tqdm(ids, total=total, desc=split, unit="picture", disable=not sys.stderr.isatty() or total < 100)


def _print_problems(report: Report | KeypointReport) -> None:
    problems = report.problems
    print(f"{len(problems)} problem{'s' if len(problems) != 1 else ''}:", file=sys.stderr)
    for problem in problems[:SHOWN]:
        print(f"  {problem.kind}: {problem.where}: {problem.message}", file=sys.stderr)
    if len(problems) > SHOWN:
        print(f"  ... and {len(problems) - SHOWN} more (--json lists all)", file=sys.stderr)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="check_data.py", description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "data", metavar="NAME_OR_DIR", help=f"{', '.join(SOURCES)} or a folder"
    )
    parser.add_argument(
        "--split", nargs="+", metavar="SPLIT", help="the splits to read (default: all that have labels)"
    )
    parser.add_argument("--json", action="store_true", help="print everything as JSON on stdout")
    given = parser.parse_args(arguments)
    try:
        dataset = open_dataset(given.data)
        report = (check_keypoints(dataset, given.split, _bar) if isinstance(dataset, Keypoints)
                  else check(dataset, given.split, _bar))
    except DataError as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps(report.to_dict(), indent=2) if given.json else report.table())
    if report.problems:
        _print_problems(report)
        return 1
    if not given.json:
        print("\nno problems found")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
