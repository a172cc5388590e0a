"""ONNX into a deploy net: the graph is run once by onnxruntime, its nodes become Caffe layers, both must agree.

The run gives every value's shape, the values of what does not depend on the input (folded), and what our net is
compared with. What each operator becomes is in onnx_layers.py and onnx_windows.py.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .. import memory
from ..errors import CaffeError, NetError, ShapeError
from ..net_spec import Function
from . import onnx_layers, onnx_windows  # noqa: F401  they fill LAYERS
from .check import first_line, need
from .imported import SEED, Imported
from .onnx_graph import LAYERS, Graph, Refused

_FLOAT = 1   # onnx.TensorProto.FLOAT
_RANDOM = {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
_NO_LAYER = "no Caffe layer computes this"


def import_onnx(path: str | os.PathLike[str], input_shape: Sequence[int] | None = None) -> Imported:
    """The net of an .onnx file, compared with onnxruntime's result on a seeded input.

    `input_shape` gives the dimensions of a graph whose input has open ones. Raises NetError when the file is damaged,
    or naming every node that has no exact equivalent and why, ShapeError when the shape does not fit, CaffeError
    where the packages onnx or onnxruntime are missing.
    """
    onnx, file = need("onnx"), os.fspath(path)
    model = _read(onnx, file)
    initializers = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in initializers]
    shapes = _input_shapes(inputs, input_shape, file)
    nodes = list(_needed(model.graph))
    constant = initializers | {""}
    for node in nodes:
        if node.op_type in ("Shape", "Size") or (
                node.op_type not in _RANDOM and all(name in constant for name in node.input)):
            constant |= set(node.output)
    if any(_foreign(node) for node in nodes):   # these are not run
        raise _cannot(file, [_describe(node, _foreign(node) or _NO_LAYER) for node in nodes if _foreign(node) or (
            node.op_type not in LAYERS and node.output[0] not in constant)])
    draw = np.random.default_rng(SEED)
    fed = {name: draw.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    values = _run(onnx, model, nodes, fed, file)
    outputs = [value.name for value in model.graph.output]
    opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=1)
    graph = Graph(nodes, values, constant, outputs, opset)
    for name, shape in shapes.items():
        graph.tops[name] = graph.add(name, "Input", [], shape=dict(dim=list(shape)))
    problems = [f"output {name!r} does not depend on the input" for name in outputs if name in constant]
    problems += [problem for node in nodes if node.output[0] not in constant
                 for problem in _translate(graph, node, _attributes(onnx, node))]
    if problems:
        raise _cannot(file, problems)
    for name in outputs:
        if graph.n.tops.get(name) is not graph.tops[name]:   # another value under a second name: y = x
            graph.add(name, "Power", [graph.tops[name]])
    definition = graph.n.to_proto()
    definition.name = model.graph.name
    expected = {name: value for name, value in values.items() if name in graph.n.tops}
    try:
        return Imported(definition, graph.params, fed, expected, outputs).check()
    except CaffeError as problem:
        problem.file = problem.file or file
        raise


def _translate(graph: Graph, node: Any, attributes: dict[str, Any]) -> list[str]:
    """Add a node's layers to the net; returns why that is impossible, [] when it is not."""
    try:
        if any(name in graph.padding for name in node.input) and node.op_type not in ("Conv", "MaxPool", "AveragePool"):
            raise Refused("it reads the result of a Pad, which only convolution and pooling can take over")
        if node.op_type not in LAYERS:
            raise Refused(_NO_LAYER)
        if not all(np.size(graph.values[name]) for name in node.output if name):
            raise Refused("its result has no elements")
        with np.errstate(all="ignore"):   # of weights that are infinite, say
            made = LAYERS[node.op_type](graph, node, attributes)
        graph.tops.update(zip(node.output, made if isinstance(made, list) else [made], strict=False))
        if any(name in graph.readers or name in graph.outputs for name in node.output if name not in (*graph.tops, "")):
            raise Refused(f"only its first output has an equivalent, and {list(node.output[1:])} is read")
    except Refused as reason:
        for name in node.output:   # so that the nodes behind it are looked at too
            graph.tops.setdefault(name, Function("Input", [], {}).tops[0])
        return [_describe(node, str(reason))]
    return []


def _read(onnx: Any, file: str) -> Any:
    """The checked model. Raises NetError."""
    try:
        model = onnx.load_model(file, load_external_data=False)
    except FileNotFoundError as problem:
        raise NetError("is not there", file=file, help="check the path and the working folder") from problem
    except Exception as problem:   # protobuf's errors differ between its runtimes
        raise NetError(f"is damaged, or no ONNX file: {problem}", file=file,
                       help="export or download it again") from problem
    tensors = [*model.graph.initializer, *(attribute.t for node in model.graph.node for attribute in node.attribute)]
    if any(onnx.external_data_helper.uses_external_data(tensor) for tensor in tensors):
        raise NetError("keeps weights in other files, which are not read", file=file,
                       help="torch.onnx.export(..., external_data=False), or onnx.save(onnx.load(file), new)")
    try:
        onnx.checker.check_model(model)
        names = [part.name for part in (model.graph, *model.graph.node, *model.graph.input, *model.graph.output)]
        for node in model.graph.node:
            names += [*node.input, *node.output]
        if any(isinstance(name, bytes) for name in names):   # protobuf hands over as bytes what is no text
            raise ValueError("a name is not text")
    except Exception as problem:
        raise NetError(f"is no valid ONNX model: {first_line(problem)}", file=file,
                       help="export it again") from problem
    if any(attribute.ref_attr_name for node in model.graph.node for attribute in node.attribute):
        raise NetError("refers to attributes of a function that is not there", file=file, help="export it again")
    if len(model.functions) or len(model.graph.sparse_initializer):
        raise NetError("has functions of its own or sparse weights", file=file,
                       help="onnx.inliner.inline_local_functions, and dense weights")
    return model


