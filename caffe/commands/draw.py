"""caffe draw NET OUT: a picture of a net, as .svg without any other program, as .png through Graphviz."""
from __future__ import annotations

import argparse

from .. import draw
from ..proto import text
from ..proto.netfilter import PHASES


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("net", help="a net's prototxt")
    parser.add_argument("out", help="the picture: a name that ends in .svg, or in .png where Graphviz is installed")
    parser.add_argument("--rankdir", choices=("TB", "LR"), default="TB", help="downwards (TB) or to the right (LR)")
    parser.add_argument("--phase", choices=list(PHASES), help="the layers of this phase alone")
    parser.add_argument("--display_lrm", action="store_true", help="show lr_mult of each layer's parameters")


def run(options: argparse.Namespace) -> int:
    parsed = text.load_net(options.net)
    draw.draw_net_to_file(parsed.param, options.out, options.rankdir, options.phase, options.display_lrm)
    print(f"{options.out}: {len(parsed.param.layer)} layers")
    return 0
