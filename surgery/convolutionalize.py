"""A classifier made fully convolutional: a map of predictions in place of one per image (thesis 3.2.1)."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import text_format

import caffe

from .errors import LayerError, ShapeError, WeightsError
from .files import read_net

# layers whose output at a place depends on their input at that place alone
_POINTWISE = {
    "AbsVal", "BatchNorm", "Bias", "BNLL", "Concat", "Dropout", "ELU", "Eltwise", "Exp", "Input", "Log",
    "Power", "PReLU", "ReLU", "Scale", "Sigmoid", "Slice", "Split", "TanH", "Threshold",
}  # fmt: skip

FilePath = str | os.PathLike[str]


@dataclass(frozen=True)
class Convolutionalized:
    """What `convolutionalize` did.

    `kernels`: layer name -> (height, width) of the window it now slides, for every InnerProduct and global
    pooling.  `caveats`: why scores elsewhere than on the classifier's own input size are not exactly those of
    the classifier on a sliding window; when empty, they are.
    """

    kernels: Mapping[str, tuple[int, int]]
    caveats: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"{name}: window {height}x{width}" for name, (height, width) in self.kernels.items()]
        reasons: dict[str, list[str]] = {}
        for caveat in self.caveats:
            name, reason = caveat.split(": ", 1)
            reasons.setdefault(reason, []).append(name)
        if reasons:
            lines.append("on larger images not exactly the classifier on a sliding window, because")
            lines += [f"{reason}: {', '.join(names)}" for reason, names in reasons.items()]
        return "\n".join(lines)


def convolutionalize(
    prototxt_in: FilePath, weights_in: FilePath, prototxt_out: FilePath, weights_out: FilePath,
    keep_softmax: bool = True,
) -> Convolutionalized:
    """Turn a classifier (deploy prototxt and caffemodel) into a fully convolutional net, in two new files.

    Every InnerProduct becomes a Convolution over all of its input (1x1 above another InnerProduct), a global
    pooling one over a window of the size it sees in the classifier; Flatten layers below them go.  A Softmax
    that ends the net stays, for each place, unless `keep_softmax` is False.  Layers keep their names.

    On the classifier's own input size the scores are the classifier's (this is tested before anything stays);
    on a larger one they are those of the classifier at every position of its window, a stride apart, except
    where padding or a clipped pooling window differs (see `Convolutionalized.caveats`).

    Raises `LayerError` for a layer that has no convolutional form, `ShapeError` when the scores are not those
    of the classifier, and the engine's errors for files that cannot be read or written.
    """
    for source in (prototxt_in, weights_in):
        for target in (prototxt_out, weights_out):
            if Path(source).resolve() == Path(target).resolve():
                raise WeightsError("the result would overwrite its source", file=target,
                                   help="name another file")
    classifier = caffe.Net(os.fspath(prototxt_in), caffe.TEST, weights=os.fspath(weights_in))
    definition = read_net(prototxt_in)
    _without_flatten(definition)
    if not keep_softmax:
        _without_final_softmax(definition)
    kernels, weights, caveats = {}, {}, []
    for layer in definition.layer:
        if layer.name not in classifier.layer_dict:
            continue  # of another phase
        size = _spatial_size(classifier, layer)
        if layer.type == "InnerProduct":
            weights[layer.name] = _weights(layer, classifier, size)
            _to_convolution(layer, size)
            kernels[layer.name] = size
        elif layer.type == "Pooling" and layer.pooling_param.global_pooling:
            _to_window(layer, size)
            kernels[layer.name] = size
        else:
            caveats += _caveats(layer, size)
    target = Path(prototxt_out)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as folder:
        untested = Path(folder) / target.name
        untested.write_text(text_format.MessageToString(definition), encoding="utf-8")
        net = caffe.Net(os.fspath(untested), caffe.TEST)
        for name in net.params:
            for index, blob in enumerate(net.params[name]):
                reshaped = index == 0 and name in weights
                old = weights[name] if reshaped else classifier.params[name][index].data
                blob.data[...] = old.reshape(blob.data.shape)
        _need_maps(net, definition, kernels)
        _compare(classifier, net, prototxt_in)
        net.save(os.fspath(weights_out))
        untested.replace(target)
    return Convolutionalized(kernels, tuple(caveats))


def _spatial_size(net: Any, layer: Any) -> tuple[int, int]:
    """Height and width of a layer's first bottom in the classifier, (1, 1) for a blob without them."""
    shape: tuple[int, ...] = net.blobs[layer.bottom[0]].data.shape if layer.bottom else ()
    return (shape[2], shape[3]) if len(shape) == 4 else (1, 1)


def _weights(layer: Any, net: Any, size: tuple[int, int]) -> np.ndarray:
    """The weights of an InnerProduct as outputs x channels x height x width."""
    parameters = layer.inner_product_param
    if parameters.axis != 1:
        raise LayerError("an InnerProduct over other axes than all but the batch has no convolutional form",
                         layer=layer.name, found=f"axis {parameters.axis}", expected="axis 1",
                         help="remove the axis, or the layer")
    matrix = net.params[layer.name][0].data
    if parameters.transpose:
        matrix = matrix.T
    return matrix.reshape(parameters.num_output, -1, *size)