def _input_shapes(inputs: Sequence[Any], given: Sequence[int] | None, file: str) -> dict[str, tuple[int, ...]]:
    shapes = {}
    for value in inputs:
        kind = value.type.tensor_type
        dims = [dim.dim_value if dim.HasField("dim_value") else None for dim in kind.shape.dim]
        if kind.elem_type != _FLOAT or not kind.HasField("shape"):
            raise NetError(f"input {value.name!r} is no float32 tensor of known rank", file=file,
                           help="blobs hold float32: export the model in that type")
        if None in dims and given is None:
            raise ShapeError(f"input {value.name!r} has open dimensions", file=file,
                             found=[dim.dim_param or dim.dim_value for dim in kind.shape.dim],
                             help="give -input_shape 1,3,224,224")
        if given is not None and (None in dims or len(inputs) == 1):
            if len(given) != len(dims) or any(a not in (b, None) for a, b in zip(dims, given, strict=True)):
                raise ShapeError(f"-input_shape does not fit input {value.name!r}", file=file, found=list(given),
                                 expected=["any" if dim is None else dim for dim in dims], help="correct -input_shape")
            dims = list(given)
        shape = tuple(dim or 0 for dim in dims)
        if min(shape, default=1) < 1 or 8 * math.prod(shape) > memory.available():
            raise ShapeError(f"input {value.name!r} has a size that cannot be run", file=file, found=dims,
                             help="give -input_shape")
        shapes[value.name] = shape
    if not shapes:
        raise NetError("the graph has no input", file=file, help="export a model that reads something")
    return shapes


def _needed(graph: Any) -> Iterator[Any]:
    """The nodes that the outputs depend on, in order."""
    wanted, kept = {value.name for value in graph.output}, []
    for node in reversed(graph.node):
        if wanted & set(node.output):
            wanted |= set(node.input)
            kept.append(node)
    return reversed(kept)


def _run(onnx: Any, model: Any, nodes: Sequence[Any], fed: dict[str, np.ndarray], file: str) -> dict[str, np.ndarray]:
    """Every value of the graph, initializers included, for these inputs. Raises NetError, ShapeError."""
    onnxruntime = need("onnxruntime")
    traced = onnx.ModelProto()
    traced.CopyFrom(model)
    for value in traced.graph.input:
        for dim, size in zip(value.type.tensor_type.shape.dim, fed.get(value.name, np.empty(0)).shape, strict=False):
            dim.dim_value = size
    del traced.graph.value_info[:]   # claims of the file; inferred anew
    try:
        inferred = onnx.shape_inference.infer_shapes(traced, data_prop=True)
        total = sum(math.prod(dim.dim_value or 1 for dim in value.type.tensor_type.shape.dim)
                    for value in [*inferred.graph.value_info, *inferred.graph.output])
        if 12 * total > memory.available():
            raise ShapeError("the net would not fit into memory", file=file, found=f"{total} numbers",
                             help="use a smaller -input_shape")
        outputs = list(dict.fromkeys(name for node in nodes for name in node.output if name))
        del traced.graph.output[:]
        traced.graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs)
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 4
        session = onnxruntime.InferenceSession(traced.SerializeToString(), options, providers=["CPUExecutionProvider"])
        used = {value.name for value in session.get_inputs()}
        found = session.run(outputs, {name: array for name, array in fed.items() if name in used})
        return {**{tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}, **fed,
                **dict(zip(outputs, found, strict=True))}
    except CaffeError:
        raise
    except Exception as problem:   # onnxruntime has a family of errors for each status
        raise NetError(f"cannot be run by onnxruntime: {first_line(problem)}", file=file,
                       help="check the model, and -input_shape") from problem


def _attributes(onnx: Any, node: Any) -> dict[str, Any]:
    found = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    return {name: value.decode(errors="replace") if isinstance(value, bytes) else value
            for name, value in found.items()}


def _foreign(node: Any) -> str:
    """Why a node must not be run, "" for one that may."""
    if any(attribute.HasField("g") or len(attribute.graphs) for attribute in node.attribute):
        return "it has a graph of its own"
    return "" if node.domain in ("", "ai.onnx") else f"it is of the domain {node.domain!r}"


def _describe(node: Any, reason: str) -> str:
    return f"node {node.name or node.output[0]!r} ({node.op_type}): {reason}"


def _cannot(file: str, problems: Sequence[str]) -> NetError:
    lines = "".join(f"\n  {problem}" for problem, _ in Counter(problems).items())
    return NetError(f"{len(problems)} of its nodes have no exact equivalent in Caffe; nothing was written:{lines}\n",
                    file=file, help="export the model without these, up to the blob before them")
