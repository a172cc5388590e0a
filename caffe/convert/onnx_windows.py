"""What ONNX operators over windows of an image become in Caffe: convolution, pooling, padding, resizing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..layers.pooling import pooled_size
from ..net_spec import Top
from .onnx_graph import Attributes, Graph, Refused, operator

_MAX, _AVE = 0, 1   # PoolingParameter: pool
_CEIL, _FLOOR = 0, 1   # and round_mode


def _window(g: Graph, node: Any, a: Attributes, kernel: Sequence[int]) -> tuple[list[int], ...]:
    """(stride, dilation, zeros in front, zeros behind) per spatial axis, Pad nodes and auto_pad included."""
    axes = len(kernel)
    stride, dilation = list(a.get("strides", [1] * axes)), list(a.get("dilations", [1] * axes))
    pads = list(a.get("pads", [0] * 2 * axes))
    auto = a.get("auto_pad", "NOTSET")
    if auto.startswith("SAME"):
        for i, size in enumerate(g.shape(node.input[0])[2:]):
            total = max(0, (-(-size // stride[i]) - 1) * stride[i] + dilation[i] * (kernel[i] - 1) + 1 - size)
            pads[i], pads[axes + i] = sorted((total // 2, -(-total // 2)), reverse=auto == "SAME_LOWER")
    begin, end = pads[:axes], pads[axes:]
    for i, (front, behind) in enumerate(g.padding.get(node.input[0], [])):
        begin[i], end[i] = begin[i] + front, end[i] + behind
    if min(pads) < 0:
        raise Refused(f"pads: {pads}: negative padding")
    return stride, dilation, begin, end


def _source_shape(g: Graph, node: Any) -> list[int]:
    """Spatial shape of the Caffe blob that the node reads: before the Pad that it takes over."""
    pads = g.padding.get(node.input[0])
    return [size - sum(pads[i]) if pads else size for i, size in enumerate(g.shape(node.input[0])[2:])]


def _cut_all(g: Graph, name: str, top: Top, starts: Sequence[int], made: Sequence[int], wanted: Sequence[int]) -> Top:
    """The `wanted` places from `starts` on of each spatial axis of a blob that has `made` of them."""
    todo = [i for i in range(len(made)) if starts[i] or made[i] != wanted[i]]
    for i in todo:
        label = name if i == todo[-1] else g.label(name, "cut")
        top = g.cut(label, top, 2 + i, starts[i], starts[i] + wanted[i], made[i])
    return top


@operator("Conv")
def conv(g: Graph, node: Any, a: Attributes) -> Top:
    """Zeros that differ in front and behind: windows are added in front until the two sides agree, and cut off."""
    top, weight, bias = g.blob(node), g.array(node, 1), g.array(node, 2)
    kernel, size = weight.shape[2:], _source_shape(g, node)
    if not 1 <= len(kernel) <= 3:
        raise Refused(f"kernel_shape: {len(kernel)} spatial axes; Caffe convolves 1 to 3")
    stride, dilation, begin, end = _window(g, node, a, kernel)
    wanted, made, starts = g.shape(node.output[0])[2:], [], []
    for i, (b, e) in enumerate(zip(begin, end, strict=True)):
        extent = dilation[i] * (kernel[i] - 1) + 1
        extra = 0 if (size[i] + 2 * b - extent) // stride[i] + 1 >= wanted[i] else -(-(e - b) // stride[i])
        begin[i] += extra * stride[i]
        starts.append(extra)
        made.append((size[i] + 2 * begin[i] - extent) // stride[i] + 1)
    exact = not any(starts) and tuple(made) == wanted
    name = node.output[0]
    y = g.add(name if exact else g.label(name, "padded"), "Convolution", [top],
              [weight] if bias is None else [weight, bias], num_output=len(weight), kernel_size=_once(kernel),
              stride=_once(stride), pad=_once(begin), bias_term=bias is not None,
              **({"dilation": _once(dilation)} if max(dilation) > 1 else {}),
              **({"group": a["group"]} if a.get("group", 1) > 1 else {}))
    return _cut_all(g, name, y, starts, made, wanted)


@operator("ConvTranspose")
def conv_transpose(g: Graph, node: Any, a: Attributes) -> Top:
    """Unequal pads: the smaller one in the layer, the rest cut off. output_padding is less to cut behind."""
    top, weight, bias = g.blob(node), g.array(node, 1), g.array(node, 2)
    kernel, size, wanted = weight.shape[2:], g.shape(node.input[0])[2:], g.shape(node.output[0])[2:]
    if not 1 <= len(kernel) <= 3:
        raise Refused(f"kernel_shape: {len(kernel)} spatial axes; Caffe convolves 1 to 3")
    if "output_shape" in a or a.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise Refused("output_shape, auto_pad: only explicit pads are read")
    stride, dilation, begin, end = _window(g, node, a, kernel)
    end = [e - more for e, more in zip(end, a.get("output_padding", [0] * len(kernel)), strict=True)]
    if min(end) < 0:
        raise Refused(f"output_padding: {a['output_padding']} reaches beyond the last window, where Caffe has nothing")
    pad = [min(b, e) for b, e in zip(begin, end, strict=True)]
    made = [stride[i] * (n - 1) + dilation[i] * (kernel[i] - 1) + 1 - 2 * pad[i] for i, n in enumerate(size)]
    starts = [b - p for b, p in zip(begin, pad, strict=True)]
    group, name = a.get("group", 1), node.output[0]
    y = g.add(name if tuple(made) == wanted else g.label(name, "uncut"), "Deconvolution", [top],
              [weight] if bias is None else [weight, bias],
              convolution_param=dict(num_output=weight.shape[1] * group, kernel_size=_once(kernel),
                                     stride=_once(stride), pad=_once(pad), dilation=_once(dilation), group=group,
                                     bias_term=bias is not None))
    return _cut_all(g, name, y, starts, made, wanted)


@operator("MaxPool", "AveragePool")
def pool(g: Graph, node: Any, a: Attributes) -> Top:
    """The same windows with the same divisors, by rounding up or down and by cutting off windows in front or behind."""
    top, kernel, size = g.blob(node), a["kernel_shape"], _source_shape(g, node)
    if len(kernel) != 2:
        raise Refused(f"kernel_shape: {len(kernel)} spatial axes; Caffe pools 2")
    stride, dilation, begin, end = _window(g, node, a, kernel)
    if max(dilation) > 1:
        raise Refused(f"dilations: {dilation}; Caffe's pooling has none")
    average, taken_over = node.op_type == "AveragePool", node.input[0] in g.padding
    include = bool(a.get("count_include_pad", 0))
    if average and taken_over and not include and (any(a.get("pads", [0])) or "SAME" in a.get("auto_pad", "")):
        raise Refused("count_include_pad: 0, but the zeros of the Pad before it count")
    if not average and taken_over and not _not_negative(g, node):
        raise Refused("it reads a Pad of zeros, which may be larger than the values; Caffe's padding never is")
    wanted, name = g.shape(node.output[0])[2:], node.output[0]
    found = []
    for rounding in (_CEIL, _FLOOR):
        fits = [next((extra for extra in range(kernel[i]) if _same_windows(
            size[i], kernel[i], stride[i], begin[i], end[i], wanted[i], extra, rounding == _CEIL,
            (include or taken_over) if average else None)), None) for i in (0, 1)]
        if None not in fits:
            starts = [extra or 0 for extra in fits]
            pad = [begin[i] + starts[i] * stride[i] for i in (0, 1)]
            made = [pooled_size(size[i], kernel[i], stride[i], pad[i], rounding == _CEIL) for i in (0, 1)]
            found.append((tuple(made) != wanted, rounding, pad, made, starts))
    if not found:
        raise Refused(f"pads {begin + end}, ceil_mode {a.get('ceil_mode', 0)}" + (
            f", count_include_pad {int(include)}: Caffe divides by the window's part within the padded image, which is "
            "another number here" if average else ": no padding and rounding of Caffe's gives these windows"))
    cut, rounding, pad, made, starts = min(found)   # rather without a cut, and rounding up
    y = g.add(g.label(name, "uncut") if cut else name, "Pooling", [top],
              pool=_AVE if average else _MAX, **_pair("kernel", "kernel_size", kernel),
              **_pair("stride", "stride", stride), **(_pair("pad", "pad", pad) if any(pad) else {}),
              **({"round_mode": _FLOOR} if rounding == _FLOOR else {}))
    return _cut_all(g, name, y, starts, made, wanted)


def _same_windows(size: int, kernel: int, stride: int, begin: int, end: int, wanted: int, extra: int, ceil: bool,
                  include: bool | None) -> bool:
    """Whether Caffe's windows after the first `extra` begin with the wanted ones, with the same divisors when
    averaging (`include`: whether padding counts; None for max)."""
    pad = begin + extra * stride
    if pad >= kernel or pooled_size(size, kernel, stride, pad, ceil) - extra < wanted:
        return False
    starts = [i * stride - begin for i in range(wanted)]
    if include is None:
        return True
    ours = [min(s + kernel, size + pad) - s for s in starts]
    return ours == [min(s + kernel, size + end) - s if include else min(s + kernel, size) - max(s, 0) for s in starts]


def _not_negative(g: Graph, node: Any) -> bool:
    pad = g.maker[node.input[0]]
    source = g.maker.get(pad.input[0])
    return source is not None and source.op_type in ("Relu", "Sigmoid", "Abs", "Exp", "Softmax")


def _once(values: Sequence[int]) -> list[int]:
    """One number per axis, or one for all."""
    return list(values[:1] if len(set(values)) == 1 else values)


def _pair(stem: str, square: str, values: Sequence[int]) -> dict[str, int]:
    return {square: values[0]} if values[0] == values[1] else {f"{stem}_h": values[0], f"{stem}_w": values[1]}


@operator("Pad")
def pad(g: Graph, node: Any, a: Attributes) -> Top:
    """Zeros around the image are left to the layers that read them."""
    top, shape = g.blob(node), g.shape(node.input[0])
    given = a["pads"] if g.opset < 11 else g.array(node, 1)
    value = a.get("value", 0.0) if g.opset < 11 else g.array(node, 2)
    axes = None if g.opset < 18 else g.array(node, 3)
    chosen = range(len(shape)) if axes is None else [int(axis) % len(shape) for axis in axes]
    pads = [(0, 0)] * len(shape)
    for i, axis in enumerate(chosen):
        pads[axis] = (int(given[i]), int(given[len(chosen) + i]))
    if not any(map(any, pads)):
        return top
    if a.get("mode", "constant") != "constant" or (value is not None and np.any(value)):
        raise Refused(f"mode {a.get('mode', 'constant')}, value {value}: Caffe pads with zeros alone")
    if any(map(any, pads[:2])) or min(map(min, pads)) < 0:
        raise Refused(f"pads: {pads}: only the spatial axes can be padded, by 0 or more")
    readers = g.readers.get(node.output[0], [])
    if node.output[0] in g.outputs or any(reader.input[0] != node.output[0] for reader in readers):
        raise Refused("its result is not read as an image by convolution or pooling alone")
    g.padding[node.output[0]] = pads[2:]
    return top


@operator("GlobalAveragePool", "GlobalMaxPool")
def global_pool(g: Graph, node: Any, a: Attributes) -> Top:
    if len(g.shape(node.input[0])) != 4:
        raise Refused(f"input of shape {g.shape(node.input[0])}: Caffe pools images, N x C x H x W")
    return g.add(node.output[0], "Pooling", [g.blob(node)], global_pooling=True,
                 pool=_AVE if node.op_type == "GlobalAveragePool" else _MAX)


@operator("Resize", "Upsample")
def resize(g: Graph, node: Any, a: Attributes) -> Top:
    """Nearest by whole factors is a Deconvolution of ones per channel; bilinear with aligned corners is Interp."""
    old, new = g.shape(node.input[0]), g.shape(node.output[0])
    top, name, mode = g.blob(node), node.output[0], a.get("mode", "nearest")
    if old == new:
        return top
    old_style = node.op_type == "Upsample" or g.opset < 11   # asymmetric, rounding down
    where = "asymmetric" if old_style else a.get("coordinate_transformation_mode", "half_pixel")
    rounding = "floor" if old_style else a.get("nearest_mode", "round_prefer_floor")
    if len(old) == 4 and old[:2] == new[:2]:
        factors = [new[i] // old[i] for i in (2, 3)]
        whole = all(new[i] == old[i] * factors[i - 2] for i in (2, 3))
        same_place = (where, rounding) == ("asymmetric", "floor") or (
            where == "half_pixel" and rounding in ("round_prefer_floor", "round_prefer_ceil"))
        if mode == "nearest" and whole and same_place:
            return g.add(name, "Deconvolution", [top], [np.ones((old[1], 1, *factors))], convolution_param=dict(
                num_output=old[1], group=old[1], kernel_size=_once(factors), stride=_once(factors), bias_term=False))
        if mode == "linear" and where == "align_corners":
            return g.add(name, "Interp", [top], height=new[2], width=new[3])
    raise Refused(f"mode {mode}, coordinate_transformation_mode {where}, nearest_mode {rounding}, {old} to {new}: "
                  "exact are nearest by whole factors, and linear with align_corners, of images")
