"""Whole files brought to today's format: what the commands upgrade_net_proto_text, ..._binary and solver do."""

from __future__ import annotations

import os

from ..errors import CaffeError
from . import blobs, text
from .upgrade import upgrade_net, upgrade_solver

Path = str | os.PathLike[str]


def upgrade_net_text(source: Path, target: Path) -> bool:
    """Write the net prototxt `source` to `target` in today's format (they may be one file).

    Returns whether something had to be changed. Raises ParseError or NetError, and CaffeError when `target` cannot be
    written.
    """
    net = text.read_net_prototxt(os.fspath(source))
    changed = upgrade_net(net, file=os.fspath(source))
    text.write_prototxt(net, target)
    return changed


def upgrade_net_binary(source: Path, target: Path) -> bool:
    """Write the caffemodel `source` to `target` in today's format, likewise. Raises WeightsError or NetError."""
    net = blobs.read_net(source)
    changed = upgrade_net(net, file=os.fspath(source))
    blobs.write_message(net, target)
    return changed


def upgrade_solver_text(source: Path, target: Path) -> bool:
    """Write the solver prototxt `source` to `target` in today's format, likewise. Raises ParseError or SolverError."""
    solver = text.read_solver_prototxt(source)
    try:
        # without the file's name: a snapshot_prefix that is made from it belongs to the run, not into the file
        changed = upgrade_solver(solver)
    except CaffeError as problem:
        problem.file = os.fspath(source)
        raise
    text.write_prototxt(solver, target)
    return changed
