"""The timings of 3.2.1: AlexNet on a patch against the fully convolutional net on a whole image, both passes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import text_format

import caffe
from caffe import layers as L
from prototxt.alexnet import trunk
from prototxt.common import class_scores
from tools.experiments.registry import Context, Need, Result, Table, experiment

# milliseconds on "a typical GPU": one 227 x 227 patch in a batch, and a 500 x 500 image
PATCH, IMAGE = (1.2, 2.4), (22.0, 37.0)
GRID, SIZE = 10, 500   # outputs along a side, of an image of so many pixels: Caffe's pooling rounds up


@experiment("timing3.2.1", "AlexNet by patches against fully convolutional, forward and backward", "3.2.1",
            [Need("gpu")], "the same on the CPU, batches of 10 patches, median of 5")
def patches(context: Context) -> Result:
    """Scores of 1000 classes, at the stride of 32 and without padding, as the convolutionalized classifier has."""
    batch, repeats = (10, 5) if context.small else (50, 20)
    patch = _passes(_classifier(context.folder / "patch.prototxt", batch, 227), repeats) / batch
    whole = _passes(_classifier(context.folder / "image.prototxt", 1, SIZE), repeats)
    naive = patch * GRID * GRID
    rows = {name: [(PATCH[i], float(patch[i])), (100 * PATCH[i], float(naive[i])), (IMAGE[i], float(whole[i])),
                   (100 * PATCH[i] / IMAGE[i], float(naive[i] / whole[i]))]
            for i, name in enumerate(("forward", "backward"))}
    speedup = naive / whole
    columns = ["one patch (ms)", "100 patches (ms)", "fully convolutional (ms)", "times faster"]
    return Result(
        [Table("a grid of 10 x 10 outputs", columns, rows)],
        claims=[("fully convolutional inference is more than 5 times faster than the naive approach",
                 f"{speedup[0]:.1f} times", bool(speedup[0] > 5)),
                ("the backward pass gains similarly", f"{speedup[1]:.1f} times", bool(speedup[1] > 5))],
        notes=["Times on another machine compare only by their ratio."],
        config={"patches per batch": batch, "repeats": repeats, "image": SIZE},
    )


def _classifier(path: Path, batch: int, size: int) -> Any:
    """CaffeNet with its fully connected layers as convolutions and 1000 scores, random weights."""
    n = caffe.NetSpec()
    n.data = L.Input(input_param=dict(shape=dict(dim=[batch, 3, size, size])))
    n.score_fr = class_scores(trunk(n, 1.0, pad=0), 1000, 1.0)
    n.loss = L.Reduction(n.score_fr, loss_weight=1)   # backward runs through layers that lead to a loss alone
    net = n.to_proto()
    for layer in net.layer:
        if layer.type == "Convolution":
            layer.convolution_param.weight_filler.type = "msra"
    path.write_text(text_format.MessageToString(net), encoding="utf-8")
    return caffe.Net(str(path), caffe.TRAIN)


def _passes(net: Any, repeats: int) -> np.ndarray:
    """Median milliseconds of forward and backward, after one of each."""
    net.blobs["data"].data[...] = np.random.default_rng(0).normal(0, 50, net.blobs["data"].shape)
    taken = []
    for _ in range(repeats + 1):
        begun = time.perf_counter()
        net.forward()
        net.blobs["loss"].data.ravel()   # waits for a GPU
        middle = time.perf_counter()
        net.backward()
        net.params["conv1"][0].diff.ravel()
        taken.append((middle - begun, time.perf_counter() - middle))
    return np.median(1000 * np.array(taken[1:]), axis=0)
