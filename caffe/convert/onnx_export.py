"""A net as an ONNX file: torch's exporter on the net's module, with Caffe's names, checked before written."""
from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..errors import CaffeError
from ..files import atomic_write
from .check import Exported, Reference, first_line, need
from .module import NetModule, Step

if TYPE_CHECKING:
    from ..net import Net

OPSET = 18
_PROTOBUF_LIMIT = 2**31   # bytes of one message


def export_onnx(net: Net, path: str | os.PathLike[str], end: str | None = None,
                inputs: Mapping[str, np.ndarray] | None = None) -> Exported:
    """Write the net's outputs (or the tops of layer `end`) as ONNX of opset 18, shapes fixed, and say how exact it is.

    ONNX Runtime must compute what `net.forward()` does to 1e-4 of each output's largest magnitude, on `inputs` ({name:
    array}, whose shapes the net takes on) or on seeded normal noise; else nothing is written. Inputs, outputs and
    values in between have the blobs' names, nodes the layers', weights those of `torch_module(net).state_dict()` unless
    the exporter computes them into others (BatchNorm's); where a layer works in place the value before it is
    BLOB/LAYER, LAYER being the one that made it, and so is an output in place on an input. Raises NetError for a
    layer that cannot be exported, CaffeError when the check fails or a package is missing.
    """
    for package in ("onnx", "onnxscript"):
        need(package)
    runtime = need("onnxruntime")
    module = _Everything(net, end)
    reference = Reference(net, module, inputs)

    def everything() -> dict[str, np.ndarray]:
        return _run(runtime, _serialized(_convert(module, reference.tensors), net, path), reference)

    model = _convert(module, reference.tensors)
    _trim(model, module)
    content = _serialized(model, net, path)
    found = {module.onnx_outputs[name]: array for name, array in _run(runtime, content, reference).items()}
    checked = reference.exported(path, found, everything, "ONNX Runtime")
    atomic_write(path, content)
    return checked


class _Everything(NetModule):
    """Returns every value under a name, so that each stays a value of the graph. Those are the blobs' names, but a
    value that a later layer in place replaces is BLOB/LAYER, as is the result of one in place on an input."""

    def __init__(self, net: Net, end: str | None = None) -> None:
        super().__init__(net, end)
        self.named: dict[str, int] = {}
        for step in self.steps:
            for v in step.tops:
                blob = self.blobs[v]
                final = self.last[blob] == v and blob not in self.input_names
                self.named[blob if final else f"{blob}/{step.layer.name}"] = v
        own = {v: name for name, v in self.named.items()}
        self.onnx_outputs = {own[self.last[name]] if name in self.input_names else name: name for name in self.outputs}
        self.named.update({name: self.last[blob] for name, blob in self.onnx_outputs.items()})

    def forward(self, *inputs: torch.Tensor) -> list[torch.Tensor]:   # type: ignore[override]
        found = self.values(*inputs)
        return [found[v] for v in self.named.values()]

    def run(self, step: Step, *bottoms: torch.Tensor) -> list[torch.Tensor]:
        p = step.layer.layer_param.lrn_param
        if step.layer.type == "LRN" and p.norm_region == p.ACROSS_CHANNELS and torch.onnx.is_in_onnx_export():
            attributes = {"size": p.local_size, "alpha": p.alpha, "beta": p.beta, "bias": p.k}
            return [torch.onnx.ops.symbolic("LRN", bottoms, attributes, dtype=torch.float32, shape=bottoms[0].shape)]
        return super().run(step, *bottoms)


def _stable_sort(x: Any, stable: bool | None = None, dim: int = -1, descending: bool = False) -> Any:
    """aten::sort.stable, which torch's exporter lacks: TopK of all, which puts the first of equal ones first."""
    from onnxscript import opset18 as op

    count: Any = op.Constant(value_ints=[x.shape[dim]])
    return op.TopK(x, count, axis=dim, largest=int(descending))


