"""What ONNX operators become in Caffe: activations, matrices, normalisation, arithmetic, reductions, shapes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..net_spec import Function, Top
from .onnx_graph import LAYERS, Attributes, Graph, Operator, Refused, operator

_LARGEST = float(np.finfo(np.float32).max)
_MAX, _AVE = 0, 1   # PoolingParameter
_PROD, _SUM, _MAXIMUM = 0, 1, 2   # EltwiseParameter


def _elementwise(type: str, **options: Any) -> Operator:
    return lambda g, node, a: g.add(node.output[0], type, [g.blob(node)], **options)


for _name, _layer in {
    "Relu": _elementwise("ReLU"), "Sigmoid": _elementwise("Sigmoid"), "Tanh": _elementwise("TanH"),
    "Exp": _elementwise("Exp"), "Log": _elementwise("Log"), "Abs": _elementwise("AbsVal"),
    "Softplus": _elementwise("BNLL"), "Neg": _elementwise("Power", scale=-1.0),
    "Sqrt": _elementwise("Power", power=0.5), "Reciprocal": _elementwise("Power", power=-1.0),
    "LeakyRelu": lambda g, node, a: g.add(node.output[0], "ReLU", [g.blob(node)],
                                          negative_slope=a.get("alpha", 0.01)),
    "Elu": lambda g, node, a: g.add(node.output[0], "ELU", [g.blob(node)], alpha=a.get("alpha", 1.0)),
}.items():
    LAYERS[_name] = _layer


@operator("Identity")
def identity(g: Graph, node: Any, a: Attributes) -> Top:
    return g.blob(node)


@operator("HardSigmoid", "HardSwish")
def hard_sigmoid(g: Graph, node: Any, a: Attributes) -> Top:
    """A line cut off at 0 and 1; HardSwish is x times it."""
    swish, name, top = node.op_type == "HardSwish", node.output[0], g.blob(node)
    scale, shift = (1 / 6, 0.5) if swish else (a.get("alpha", 0.2), a.get("beta", 0.5))
    line = g.add(g.label(name, "line"), "Power", [top], scale=scale, shift=shift)
    y = g.add(g.label(name, "gate") if swish else name, "Clip", [line], min=0.0, max=1.0)
    return g.add(name, "Eltwise", [top, y], operation=_PROD) if swish else y


@operator("Cast")
def cast(g: Graph, node: Any, a: Attributes) -> Top:
    before, after = (g.values[name].dtype for name in (node.input[0], node.output[0]))
    if before != after:
        raise Refused(f"to: from {before} to {after}; blobs hold float32")
    return g.blob(node)


@operator("Dropout")
def dropout(g: Graph, node: Any, a: Attributes) -> Top:
    training = g.array(node, 2)
    if training is not None and training.any():
        raise Refused("training_mode: it drops at random")
    return g.blob(node)


@operator("Gemm")
def gemm(g: Graph, node: Any, a: Attributes) -> Top:
    top, weight, bias = g.blob(node), g.array(node, 1), g.array(node, 2)
    if a.get("transA", 0):
        raise Refused("transA: 1")
    weight = a.get("alpha", 1.0) * (weight if a.get("transB", 0) else weight.T)
    params = [weight]
    if bias is not None and a.get("beta", 1.0):
        if bias.ndim == 2 and len(bias) > 1:
            raise Refused(f"C: shape {bias.shape}, another bias for each item")
        params.append(a.get("beta", 1.0) * np.broadcast_to(bias.reshape(-1), len(weight)))
    return g.add(node.output[0], "InnerProduct", [top], params, num_output=len(weight), bias_term=len(params) > 1)


@operator("MatMul")
def matmul(g: Graph, node: Any, a: Attributes) -> Top:
    top, weight = g.blob(node), g.array(node, 1)
    if weight.ndim != 2:
        raise Refused(f"input 1 of shape {weight.shape}: only one matrix")
    return g.add(node.output[0], "InnerProduct", [top], [weight.T], num_output=weight.shape[1], bias_term=False,
                 axis=len(g.shape(node.input[0])) - 1)


@operator("BatchNormalization")
def batch_norm(g: Graph, node: Any, a: Attributes) -> Top:
    top = g.blob(node)
    scale, shift, mean, var = (g.array(node, i) for i in range(1, 5))
    if a.get("training_mode", 0) or not a.get("spatial", 1):
        raise Refused("training_mode, spatial: only inference with one mean per channel")
    y = g.add(g.label(node.output[0], "norm"), "BatchNorm", [top], [mean, var, np.ones(1)], eps=a.get("epsilon", 1e-5))
    return g.add(node.output[0], "Scale", [y], [scale, shift], bias_term=True)


@operator("LRN")
def lrn(g: Graph, node: Any, a: Attributes) -> Top:
    if len(g.shape(node.input[0])) != 4:
        raise Refused(f"input of shape {g.shape(node.input[0])}: Caffe normalises images, N x C x H x W")
    return g.add(node.output[0], "LRN", [g.blob(node)], local_size=a["size"], alpha=a.get("alpha", 1e-4),
                 beta=a.get("beta", 0.75), k=a.get("bias", 1.0))


@operator("Softmax", "LogSoftmax")
def softmax(g: Graph, node: Any, a: Attributes) -> Top:
    shape, name = g.shape(node.input[0]), node.output[0]
    axis = a.get("axis", -1 if g.opset >= 13 else 1) % len(shape)
    if g.opset < 13 and math.prod(shape[axis + 1:]) != 1:
        raise Refused(f"axis {axis}: before opset 13 over all axes from there on at once")
    if node.op_type == "Softmax":
        return g.add(name, "Softmax", [g.blob(node)], axis=axis)
    return g.add(name, "Log", [g.add(g.label(name, "softmax"), "Softmax", [g.blob(node)], axis=axis)])


@operator("PRelu")
def prelu(g: Graph, node: Any, a: Attributes) -> Top:
    slope, shape = g.array(node, 1), g.shape(node.input[0])
    whole = slope.reshape((1,) * (len(shape) - slope.ndim) + slope.shape)
    if not 2 <= len(shape) <= 4 or slope.size not in (1, whole.shape[1]):
        raise Refused(f"slope of shape {slope.shape}: Caffe has one, or one per channel, in 2 to 4 axes")
    return g.add(node.output[0], "PReLU", [g.blob(node)], [slope.reshape(()) if slope.size == 1 else slope.ravel()],
                 channel_shared=slope.size == 1)


@operator("Clip")
def clip(g: Graph, node: Any, a: Attributes) -> Top:
    if g.opset < 11:
        least, most = a.get("min", -_LARGEST), a.get("max", _LARGEST)
    else:
        least, most = g.array(node, 1), g.array(node, 2)
        least, most = -_LARGEST if least is None else least, _LARGEST if most is None else most
    return _clip(g, node, float(least), float(most))


def _clip(g: Graph, node: Any, least: float, most: float, i: int = 0) -> Top:
    top, name = g.blob(node, i), node.output[0]
    if least == 0 and most in (6, _LARGEST, math.inf):
        return g.add(name, "ReLU6" if most == 6 else "ReLU", [top])
    return g.add(name, "Clip", [top], min=max(least, -_LARGEST), max=min(most, _LARGEST))


@operator("Add", "Sub", "Mul", "Div", "Sum", "Max", "Min", "Mean")
def arithmetic(g: Graph, node: Any, a: Attributes) -> Top:
    """Equal shapes: Eltwise. A number: Power or Clip. A blob or constant over a run of axes: Scale or Bias."""
    op, name, shape = node.op_type, node.output[0], g.shape(node.output[0])
    constants = [i for i, value in enumerate(node.input) if value in g.constant]
    if len(node.input) == 1:
        return g.blob(node)
    if len(constants) == 1 and len(node.input) == 2 and op != "Mean":
        return _with_constant(g, node, 1 - constants[0], g.values[node.input[constants[0]]])
    tops, shapes = [g.blob(node, i) for i in range(len(node.input))], [g.shape(value) for value in node.input]
    if all(one == shape for one in shapes):
        if op in ("Add", "Sub", "Sum", "Mean"):
            share = {"Sub": [1.0, -1.0], "Mean": [1 / len(tops)] * len(tops)}.get(op)
            return g.add(name, "Eltwise", tops, operation=_SUM, **({"coeff": share} if share else {}))
        if op in ("Mul", "Max"):
            return g.add(name, "Eltwise", tops, operation=_PROD if op == "Mul" else _MAXIMUM)
        raise Refused(f"no Caffe layer computes {op} of two blobs")
    if op not in ("Add", "Mul", "Sum", "Sub") or len(tops) != 2 or shape not in shapes:
        raise Refused(f"shapes {shapes} differ")
    large = shapes.index(shape)
    if op == "Sub" and large == 1:
        raise Refused(f"shapes {shapes}: the smaller is not taken off the larger")
    small, (start, stop) = tops[1 - large], _run_of_axes(shapes[1 - large], shape, widest=True)
    small = g.reshape(g.label(name, "operand"), small, shapes[1 - large], shape[start:stop])
    if op == "Sub":
        small = g.add(g.label(name, "negative"), "Power", [small], scale=-1.0)
    return g.add(name, "Scale" if op == "Mul" else "Bias", [tops[large], small], axis=start)


def _with_constant(g: Graph, node: Any, i: int, value: np.ndarray) -> Top:
    """op(blob, value), i = 0, or op(value, blob), i = 1."""
    op, name, top, shape = node.op_type, node.output[0], g.blob(node, i), g.shape(node.input[i])
    if g.shape(name) != shape:
        raise Refused(f"the constant of shape {value.shape} widens {shape}")
    inverse, add = i == 1 and op == "Div", op in ("Add", "Sum", "Sub")
    if inverse:
        top, op = g.add(g.label(name, "inverse"), "Power", [top], power=-1.0), "Mul"
    if op == "Div":
        value = 1 / value
    if value.size == 1:
        number = float(value.reshape(()))
        if op in ("Max", "Min"):
            return _clip(g, node, *((number, _LARGEST) if op == "Max" else (-_LARGEST, number)), i)
        if add:
            flip = {"scale": -1.0} if op == "Sub" and i == 1 else {}
            return g.add(name, "Power", [top], shift=-number if op == "Sub" and i == 0 else number, **flip)
        return g.add(name, "Power", [top], scale=number)
    if op in ("Max", "Min"):
        raise Refused(f"a constant of shape {value.shape}: Caffe clips at one number")
    start, stop = _run_of_axes(value.shape, shape)
    value = value.reshape(shape[start:stop])
    if op == "Sub" and i == 1:
        top = g.add(g.label(name, "negative"), "Power", [top], scale=-1.0)
    if add:
        value = -value if op == "Sub" and i == 0 else value
        if _takes_bias(g, node, i, top, start, stop):
            top.fn.params["bias_term"] = True
            g.params[name] = [*g.params.pop(node.input[i]), np.ascontiguousarray(value, np.float32)]
            g.n[name] = g.n.tops.pop(node.input[i])
            return top
        return g.add(name, "Bias", [top], [value], axis=start, num_axes=stop - start)
    return g.add(name, "Scale", [top], [value], axis=start, num_axes=stop - start)


def _takes_bias(g: Graph, node: Any, i: int, top: Top, start: int, stop: int) -> bool:
    """Whether the constant is the bias that an InnerProduct, read by this node alone, was left without."""
    last = len(g.shape(node.input[i])) - 1
    return (top.fn.type_name == "InnerProduct" and not top.fn.params["bias_term"] and (start, stop) == (last, last + 1)
            and g.n.tops.get(node.input[i]) is top and len(g.readers[node.input[i]]) == 1
            and node.input[i] not in g.outputs)


def _run_of_axes(small: Sequence[int], large: Sequence[int], widest: bool = False) -> tuple[int, int]:
    """The axes start to stop that `small`, aligned at the end as in NumPy, covers of `large`; 1 elsewhere. `widest`:
    with leading axes of size 1 in both, which grow with the batch if it is a blob."""
    whole = [1] * (len(large) - len(small)) + list(small)
    varied = [i for i, n in enumerate(whole) if n != 1]
    start, stop = (varied[0], varied[-1] + 1) if varied else (0, 0)
    while widest and start > 0 and whole[start - 1] == large[start - 1]:
        start -= 1
    if tuple(whole[start:stop]) != tuple(large[start:stop]):
        raise Refused(f"shapes {tuple(large)} and {tuple(small)}: Caffe spreads over one run of axes")
    return start, stop


@operator("Pow")
def power(g: Graph, node: Any, a: Attributes) -> Top:
    exponent = g.array(node, 1)
    if exponent is None or exponent.size != 1:
        raise Refused("the exponent is not one number")
    return g.add(node.output[0], "Power", [g.blob(node)], power=float(exponent.reshape(())))


@operator("ReduceMean", "ReduceSum", "ReduceMax", "ReduceL1", "ReduceSumSquare")
def reduce(g: Graph, node: Any, a: Attributes) -> Top:
    """Over the trailing axes: Reduction, or a pooling for the mean and maximum over an image."""
    shape, name, op = g.shape(node.input[0]), node.output[0], node.op_type
    given = a["axes"] if "axes" in a else g.array(node, 1)
    if (given is None or len(given) == 0) and a.get("noop_with_empty_axes", 0):
        return g.blob(node)
    axes = sorted({int(axis) % len(shape) for axis in given}) if given is not None else list(range(len(shape)))
    if axes != list(range(len(shape) - len(axes), len(shape))):
        raise Refused(f"axes {axes} of {len(shape)}: Caffe reduces trailing axes")
    if axes == [2, 3] and op in ("ReduceMean", "ReduceMax"):
        keep = a.get("keepdims", 1)
        y = g.add(name if keep else g.label(name, "pooled"), "Pooling", [g.blob(node)], global_pooling=True,
                  pool=_AVE if op == "ReduceMean" else _MAX)
        return y if keep else g.reshape(name, y, (*shape[:2], 1, 1), shape[:2])
    if op == "ReduceMax":
        raise Refused(f"axes {axes}: Caffe has the maximum over an image alone")
    operation = {"ReduceSum": 1, "ReduceL1": 2, "ReduceSumSquare": 3, "ReduceMean": 4}[op]
    same = g.shape(name) == shape[:axes[0]]
    y = g.add(name if same else g.label(name, "reduced"), "Reduction", [g.blob(node)], operation=operation,
              axis=axes[0])
    return g.reshape(name, y, shape[:axes[0]], g.shape(name))


@operator("Reshape", "Squeeze", "Unsqueeze", "Flatten")
def reshape(g: Graph, node: Any, a: Attributes) -> Top:
    return g.reshape(node.output[0], g.blob(node), g.shape(node.input[0]), g.shape(node.output[0]))


@operator("Transpose")
def transpose(g: Graph, node: Any, a: Attributes) -> Top:
    axes = len(g.shape(node.input[0]))
    order = list(a.get("perm", range(axes - 1, -1, -1)))
    return g.blob(node) if order == list(range(axes)) else g.add(node.output[0], "Permute", [g.blob(node)], order=order)


@operator("Concat")
def concat(g: Graph, node: Any, a: Attributes) -> Top:
    tops = [g.blob(node, i) for i in range(len(node.input))]
    return g.add(node.output[0], "Concat", tops, axis=a["axis"] % len(g.shape(node.output[0])))


@operator("Split")
def split(g: Graph, node: Any, a: Attributes) -> list[Top]:
    axis = a.get("axis", 0) % len(g.shape(node.input[0]))
    ends = list(itertools.accumulate(g.shape(name)[axis] for name in node.output))
    tops = Function("Slice", [g.blob(node)], dict(axis=axis, slice_point=ends[:-1], ntop=len(ends))).tops
    for name, top in zip(node.output, tops, strict=True):
        g.n[name] = top
    return list(tops)


@operator("Slice")
def slice_(g: Graph, node: Any, a: Attributes) -> Top:
    shape, top, name = g.shape(node.input[0]), g.blob(node), node.output[0]
    if g.opset < 10:
        starts, axes, steps = a["starts"], a.get("axes"), None
    else:
        starts, axes, steps = g.array(node, 1), g.array(node, 3), g.array(node, 4)
    if steps is not None and any(step != 1 for step in steps):
        raise Refused(f"steps {list(map(int, steps))}: Caffe cuts without steps")
    todo = []
    for i, axis in enumerate(range(len(starts)) if axes is None else axes):
        at, start = int(axis) % len(shape), int(starts[i])
        if shape[at] != g.shape(name)[at]:
            todo.append((at, max(0, start + shape[at]) if start < 0 else start))
    for at, start in todo:
        label = name if (at, start) == todo[-1] else g.label(name, "cut")
        top = g.cut(label, top, at, start, start + g.shape(name)[at], shape[at])
    return top
