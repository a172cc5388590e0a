"""A net as a torch.nn.Module: one submodule per layer, parameters in the net's own memory."""
from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from ..errors import NetError
from ..function import FunctionLayer
from ..layer import Layer
from ..layers.recurrent import _Recurrent
from ..layers.sources import Source

if TYPE_CHECKING:
    from ..blob import Blob
    from ..net import Net

# Parameter names of layer types that have torch's meaning of them; of others they are "0", "1", ... as in Caffe.
_WEIGHT_BIAS = {"Convolution", "ConvolutionDepthwise", "DepthwiseConvolution", "Deconvolution", "InnerProduct",
                "Embed", "PReLU"}
# Types whose work is not one fixed graph of tensors.
_NO_GRAPH = {
    "DetectionOutput": "sorts and suppresses boxes on the host; export up to its bottoms and do that in the program",
    "Filter": "makes tops whose size depends on the data",
    "HDF5Output": "writes files",
    "ROIPooling": "reads its regions on the host",
    "PSROIPooling": "reads its regions on the host",
    "MultiBoxLoss": "reads its objects on the host",
}


@dataclasses.dataclass(frozen=True)
class Step:
    """One layer: its submodule's name, and which values (numbers in order of making) it takes and makes."""

    name: str
    layer: Layer
    bottoms: list[int]
    tops: list[int]


class LayerModule(torch.nn.Module):
    """One layer as a pure function of its bottoms; returns a list, one tensor per top."""

    def __init__(self, layer: FunctionLayer, parameters: Sequence[tuple[str, torch.nn.Parameter]]) -> None:
        super().__init__()
        self.layer = copy.copy(layer)   # what it notes about shapes must not reach the net's layer
        if isinstance(self.layer, _Recurrent):
            self.layer.reset()
        for name, parameter in parameters:
            self.register_parameter(name, parameter)

    def forward(self, *bottoms: torch.Tensor) -> list[torch.Tensor]:
        self.layer.top_shapes(*(tuple(b.shape) for b in bottoms))   # many layers note there what `compute` needs
        out = self.layer.compute(*bottoms, *self._parameters.values())
        return [out] if isinstance(out, torch.Tensor) else list(out)

    def extra_repr(self) -> str:
        return self.layer.type


