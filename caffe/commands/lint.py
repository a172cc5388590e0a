"""caffe lint NET_OR_SOLVER: what is odd in a prototxt although it can be read; exit status 1 when something is."""
from __future__ import annotations

import argparse
import os

from ..inspect.lint import Finding, lint_net
from ..inspect.lint_solver import lint_solver, looks_like_solver


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", metavar="NET_OR_SOLVER", help="prototxts; the nets of a solver are checked "
                        "too, and paths in a solver start at the working folder")


def run(options: argparse.Namespace) -> int:
    found = [finding for file in options.files for finding in lint(file)]
    for finding in dict.fromkeys(found):
        print(finding)
    return 1 if found else 0


def lint(path: str | os.PathLike[str]) -> list[Finding]:
    """The findings in a net or solver prototxt. Raises ParseError, NetError or SolverError for a file that is
    neither."""
    return lint_solver(path) if looks_like_solver(path) else lint_net(path)
