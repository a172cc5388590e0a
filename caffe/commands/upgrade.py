"""`caffe upgrade_net_proto_text IN OUT`, `upgrade_net_proto_binary`, `upgrade_solver_proto_text`: today's formats."""

from __future__ import annotations

import argparse

from .. import glog
from ..proto.upgrade_files import upgrade_net_binary, upgrade_net_text, upgrade_solver_text

_KINDS = {
    "upgrade_net_proto_text": (upgrade_net_text, "NetParameter text"),
    "upgrade_net_proto_binary": (upgrade_net_binary, "NetParameter binary"),
    "upgrade_solver_proto_text": (upgrade_solver_text, "SolverParameter text"),
}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", help="the file as it is")
    parser.add_argument("output", help="the file to write; the same one replaces it")


def run(options: argparse.Namespace) -> int:
    upgrade, kind = _KINDS[options.command]
    glog.init_log()
    if not upgrade(options.input, options.output):
        glog.logger.warning("File already in latest proto format: %s", options.input)
    glog.logger.info("Wrote upgraded %s proto to %s", kind, options.output)
    return 0
