"""`caffe extract_features WEIGHTS MODEL BLOB[,...] DATASET[,...] BATCHES DB_TYPE [CPU|GPU] [DEVICE_ID=0]`."""

from __future__ import annotations

import argparse

from .. import glog
from ..errors import CaffeError
from ._flags import choose_device, python_layers


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("weights", help="the .caffemodel, several separated by ','")
    parser.add_argument("model", help="the net prototxt, with its data layer")
    parser.add_argument("blobs", help="blobs to extract, separated by ','")
    parser.add_argument("datasets", help="a database or file for each blob, separated by ','")
    parser.add_argument("batches", type=int, help="how many batches to run")
    parser.add_argument("db_type", choices=("lmdb", "npz", "h5"), help="lmdb as Caffe writes, or one array in a file")
    parser.add_argument("mode", nargs="?", default="CPU", choices=("CPU", "GPU"), help="default CPU")
    parser.add_argument("device", nargs="?", default="0", help="the GPU's number, also as DEVICE_ID=0")
    python_layers(parser)


def run(options: argparse.Namespace) -> int:
    blobs, datasets = options.blobs.split(","), options.datasets.split(",")
    if len(blobs) != len(datasets) or len(set(blobs)) < len(blobs):
        raise CaffeError("each blob needs a dataset, and comes once", found=f"{options.blobs} and {options.datasets}",
                         help="write as many names, separated by ',' without blanks")
    number = options.device.removeprefix("DEVICE_ID=")
    if not number.isdecimal():
        raise CaffeError("the device is a number", found=options.device, help="GPU 0, or GPU DEVICE_ID=0")
    from .. import TEST
    from ..data.features import extract_features
    from ..net import Net
    from ..solvers import solver_nets

    glog.init_log()
    choose_device(options.mode == "GPU", int(number))
    net = Net(options.model, TEST)
    solver_nets.forward_only(net)
    solver_nets.load_weights(net, options.weights)
    glog.logger.info("Extracting Features")
    counts = extract_features(net, dict(zip(blobs, datasets, strict=True)), options.batches, options.db_type)
    for name, count in counts.items():
        glog.logger.info("Extracted features of %d query images for feature blob %s", count, name)
    glog.logger.info("Successfully extracted the features!")
    return 0
