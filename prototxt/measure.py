"""Parameters, layers, receptive field and stride of a net (thesis, Table 3.1), from its definition alone.

The rule of composition is the thesis's (3.2): a layer of kernel k and stride s on one of kernel k' and stride
s' acts as one of kernel k' + (k - 1) s' and stride s s'.  The same walk gives blob shapes and the place of
every blob's samples on the image, and finds sums of blobs that are not aligned; it builds no net.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from .errors import NetError

# BatchNorm: of a deploy net, which uses stored statistics
_ELEMENTWISE = {
    "AbsVal", "BatchNorm", "Bias", "BNLL", "Clip", "Dropout", "ELU", "Exp", "Log", "Power", "PReLU", "ReLU", "ReLU6",
    "Scale", "Sigmoid", "Softmax", "Split", "Swish", "TanH", "Threshold",
}
_ENDS = {"SoftmaxWithLoss", "Accuracy", "Silence"}


@dataclass(frozen=True)
class Trace:
    """Where a blob stands: `shape` (channels, height, width); sample i of a row lies at image coordinate
    `centre + i * stride` and sees `field` pixels; `depth` is the number of parameter layers on the longest
    path.
    """

    shape: tuple[int, int, int]
    stride: Fraction = Fraction(1)
    field: Fraction = Fraction(1)
    centre: Fraction = Fraction(0)
    depth: int = 0


@dataclass(frozen=True)
class Measures:
    """A row of Table 3.1.  `learned` and `fixed`: parameters with lr_mult above 0, and the others (the
    bilinear upsampling); `conv_layers`: parameter layers on the longest path to the coarse scores;
    `receptive_field` and `stride`, in pixels, of a coarse score."""

    learned: int
    fixed: int
    conv_layers: int
    receptive_field: int
    stride: int


def measure(net: Any) -> Measures:
    """Measure a NetParameter whose input has a shape (a deploy net).

    The coarse scores are the input of the first Deconvolution, or the last blob of a net without one.  Raises
    `NetError` for a layer that has no rule here.
    """
    traces, counts = trace(net)
    first = next((layer for layer in net.layer if layer.type == "Deconvolution"), None)
    coarse = traces[first.bottom[0] if first is not None else list(traces)[-1]]
    return Measures(
        sum(count for count, rate in counts if rate), sum(count for count, rate in counts if not rate),
        coarse.depth, int(coarse.field), int(coarse.stride),
    )


def trace(
    net: Any, image: tuple[int, int, int] = (3, 500, 500)
) -> tuple[dict[str, Trace], list[tuple[int, float]]]:
    """The Trace of every blob, and (number of values, lr_mult) of every parameter blob.

    `image` (channels, height, width) is the shape of blobs from data layers; an Input layer states its own, and so
    do the inputs of older deploy nets (`input`, `input_shape` or `input_dim`).
    Raises `NetError` for a layer that has no rule here, or whose input is too small.
    """
    traces = _inputs(net)
    counts: list[tuple[int, float]] = []
    for layer in net.layer:
        bottoms = []
        for name in layer.bottom:
            if name not in traces:
                raise NetError(f"layer {layer.name!r} reads blob {name!r}, which no layer before it makes",
                               help="check the order of the layers and the spelling of the blob")
            bottoms.append(traces[name])
        if not bottoms:
            shape = image
            if layer.type == "Input":
                shape = tuple(layer.input_param.shape[0].dim[1:])
            for top in layer.top:
                traces[top] = Trace(shape)
        elif layer.type not in _ENDS:
            rule = _RULES.get(layer.type)
            if rule is None:
                raise NetError(
                    f"no rule for layer {layer.name!r} of type {layer.type}",
                    expected=f"one of {sorted([*_RULES, *_ENDS])}", help="measure a net of these layers",
                )
            result = rule(layer, bottoms)
            results = result if isinstance(result, list) else [result] * len(layer.top)
            if min(min(made.shape) for made in results) < 1:
                raise NetError(
                    f"layer {layer.name!r} has nothing to compute", found=f"input {bottoms[0].shape}",
                    expected="an input that its kernel fits in", help="give larger images or more padding",
                )
            traces.update(zip(layer.top, results, strict=True))
            counts += _parameters(layer, bottoms[0].shape)
    return traces, counts


def _inputs(net: Any) -> dict[str, Trace]:
    """The inputs that a net states in fields of its own, without a layer."""
    if len(net.layers):
        raise NetError("this net is written in the format of before 2014, whose layers are not walked",
                       help="`caffe upgrade_net_proto_text OLD NEW` writes it anew")
    shapes = [tuple(shape.dim) for shape in net.input_shape] or list(zip(*[iter(net.input_dim)] * 4, strict=True))
    return {name: Trace(shape[1:]) for name, shape in zip(net.input, shapes, strict=True)}


def _one(values: Any, default: int) -> int:
    """The one value of a repeated spatial field (one for both axes, or two equal ones)."""
    distinct = set(values)
    if len(distinct) > 1:
        raise NetError("kernels are not square", found=list(values), help="only square kernels are measured")
    return distinct.pop() if distinct else default


def _geometry(layer: Any, size: int) -> tuple[int, int, int]:
    """(kernel with dilation, stride, pad) of a layer on an input `size` samples high."""
    if layer.type == "InnerProduct":
        return size, 1, 0
    if layer.type == "LRN":
        return layer.lrn_param.local_size, 1, (layer.lrn_param.local_size - 1) // 2
    p = layer.pooling_param if layer.type == "Pooling" else layer.convolution_param
    if layer.type == "Pooling" and p.global_pooling:
        return size, 1, 0
    given = [f"{field}_{axis}" for field in ("kernel", "stride", "pad") for axis in "hw"]
    if any(p.HasField(name) for name in given):
        raise NetError(f"layer {layer.name!r} states its window by height and width",
                       help="only square windows are measured: give kernel_size, stride and pad")
    if layer.type == "Pooling":
        return p.kernel_size, p.stride, p.pad
    dilation = _one(p.dilation, 1)
    return (_one(p.kernel_size, 0) - 1) * dilation + 1, _one(p.stride, 1), _one(p.pad, 0)


def _window(layer: Any, bottoms: list[Trace]) -> Trace:
    """Convolution, Pooling, InnerProduct and LRN: a window that slides over the input."""
    (below,) = bottoms
    whole = layer.type == "InnerProduct" or layer.type == "Pooling" and layer.pooling_param.global_pooling
    if whole and below.shape[1] != below.shape[2]:
        raise NetError(f"layer {layer.name!r} sees all of an input that is not square", found=below.shape,
                       help="only square windows are measured: give square images")
    if layer.type == "LRN" and layer.lrn_param.norm_region == layer.lrn_param.ACROSS_CHANNELS:
        return below
    channels, *sizes = below.shape
    kernel, stride, pad = _geometry(layer, sizes[0])
    outputs = []
    for size in sizes:
        if layer.type == "Pooling":  # rounds up, but no window may start in the padding behind the input
            span = size + 2 * pad - kernel
            output = (-(-span // stride) if _rounds_up(layer.pooling_param) else span // stride) + 1
            if pad and (output - 1) * stride >= size + pad:
                output -= 1
        else:
            output = (size + 2 * pad - kernel) // stride + 1
        outputs.append(output if layer.type != "InnerProduct" else 1)
    if layer.type == "Convolution":
        channels = layer.convolution_param.num_output
    elif layer.type == "InnerProduct":
        channels = layer.inner_product_param.num_output
    return Trace(
        (channels, outputs[0], outputs[1]),
        below.stride * stride,
        below.field + (kernel - 1) * below.stride,
        below.centre + (Fraction(kernel - 1, 2) - pad) * below.stride,
        below.depth + (layer.type in ("Convolution", "InnerProduct")),
    )


def _rounds_up(pooling: Any) -> bool:
    """Whether the output size of pooling is rounded up, as in BVLC Caffe 1.0, which has none of these fields."""
    return not getattr(pooling, "round_mode", 0) and getattr(pooling, "ceil_mode", True) and not getattr(
        pooling, "torch_pooling", False)


def _slice(layer: Any, bottoms: list[Trace]) -> list[Trace]:
    """Channels cut into parts."""
    (below,) = bottoms
    p = layer.slice_param
    if p.axis != 1 or p.slice_dim != 1:
        raise NetError(f"layer {layer.name!r} cuts another axis than channels", help="such nets are not measured")
    channels, parts = below.shape[0], len(layer.top)
    points = list(p.slice_point) or [channels * i // parts for i in range(1, parts)]
    ends = [0, *points, channels]
    return [replace(below, shape=(high - low, *below.shape[1:])) for low, high in zip(ends, ends[1:], strict=False)]


def _deconvolution(layer: Any, bottoms: list[Trace]) -> Trace:
    """The transpose of `_window`; each output sees ceil(kernel / stride) inputs at most."""
    (below,) = bottoms
    kernel, stride, pad = _geometry(layer, 0)
    height, width = (stride * (size - 1) + kernel - 2 * pad for size in below.shape[1:])
    fine = below.stride / stride
    return Trace(
        (layer.convolution_param.num_output, height, width),
        fine,
        below.field + (-(-kernel // stride) - 1) * below.stride,
        below.centre - (Fraction(kernel - 1, 2) - pad) * fine,
        below.depth,
    )


def _crop(layer: Any, bottoms: list[Trace]) -> Trace:
    below, reference = bottoms
    offset = _one(layer.crop_param.offset, 0)
    for have, need in zip(below.shape[1:], reference.shape[1:], strict=True):
        if have < offset + need:
            raise NetError(
                f"layer {layer.name!r} crops more than there is", found=f"{have} samples",
                expected=f"at least {offset} + {need}", help="pad the image more",
            )
    return replace(
        below, shape=(below.shape[0], *reference.shape[1:]), centre=below.centre + offset * below.stride
    )


def _merge(layer: Any, bottoms: list[Trace]) -> Trace:
    """Concat and Eltwise: inputs on one grid, of which the largest field and depth count."""
    first = bottoms[0]
    if layer.type == "Concat" and (layer.concat_param.axis, layer.concat_param.concat_dim) != (1, 1):
        raise NetError(f"layer {layer.name!r} joins along another axis than channels",
                       help="such nets are not measured")
    for other in bottoms[1:]:
        if (first.stride, first.centre, first.shape[1:]) != (other.stride, other.centre, other.shape[1:]):
            raise NetError(
                f"the inputs of layer {layer.name!r} are not aligned", found=f"{first} and {other}",
                expected="equal sizes, strides and centres", help="crop one to the other",
            )
    channels = sum(trace.shape[0] for trace in bottoms) if layer.type == "Concat" else first.shape[0]
    return replace(
        first, shape=(channels, *first.shape[1:]), field=max(t.field for t in bottoms),
        depth=max(t.depth for t in bottoms),
    )


_RULES: Mapping[str, Callable[[Any, list[Trace]], Trace | list[Trace]]] = {
    **dict.fromkeys(("Convolution", "Pooling", "InnerProduct", "LRN"), _window),
    **dict.fromkeys(("Concat", "Eltwise"), _merge),
    # Flatten: its values keep their places, over which an InnerProduct then sums
    **dict.fromkeys((*_ELEMENTWISE, "Flatten"), lambda layer, bottoms: bottoms[0]),
    "Deconvolution": _deconvolution,
    "Crop": _crop,
    "Slice": _slice,
}


def _parameters(layer: Any, shape: tuple[int, int, int]) -> list[tuple[int, float]]:
    """(number of values, lr_mult) of a layer's parameter blobs, on an input of `shape`."""
    channels, height, width = shape
    if layer.type in ("Convolution", "Deconvolution"):
        p = layer.convolution_param
        outputs, bias = p.num_output, p.bias_term
        sizes = [outputs * channels // p.group * _one(p.kernel_size, 0) ** 2]
    elif layer.type == "InnerProduct":
        p = layer.inner_product_param
        outputs, bias = p.num_output, p.bias_term
        sizes = [outputs * channels * height * width]
    elif layer.type == "Scale":
        outputs, bias, sizes = channels, layer.scale_param.bias_term, [channels]
    elif layer.type == "BatchNorm":   # mean, variance and their scale, which no solver learns
        return [(channels, 0.0), (channels, 0.0), (1, 0.0)]
    elif layer.type == "Bias":
        outputs, bias, sizes = 0, False, [channels] if len(layer.bottom) == 1 else []
    elif layer.type == "PReLU":
        outputs, bias, sizes = 0, False, [1 if layer.prelu_param.channel_shared else channels]
    else:
        return []
    sizes += [outputs] * bias
    rates = [param.lr_mult for param in layer.param] + [1.0] * len(sizes)
    return list(zip(sizes, rates, strict=False))


def table() -> str:
    """The measures of every net as text, one line each."""
    from .registry import NETS, build

    lines = [f"{'net':20} {'learned':>12} {'fixed':>12} {'conv layers':>12} {'rf':>6} {'stride':>7}"]
    for name in NETS:
        m = measure(build(name))
        lines.append(
            f"{name:20} {m.learned:12,} {m.fixed:12,} {m.conv_layers:12} {m.receptive_field:6} {m.stride:7}"
        )
    return "\n".join(lines)
