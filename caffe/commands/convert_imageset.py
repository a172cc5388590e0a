"""`caffe convert_imageset ROOTFOLDER/ LISTFILE DB_NAME`: a list of images to an LMDB."""

from __future__ import annotations

import argparse

from .. import glog
from ..errors import CaffeError
from ._flags import switch


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("root_folder", help="put before each path as it is: end it in /")
    parser.add_argument("list_file", help="lines `path label`")
    parser.add_argument("database", help="the folder to write; it must not exist")
    switch(parser, "gray", "read images as gray")
    switch(parser, "shuffle", "shuffle the list")
    parser.add_argument("--seed", type=int, help="seed of the shuffling, to repeat it")
    parser.add_argument("--backend", default="lmdb", help="lmdb, the only one that is written")
    parser.add_argument("--resize_width", type=int, default=0, help="resize images to this width (0: do not)")
    parser.add_argument("--resize_height", type=int, default=0, help="and this height")
    switch(parser, "check_size", "stop at an image of another size than the first")
    switch(parser, "encoded", "store image files, not pixels")
    parser.add_argument("--encode_type", default="", help="store images as this type: png, jpg, ...")


def run(options: argparse.Namespace) -> int:
    from ..data.imageset import convert_imageset

    if options.backend.lower() != "lmdb":
        raise CaffeError("only LMDBs are written", found=f"-backend {options.backend}", expected="lmdb",
                         help="set backend: LMDB in the data layer that reads it")
    glog.init_log()
    convert_imageset(
        options.root_folder, options.list_file, options.database, gray=options.gray, shuffle=options.shuffle,
        seed=options.seed, resize_width=options.resize_width, resize_height=options.resize_height,
        check_size=options.check_size, encoded=options.encoded, encode_type=options.encode_type)
    return 0
