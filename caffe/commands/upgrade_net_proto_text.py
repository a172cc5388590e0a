"""`caffe upgrade_net_proto_text IN OUT`: a net prototxt of 2013 or 2014 in today's format."""

from __future__ import annotations

import argparse

from .. import glog
from ..proto.upgrade_files import upgrade_net_text


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", help="the file as it is")
    parser.add_argument("output", help="the file to write; the same one replaces it")


def run(options: argparse.Namespace) -> int:
    glog.init_log()
    if not upgrade_net_text(options.input, options.output):
        glog.logger.warning("File already in latest proto format: %s", options.input)
    glog.logger.info("Wrote upgraded NetParameter text proto to %s", options.output)
    return 0
