"""`caffe upgrade_net_proto_binary IN OUT`: a caffemodel in today's format."""

from __future__ import annotations

import argparse

from .. import glog
from ..proto.upgrade_files import upgrade_net_binary


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", help="the file as it is")
    parser.add_argument("output", help="the file to write; the same one replaces it")


def run(options: argparse.Namespace) -> int:
    glog.init_log()
    if not upgrade_net_binary(options.input, options.output):
        glog.logger.warning("File already in latest proto format: %s", options.input)
    glog.logger.info("Wrote upgraded NetParameter binary proto to %s", options.output)
    return 0
