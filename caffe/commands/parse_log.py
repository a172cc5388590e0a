"""`caffe parse_log LOG [FOLDER]`: a training log as two tables, LOG.train and LOG.test."""

from __future__ import annotations

import argparse

from ._flags import switch


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("logfile_path", help="what `caffe train` wrote to stderr or -log_dir")
    parser.add_argument("output_dir", nargs="?", default=".", help="where to write LOG.train and LOG.test (default .)")
    parser.add_argument("--delimiter", default=",", help="between columns (default ,)")
    switch(parser, "verbose", "say which files are written")


def run(options: argparse.Namespace) -> int:
    from ..inspect.training_log import save_csv_files

    for path in save_csv_files(options.logfile_path, options.output_dir, options.delimiter):
        if options.verbose:
            print(f"Wrote {path}")
    return 0
