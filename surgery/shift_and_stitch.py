"""Dense predictions from a coarse net run on shifted images, its outputs interlaced (thesis 3.2.2)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from caffe.proto import caffe_pb2
from prototxt.measure import trace

from .errors import LayerError, ShapeError
from .files import read_net

# layers whose output moves as their input is moved; the spatial ones of them slide a window
WINDOWS = {"Convolution", "Pooling"}
_SLIDING = WINDOWS | {"Concat", "Dropout", "Eltwise", "Input", "LRN", "Power", "PReLU", "ReLU", "Scale", "Sigmoid",
                      "Softmax", "Split", "TanH"}


@dataclass(frozen=True)
class Dense:
    """A map of predictions, one for each pixel.

    `values` is N x channels x height x width.  The receptive field of `values[..., y, x]` is centred on the image's
    pixel (`origin` + y, `origin` + x): a whole number for odd fields; even ones are centred between two pixels.  The
    map has every place whose field lies within the image and the zeros that the net's padding sets around it.
    """

    values: NDArray[np.float32]
    origin: Fraction


def shift_and_stitch(
    net: Any, definition: str | os.PathLike[str] | Any, image: ArrayLike, top: str, bottom: str = "data"
) -> Dense:
    """Run `net` on `image` (N x channels x height x width) shifted right and down by every (x, y) with
    0 <= x, y < f, f being the stride of its blob `top`, and interlace the f^2 coarse maps of `top`.

    `net` is a caffe.Net in phase TEST, `definition` its prototxt (a file or NetParameter), `bottom` its input.  The
    image is followed by zeros, so that no shift moves pixels out: what a net that pads sees there too.  A layer that
    pads further up pads what the *shifted* image made, at another pixel for each shift; predictions whose field
    leaves the image then depend on the shift.  The input's shape is put back.

    Raises LayerError where a layer below `top` does not slide (InnerProduct, global pooling, Deconvolution, ...), and
    ShapeError for an image that the receptive field does not fit in.
    """
    image = np.asarray(image, np.float32)
    number, channels, *sizes = image.shape
    below = trunk(definition, top)
    for layer in below.layer:
        if layer.type == "Input":   # the definition's own size may be smaller than a receptive field
            del layer.input_param.shape[:]
            layer.input_param.shape.add(dim=[number, channels, *(size + 2048 for size in sizes)])
    seen = trace(below)[0][top]
    factor, first = int(seen.stride), seen.centre - (seen.field - 1) / 2   # first: what the first field begins at
    height, width = (int(size - 2 * first - seen.field) + 1 for size in sizes)
    if min(height, width) < 1:
        raise ShapeError(f"no receptive field of blob {top!r} fits in the image", found=f"{sizes[0]} x {sizes[1]}",
                         expected=f"at least {int(seen.field + 2 * first)} pixels each way", help="give larger images")
    blob = net.blobs[bottom]
    shape = tuple(blob.data.shape)
    blob.reshape(number, channels, *(size + factor - 1 for size in sizes))
    net.reshape()
    dense = np.empty((number, net.blobs[top].data.shape[1], height, width), np.float32)
    for down, right in product(range(factor), repeat=2):
        blob.data[...] = 0
        blob.data[:, :, down : down + sizes[0], right : right + sizes[1]] = image
        net.forward(end=below.layer[-1].name)
        # cell i of the map is centred f * i - shift from `origin`: with a shift, cell 0 lies before the map
        part = dense[:, :, -down % factor :: factor, -right % factor :: factor]
        y, x = min(down, 1), min(right, 1)
        part[...] = net.blobs[top].data[:, :, y : y + part.shape[2], x : x + part.shape[3]]
    blob.reshape(*shape)
    net.reshape()
    return Dense(dense, seen.centre)


def trunk(definition: str | os.PathLike[str] | Any, top: str | None = None) -> Any:
    """A NetParameter with the layers that blob `top` needs (None: all of them), every one of which slides.

    Raises LayerError for a layer that does not, and for a `top` that no layer makes.
    """
    net = caffe_pb2.NetParameter()
    net.CopyFrom(read_net(definition) if isinstance(definition, str | os.PathLike) else definition)
    if top is not None:
        needed, kept = {top}, []
        for layer in reversed(net.layer):
            if needed & set(layer.top):
                needed |= set(layer.bottom)
                kept.append(layer)
        if not kept:
            raise LayerError(f"no layer makes blob {top!r}", help="name a blob of the net")
        layers = caffe_pb2.NetParameter(layer=reversed(kept)).layer
        del net.layer[:]
        net.layer.extend(layers)
    for layer in net.layer:
        reason = _why_not(layer)
        if reason:
            raise LayerError(reason, layer=layer.name, found=layer.type, expected=", ".join(sorted(_SLIDING)),
                             help="name a blob below it; a classifier is convolutionalized first")
    return net


def _why_not(layer: Any) -> str:
    """Why the output of a layer is not simply moved when its input is; empty when it is."""
    if layer.type not in _SLIDING:
        return "a layer does not slide over the image"
    if layer.type in WINDOWS:
        window = layer.pooling_param if layer.type == "Pooling" else layer.convolution_param
        if layer.type == "Pooling" and (window.global_pooling or window.pool == window.STOCHASTIC):
            return "this pooling does not slide a fixed function over the image"
        if any(window.HasField(f"{what}_{axis}") for what in ("kernel", "stride", "pad") for axis in "hw"):
            return "only windows given by kernel_size, stride and pad are known here"
    if layer.type == "LRN" and layer.lrn_param.norm_region == layer.lrn_param.WITHIN_CHANNEL:
        return "normalisation within channels pads what it sees"
    if layer.type == "Softmax" and layer.softmax_param.axis != 1 or layer.type == "Concat" and (
            layer.concat_param.axis != 1):
        return "the layer works along another axis than the channels"
    return ""