def _convert(module: _Everything, inputs: tuple[torch.Tensor, ...]) -> Any:
    """The onnx_ir model of every value."""
    from onnxscript import optimizer

    loud = [logging.getLogger(name) for name in ("torch.onnx", "onnx_ir")]   # about torchvision, and about themselves
    levels = [logger.level for logger in loud]
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        for logger in loud:
            logger.setLevel(logging.ERROR)
        try:
            program = torch.onnx.export(module, inputs, dynamo=True, opset_version=OPSET, verbose=False,
                                        input_names=module.input_names, output_names=list(module.named),
                                        custom_translation_table={torch.ops.aten.sort.stable: _stable_sort})
        except Exception as e:
            raise CaffeError(f"torch's ONNX exporter fails on this net: {str(e).strip().splitlines()[-1]}",
                             help="`__cause__` has its report; try another last layer (-end LAYER, end=LAYER)") from e
        finally:
            for logger, level in zip(loud, levels, strict=True):
                logger.setLevel(level)
    assert program is not None
    model = program.model
    optimizer.fold_constants(model, should_fold=lambda node: node.op_type == "ConstantOfShape" or None)
    taken = {*module.input_names, *module.named}
    for value in [*model.graph.initializers.values(), *(value for node in model.graph for value in node.outputs)]:
        value.metadata_props.clear()
        if value.name in taken and not value.is_graph_output():   # a name of torch's that is a blob's too
            value.name += "/"
    layer_of = {v: step.layer.name for step in module.steps for v in step.tops}
    unused = set(layer_of.values())
    for node in model.graph:
        node.metadata_props.clear()   # stack traces of this machine
        layer = next((layer_of[module.named[v.name]] for v in node.outputs if v.name in module.named), None)
        if layer in unused:   # the first of a layer's nodes that makes a top has the layer's name
            unused.remove(layer)
            node.name = layer
    return model


def _trim(model: Any, module: _Everything) -> None:
    """Leave the net's outputs alone as outputs, and no Identity that only gave a value a second name."""
    graph, order = model.graph, list(module.onnx_outputs)
    kept = [value for value in graph.outputs if value.name in order]
    graph.outputs.clear()
    graph.outputs.extend(sorted(kept, key=lambda value: order.index(value.name)))
    for node in [node for node in graph if node.op_type == "Identity"]:
        source, value = node.inputs[0], node.outputs[0]
        fixed = source.producer() is None or source.is_graph_output()   # has a name that it must keep
        if value.is_graph_output():
            if fixed:
                continue
            graph.outputs[list(graph.outputs).index(value)] = source
        if not fixed and value.name in module.last:   # `value` is what its blob is at last
            value.name, source.name = f"{value.name}/", value.name
        value.replace_all_uses_with(source)
        graph.remove(node, safe=True)


def _serialized(model: Any, net: Net, path: str | os.PathLike[str]) -> bytes:
    import onnx_ir

    from .. import __version__

    model.producer_name, model.producer_version = "caffe-lungo", __version__
    model.graph.name = net.name or "net"
    proto = onnx_ir.to_proto(model)
    if proto.ByteSize() >= _PROTOBUF_LIMIT:
        raise CaffeError("the net is too large for one ONNX file", file=path, found=f"{proto.ByteSize()} bytes",
                         expected=f"less than {_PROTOBUF_LIMIT}", help="export to .safetensors or .pt2")
    content: bytes = proto.SerializeToString()
    return content


def _run(runtime: Any, content: bytes, reference: Reference) -> dict[str, np.ndarray]:
    """{output: array} of a model in ONNX Runtime."""
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        names = [value.name for value in session.get_outputs()]
        return dict(zip(names, session.run(names, reference.inputs), strict=True))
    except Exception as e:   # its errors have no common base
        raise CaffeError(f"ONNX Runtime cannot run this net: {first_line(e)}",
                         help="nothing was written; try another last layer (-end LAYER, end=LAYER)") from e
