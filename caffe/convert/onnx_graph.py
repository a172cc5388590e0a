"""What the functions that turn ONNX operators into Caffe layers work on: values of a run, and the net so far."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..net_spec import Function, NetSpec, Top


class Refused(Exception):
    """A node has no equivalent; the text says which attribute or input, and why."""


class Graph:
    """What the operators' functions see: nodes, values, and the net under construction.

    `values`: every value of the run by name. `constant`: names of those that do not depend on the input. `tops`: the
    Caffe blob of each other value. `padding`: value -> (begin, end) per spatial axis of zeros that its reader adds.
    """

    def __init__(self, nodes: Sequence[Any], values: dict[str, np.ndarray], constant: set[str],
                 outputs: Sequence[str], opset: int) -> None:
        self.values, self.constant, self.outputs, self.opset = values, constant, outputs, opset
        self.n, self.tops = NetSpec(), dict[str, Top]()
        self.params: dict[str, list[np.ndarray]] = {}
        self.padding: dict[str, list[tuple[int, int]]] = {}
        self.maker = {name: node for node in nodes for name in node.output}
        self.readers: dict[str, list[Any]] = {}
        for node in nodes:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)

    def shape(self, name: str) -> tuple[int, ...]:
        return self.values[name].shape

    def array(self, node: Any, i: int) -> Any:
        """The constant input i as an array, None when absent. Raises Refused when it depends on the net's input."""
        if i >= len(node.input) or not node.input[i]:
            return None
        if node.input[i] not in self.constant:
            raise Refused(f"input {i} ({node.input[i]}) is computed by the net, and must be constant")
        return self.values[node.input[i]]

    def blob(self, node: Any, i: int = 0) -> Top:
        """The Caffe blob of input i. Raises Refused when it is constant."""
        if node.input[i] in self.constant:
            raise Refused(f"input {i} ({node.input[i]}) is constant, and no Caffe layer holds it there")
        return self.tops[node.input[i]]

    def label(self, name: str, what: str) -> str:
        """A name for a layer that helps to make `name`, which no value or layer has."""
        label = f"{name}/{what}"
        while label in self.n.tops or label in self.values:
            label += "_"
        return label

    def add(self, name: str, type: str, bottoms: Sequence[Top], params: Any = (), **options: Any) -> Top:
        """A layer with one top, both called `name`, with parameter arrays."""
        self.n[name] = top = Function(type, bottoms, options).tops[0]
        if params:
            self.params[name] = [np.asarray(array, np.float32, order="C") for array in params]
        return top

    def reshape(self, name: str, top: Top, old: Sequence[int], new: Sequence[int]) -> Top:
        """A Reshape to `new` that keeps the batch open where the batch axis stays."""
        if tuple(old) == tuple(new):
            return top
        dims = list(new)
        if old and new and old[0] == new[0]:
            dims[0] = 0
        return self.add(name, "Reshape", [top], shape=dict(dim=dims))

    def cut(self, name: str, top: Top, axis: int, start: int, stop: int, size: int) -> Top:
        """Elements start to stop of an axis, by a Slice whose other tops are silenced."""
        points = [point for point in (start, stop) if 0 < point < size]
        if not points:
            return top
        tops = Function("Slice", [top], dict(axis=axis, slice_point=points, ntop=len(points) + 1)).tops
        wanted = tops[1 if start > 0 else 0]
        self.n[name] = wanted
        for other in tops:
            if other is not wanted:
                rest = self.label(name, "rest")
                self.n[rest] = other
                self.n[self.label(rest, "silence")] = Function("Silence", [other], dict(ntop=0))
        return wanted


Attributes = dict[str, Any]
Operator = Callable[[Graph, Any, Attributes], Any]   # (graph, node, attributes) to a blob, or one per output
LAYERS: dict[str, Operator] = {}


def operator(*names: str) -> Callable[[Operator], Operator]:
    """Decorator: what the ONNX operators of these names become. It raises Refused where no layer of Caffe's gives
    exactly the same numbers."""
    def register(function: Operator) -> Operator:
        LAYERS.update(dict.fromkeys(names, function))
        return function
    return register
