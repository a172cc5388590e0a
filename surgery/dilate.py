"""A net that predicts at every pixel: no subsampling, its filters dilated instead (thesis 3.2.2)."""

from __future__ import annotations

import os
from typing import Any

from caffe.proto import caffe_pb2
from prototxt.measure import trace

from .errors import LayerError
from .shift_and_stitch import WINDOWS, trunk

# layers that make 0 of 0, so that they may stand between the image and a layer that pads it
_KEEPS_ZERO = {"Concat", "Dropout", "Eltwise", "Input", "LRN", "PReLU", "ReLU", "Split", "TanH"}


def dilate(net: str | os.PathLike[str] | Any, top: str | None = None, keep_padding: bool = False) -> Any:
    """The NetParameter of the net (a prototxt or NetParameter; up to the blob `top`, if given) whose output is what
    `shift_and_stitch` makes of the net's, in one pass.  Layers keep their names and parameters their shapes:
    `caffe.Net(...).copy_from` the same weights.

    Layer by layer the stride goes, and the windows of all layers above are dilated by it: filter f becomes f' with
    f'[s i, s j] = f[i, j] and 0 elsewhere.  A convolution says so in its `dilation`; a pooling becomes Im2col (which
    has dilation), and the maximum or mean over its windows' samples.  Where Caffe rounds a pooling's output up, the
    clipped window at the end has no counterpart and is in neither of the two maps.

    With padding inside the net the two cannot be equal: it lies around what each shifted image made, at another
    pixel for each shift, while one dense map has one border.  Nor with max pooling of the padded image, whose
    padding is no zero.  Both raise LayerError, unless `keep_padding`: then the padding is dilated too (as zeros in
    pooling), and predictions equal those of `shift_and_stitch` where their receptive field lies within the image.

    Raises LayerError also for layers that do not slide.
    """
    result = trunk(net, top)
    traces, _ = trace(result)
    zeros: set[str] = set()   # blobs that are 0 all around, as the image is
    layers: list[Any] = []
    for layer in result.layer:
        around = all(blob in zeros for blob in layer.bottom)
        if layer.type in WINDOWS:
            step = int(traces[layer.bottom[0]].stride)
            change = _convolution if layer.type == "Convolution" else _pooling
            parts, pad = change(layer, step)
            maximum = layer.type == "Pooling" and layer.pooling_param.pool == layer.pooling_param.MAX
            if pad and not keep_padding and (maximum or not around):
                raise LayerError(
                    "padding here makes shift-and-stitch depend on the shift, so no dilated net can equal it",
                    layer=layer.name, found=f"pad {pad}", expected="no pad, but zeros around the image",
                    help="pad the image in the first convolution instead, or dilate with keep_padding=True",
                )
            layers += parts
        else:
            layers.append(layer)
            power = layer.power_param
            if around and (layer.type in _KEEPS_ZERO
                           or layer.type == "Power" and power.shift == 0 and power.power > 0):
                zeros |= set(layer.top)
    dilated = caffe_pb2.NetParameter()
    dilated.CopyFrom(result)
    del dilated.layer[:]
    dilated.layer.extend(layers)
    return dilated


def _convolution(layer: Any, step: int) -> tuple[list[Any], int]:
    """The convolution without stride, dilated by `step`; and the padding it had."""
    p = layer.convolution_param
    pad = p.pad[0] if p.pad else 0
    del p.stride[:]
    p.dilation[:] = [step * (p.dilation[0] if p.dilation else 1)]
    if pad:
        p.pad[:] = [pad * step]
    return [layer], pad


def _pooling(layer: Any, step: int) -> tuple[list[Any], int]:
    """The layers that are the pooling without stride, dilated by `step`; and the padding it had."""
    p = layer.pooling_param
    kernel, pad = p.kernel_size, p.pad
    p.stride = 1
    if step == 1 or kernel == 1:
        return [layer], pad
    parts: list[Any] = []
    for axis in (0, 1):   # along the columns and then along the rows: 2 kernel samples of each window, not kernel^2
        along = [kernel if axis == other else 1 for other in (0, 1)]
        windows, split, samples, pooled, joined = (
            _like(layer, f"{part}{axis}") for part in ("windows", "split", "sample", "pooled", "joined"))
        windows.type, split.type, samples.type, pooled.type, joined.type = (
            "Im2col", "Reshape", "Slice", "Eltwise", "Reshape")
        windows.bottom.append(parts[-1].top[0] if parts else layer.bottom[0])
        windows.convolution_param.kernel_size.extend(along)
        windows.convolution_param.dilation.append(step)
        windows.convolution_param.pad.extend([pad * step * (axis == other) for other in (0, 1)])
        split.bottom.append(windows.top[0])   # channels * kernel to channels x kernel
        split.reshape_param.axis, split.reshape_param.num_axes = 1, 1
        split.reshape_param.shape.dim.extend([-1, kernel])
        samples.bottom.append(split.top[0])
        samples.top[:] = [f"{samples.name}/{index}" for index in range(kernel)]
        samples.slice_param.axis = 2
        pooled.bottom.extend(samples.top)
        if p.pool == p.MAX:
            pooled.eltwise_param.operation = pooled.eltwise_param.MAX
        else:
            pooled.eltwise_param.coeff.extend([1 / kernel] * kernel)
        joined.bottom.append(pooled.top[0])
        joined.reshape_param.axis, joined.reshape_param.num_axes = 1, 2
        joined.reshape_param.shape.dim.append(-1)
        parts += [windows, split, samples, pooled, joined]
    parts[-1].name, parts[-1].top[:] = layer.name, layer.top
    return parts, pad


def _like(layer: Any, part: str) -> Any:
    """A layer, and its blob, for a part of `layer`; in the same phases."""
    name = f"{layer.name}/{part}"
    return caffe_pb2.LayerParameter(name=name, top=[name], include=layer.include, exclude=layer.exclude)