def _to_convolution(layer: Any, size: tuple[int, int]) -> None:
    old, new = layer.inner_product_param, layer.convolution_param
    new.num_output, new.bias_term = old.num_output, old.bias_term
    if size[0] == size[1]:
        new.kernel_size.append(size[0])
    else:
        new.kernel_h, new.kernel_w = size
    for field in ("weight_filler", "bias_filler"):
        if old.HasField(field):
            getattr(new, field).CopyFrom(getattr(old, field))
    layer.type = "Convolution"
    layer.ClearField("inner_product_param")


def _to_window(layer: Any, size: tuple[int, int]) -> None:
    """A pooling over everything as one over a window of the size that it sees in the classifier."""
    pooling = layer.pooling_param
    pooling.ClearField("global_pooling")
    if size[0] == size[1]:
        pooling.kernel_size = size[0]
    else:
        pooling.kernel_h, pooling.kernel_w = size


def _without_flatten(definition: Any) -> None:
    """Take out the Flatten layers: what follows reads their bottom."""
    for flatten in [layer for layer in definition.layer if layer.type == "Flatten"]:
        bottom, top = flatten.bottom[0], flatten.top[0]
        readers = [
            layer.name for layer in definition.layer
            if bottom in layer.bottom and bottom not in layer.top and layer.name != flatten.name
        ]
        if readers:
            raise LayerError("the flattened blob is also used as it is, so it cannot be left unflattened",
                             layer=flatten.name, found=f"blob {bottom!r} is read by {readers}",
                             help="remove those layers from the prototxt first")
        definition.layer.remove(flatten)
        for layer in definition.layer:
            for blobs in (layer.bottom, layer.top):
                for index, name in enumerate(blobs):
                    if name == top:
                        blobs[index] = bottom


def _without_final_softmax(definition: Any) -> None:
    read = {name for layer in definition.layer for name in layer.bottom}
    for layer in [layer for layer in definition.layer if layer.type == "Softmax"]:
        if layer.top[0] not in read:
            definition.layer.remove(layer)


def _caveats(layer: Any, size: tuple[int, int]) -> list[str]:
    """In which way a layer's output depends on where the image ends."""
    if layer.type == "Pooling":
        p = layer.pooling_param
        kernels = (p.kernel_h or p.kernel_size, p.kernel_w or p.kernel_size)
        strides = (p.stride_h or p.stride, p.stride_w or p.stride)
        pads = [p.pad_h or p.pad, p.pad_w or p.pad]
        if any((extent + 2 * pad - kernel) % stride
               for extent, kernel, stride, pad in zip(size, kernels, strides, pads, strict=True)):
            return [f"{layer.name}: on the classifier's input the last window is clipped at the edge"]
    elif layer.type in ("Convolution", "Deconvolution"):
        p = layer.convolution_param
        pads = [p.pad_h, p.pad_w, *p.pad]
    elif layer.type == "LRN":
        pads = [int(layer.lrn_param.norm_region == layer.lrn_param.WITHIN_CHANNEL)]
    elif layer.type == "Softmax":
        return [] if layer.softmax_param.axis == 1 else [f"{layer.name}: a softmax over places, not classes"]
    else:
        pointwise = layer.type in _POINTWISE
        return [] if pointwise else [f"{layer.name}: a {layer.type} may see all of its input"]
    if any(pads):
        return [f"{layer.name}: pads its input, where a larger image has pixels"]
    return []


def _need_maps(net: Any, definition: Any, kernels: Mapping[str, tuple[int, int]]) -> None:
    """What slides must have rows and columns to slide over."""
    for layer in definition.layer:
        if layer.name in kernels and len(net.blobs[layer.bottom[0]].data.shape) != 4:
            raise LayerError(
                "the input of the layer is no map", layer=layer.name, expected="4 axes",
                found=f"blob {layer.bottom[0]!r} of shape {tuple(net.blobs[layer.bottom[0]].data.shape)}",
                help="take out the Reshape below it, or give the net an input of images",
            )


def _compare(classifier: Any, net: Any, file: FilePath) -> None:
    """Both nets on one random input must give the same scores, one place per image."""
    draw = np.random.default_rng(0)
    inputs = {name: draw.uniform(-100, 100, classifier.blobs[name].data.shape) for name in classifier.inputs}
    before = {name: value.copy() for name, value in classifier.forward(**inputs).items()}
    after = net.forward(**inputs)
    for name, value in after.items():
        # without the final softmax the output is a blob inside the classifier
        expected = before[name] if name in before else classifier.blobs[name].data
        found = np.reshape(value, (len(value), -1)) if value.ndim else value
        expected = np.reshape(expected, (len(expected), -1)) if expected.ndim else expected
        if found.shape != expected.shape or not np.allclose(
            found, expected, rtol=1e-3, atol=1e-4 * max(1e-6, float(np.abs(expected).max()))
        ):
            raise ShapeError(
                f"the convolutional net's output {name!r} is not the classifier's", file=file,
                found=value.shape, expected=f"the {expected.shape} numbers of the classifier",
                help="a layer of the net is not one that slides: convolutionalize a prototxt without it",
            )