class NetModule(torch.nn.Module):
    """The layers that make `outputs`, in net order; `module(*inputs)` returns {output: tensor}.

    `input_names` and `outputs` are the names of blobs. `blobs[v]` is the name of the blob that value v is; a layer
    in place makes a new value of the same blob, and `last[blob]` is the last.
    """

    def __init__(self, net: Net, end: str | None = None) -> None:
        super().__init__()
        if end is not None:
            net._layer_id(end)   # refuses an unknown name
        self.end = end
        self.blobs: list[str] = []
        steps, now, inputs = self._steps(net, end)
        given = set(inputs)   # an input that no layer reads is an output in Caffe, and nothing to compute
        self.outputs = [name for name in (net.top_names[end] if end is not None else net.outputs)
                        if now[name] not in given]
        if not self.outputs:
            raise NetError("nothing to export: no layer computes an output", file=net.file or None,
                           help="-end LAYER (end=LAYER) names the layer whose tops are wanted")
        needed = {now[name] for name in self.outputs}
        self.steps: list[Step] = []
        for step in reversed(steps):
            if needed.intersection(step.tops):
                needed.update(step.bottoms)
                self.steps.insert(0, step)
        self.input_values = [v for v in inputs if v in needed]
        self.input_names = [self.blobs[v] for v in self.input_values]
        self.last = {name: v for name, v in now.items() if v in needed or any(v in s.tops for s in self.steps)}
        parameters: dict[tuple[int, tuple[int, ...]], torch.nn.Parameter] = {}
        for step in self.steps:
            layer = _exportable(step.layer)
            own = []
            for name, blob, learned in zip(_names(layer), layer.blobs, layer.param_propagate_down, strict=True):
                key = id(blob._data), blob.shape
                parameters.setdefault(key, torch.nn.Parameter(blob.tensor(), requires_grad=learned))
                own.append((name, parameters[key]))   # parameters that layers share are one parameter here too
            self._modules[step.name] = LayerModule(layer, own)

    def _steps(self, net: Net, end: str | None) -> tuple[list[Step], dict[str, int], list[int]]:
        """The layers up to `end` with Splits resolved; the last value of each blob; the values of the inputs."""
        names, inputs = _module_names(net), []
        steps: list[Step] = []
        now: dict[str, int] = {}
        for layer in net.layers:
            tops = net.top_names[layer.name]
            bottoms = [now[name] for name in net.bottom_names[layer.name]]
            if layer.type == "Split":
                now.update({name: bottoms[0] for name in tops})
            else:
                made = list(range(len(self.blobs), len(self.blobs) + len(tops)))
                self.blobs += tops
                now.update(zip(tops, made, strict=True))
                if layer.type == "Input":
                    inputs += made
                else:
                    steps.append(Step(names[layer.name], layer, bottoms, made))
            if layer.name == end:
                break
        return steps, now, inputs

    def values(self, *inputs: torch.Tensor) -> dict[int, torch.Tensor]:
        """Every value, by its number."""
        if len(inputs) != len(self.input_names):
            raise NetError("another number of inputs", found=len(inputs), expected=", ".join(self.input_names),
                           help="give one tensor per input, in this order")
        found = dict(zip(self.input_values, inputs, strict=True))
        for step in self.steps:
            found.update(zip(step.tops, self.run(step, *(found[v] for v in step.bottoms)), strict=True))
        return found

    def run(self, step: Step, *bottoms: torch.Tensor) -> list[torch.Tensor]:
        """One layer's tops."""
        made: list[torch.Tensor] = self.get_submodule(step.name)(*bottoms)
        return made

    def forward(self, *inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        found = self.values(*inputs)
        return {name: found[self.last[name]] for name in self.outputs}


def torch_module(net: Net, end: str | None = None) -> NetModule:
    """The net as a module that computes its outputs, or with `end` (a layer's name) the tops of that layer.

    Parameters are the net's own memory: learning changes both. Their names in `state_dict()` are LAYER.weight and
    LAYER.bias, or LAYER.0, LAYER.1, ... where Caffe's parameters have no such meaning (BatchNorm). What is computed
    is the TEST phase. Recurrent layers begin at zeros in each call. Raises NetError naming the layer and line of
    what has no pure form: data, losses, Python layers, layers built for TRAIN.
    """
    return NetModule(net, end)


def parameter_blobs(net: Net) -> dict[str, Blob]:
    """{name in the module's state_dict: parameter blob} of all layers of a net."""
    names = _module_names(net)
    return {f"{names[layer.name]}.{name}": blob for layer in net.layers
            for name, blob in zip(_names(layer), layer.blobs, strict=True)}


def _names(layer: Layer) -> list[str]:
    if layer.type in _WEIGHT_BIAS or (layer.type == "Scale" and len(layer.layer_param.bottom) == 1):
        return ["weight", "bias"][: len(layer.blobs)]
    if layer.type in ("Bias", "Scale"):
        return ["bias"][: len(layer.blobs)]
    return [str(i) for i in range(len(layer.blobs))]


def _module_names(net: Net) -> dict[str, str]:
    """{layer: submodule}: the layer's name, dots (which part a module's path) as underscores, made unique."""
    taken = set(dir(torch.nn.Module()))
    names: dict[str, str] = {}
    for layer in net.layers:
        name = layer.name.replace(".", "_") or "_"
        while name in taken:
            name += "_"
        taken.add(name)
        names[layer.name] = name
    return names


def _exportable(layer: Layer) -> FunctionLayer:
    """The layer, if it is a pure function of tensors; NetError saying why not and what to do otherwise."""
    cut = "export a deploy prototxt without it, or only up to a layer before it (-end LAYER, end=LAYER)"
    if isinstance(layer, Source):
        why, help = "reads data", "export a deploy prototxt, whose inputs are layers of type Input"
    elif layer.is_loss or layer.type == "Accuracy":
        why, help = "compares with labels", f"it has no place in a deployed net: {cut}"
    elif layer.type in _NO_GRAPH:
        why, help = _NO_GRAPH[layer.type], cut
    elif not isinstance(layer, FunctionLayer):
        why, help = "is Python code", f"{cut}; or register it as a caffe.function.FunctionLayer"
    elif layer.phase == 0:
        why, help = "is built for training", "build the net with caffe.TEST, and remove `phase: TRAIN` from the layer"
    else:
        return layer
    raise NetError(f"{layer.type} cannot be exported: it {why}", file=layer.defined_at or None,
                   layer=layer.layer_param.name, help=help)
