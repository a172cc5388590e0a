"""`caffe compute_image_mean INPUT_DB [OUTPUT_FILE]`: the mean image of a database, and the mean of each channel."""

from __future__ import annotations

import argparse

from .. import glog


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("database", help="the folder that convert_imageset wrote")
    parser.add_argument("output", nargs="?", help="the binaryproto to write, for mean_file")
    parser.add_argument("--backend", default="lmdb", choices=("lmdb", "leveldb"), help="default lmdb")


def run(options: argparse.Namespace) -> int:
    from ..data.imageset import compute_image_mean, write_mean

    glog.init_log()
    mean = compute_image_mean(options.database, options.backend)
    if options.output:
        glog.logger.info("Write to %s", options.output)
        write_mean(mean, options.output)
    glog.logger.info("Number of channels: %d", len(mean))
    for i, value in enumerate(mean.mean((1, 2), dtype=float)):
        glog.logger.info("mean_value channel [%d]: %g", i, value)
    return 0
