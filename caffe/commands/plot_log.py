"""`caffe plot_log OUTPUT.png LOG...`: the curves of one or more training logs."""

from __future__ import annotations

import argparse


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("output", help="the .png, .svg or .pdf to write")
    parser.add_argument("logs", nargs="+", help="what `caffe train` wrote to stderr or -log_dir")
    parser.add_argument("--x", default="NumIters", help="NumIters (default) or Seconds")
    parser.add_argument("--y", default="", help="outputs, or LearningRate, separated by ','; default all outputs")


def run(options: argparse.Namespace) -> int:
    from ..inspect.training_log import plot_log

    plot_log(options.logs, options.output, options.x, [name for name in options.y.split(",") if name])
    return 0
