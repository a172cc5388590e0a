"""`caffe classify INPUT OUTPUT.npy -model_def NET -pretrained_model WEIGHTS`: class probabilities of images."""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path

import numpy as np

from ..errors import CaffeError, DataError
from ._flags import numbers, preprocessing, settings, switch


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input_file", help="an image, a folder of images, or images as .npy (N x H x W x K in 0..1)")
    parser.add_argument("output_file", help="the .npy to write, N x classes")
    preprocessing(parser)
    switch(parser, "center_only", "take the centre crop alone, not the mean over ten crops")
    parser.add_argument("--images_dim", default="256,256", help="height,width to resize to before cropping")
    parser.add_argument("--ext", default="jpg", help="which files of a folder (default jpg)")


def run(options: argparse.Namespace) -> int:
    from .. import io
    from ..classifier import Classifier
    from ..files import atomic_write

    dims = numbers(options.images_dim, "images_dim")
    if len(dims) != 2:
        raise CaffeError("-images_dim takes height,width", found=options.images_dim, help="-images_dim 256,256")
    net = Classifier(options.model_def, options.pretrained_model, image_dims=dims, **settings(options))
    source = Path(options.input_file).expanduser()
    load = partial(io.load_image, color=net.blobs[net.inputs[0]].shape[1] != 1)
    if source.suffix == ".npy":
        try:
            inputs = list(np.load(source, allow_pickle=False))
        except (OSError, ValueError, EOFError, TypeError) as problem:
            raise DataError(f"holds no images: {problem}", file=source,
                            help="numpy.save an N x H x W x K array") from problem
    elif source.is_dir():
        names = sorted(source.glob(f"*.{options.ext}"))
        if not names:
            raise DataError(f"the folder has no .{options.ext} files", file=source, help="set -ext")
        inputs = [load(name) for name in names]
    else:
        inputs = [load(source)]
    print(f"Classifying {len(inputs)} inputs.")
    start = time.perf_counter()
    predictions = net.predict(inputs, not options.center_only)
    print(f"Done in {time.perf_counter() - start:.2f} s.")
    print(f"Saving results into {options.output_file}")
    atomic_write(options.output_file, lambda file: np.save(file, predictions), error=DataError)
    return 0
