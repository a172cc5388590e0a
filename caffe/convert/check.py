"""What an export is held to: the net's own forward pass on the same input, blob by blob."""
from __future__ import annotations

import dataclasses
import importlib
import os
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import torch

from .. import state
from ..errors import CaffeError, ShapeError
from .module import NetModule, _Recurrent

if TYPE_CHECKING:
    from ..net import Net

# Of a blob's largest magnitude: what other kernels' order of summation makes of float32, ten times over.
TOLERANCE = 1e-4


@dataclasses.dataclass(frozen=True)
class Exported:
    """What was written: shapes of inputs and outputs by name, and the largest difference of an output from the net's,
    as a part of that output's largest magnitude."""

    path: str
    inputs: dict[str, tuple[int, ...]]
    outputs: dict[str, tuple[int, ...]]
    difference: float


def need(package: str) -> ModuleType:
    """An optional package, imported. Raises CaffeError saying how to install it."""
    try:
        return importlib.import_module(package)
    except ImportError as e:
        raise CaffeError(f"this needs the package {package}", help="pip install 'caffe-lungo[export]'") from e


def first_line(problem: Exception) -> str:
    """Of an exception's text; its type where it has none."""
    return (str(problem).strip().splitlines() or [type(problem).__name__])[0]


class Reference:
    """The net's own results for `inputs` ({name: array}; missing ones are drawn from a normal distribution)."""

    def __init__(self, net: Net, module: NetModule, inputs: Mapping[str, np.ndarray] | None = None) -> None:
        self.module = module
        if state.mode() == "GPU":
            raise CaffeError("exporting works on the host", help="caffe.set_mode_cpu() before it")
        unknown = set(inputs or ()) - set(module.input_names)
        if unknown:
            raise CaffeError("these are no inputs of what is exported", file=net.file, found=sorted(unknown),
                             expected=", ".join(module.input_names), help="name the inputs as the prototxt does")
        random = np.random.default_rng(0)
        for name in module.input_names:
            blob = net.blobs[name]
            if inputs and name in inputs:
                blob.reshape(*inputs[name].shape)
                blob.data[...] = inputs[name]
            elif blob.count:
                blob.data[...] = random.standard_normal(blob.shape)
            else:
                raise ShapeError(f"input '{name}' has no shape", file=net.file,
                                 help="give its Input layer `input_param { shape { ... } }`, or an array to check with")
        self.inputs = {name: net.blobs[name].data.copy() for name in module.input_names}
        for layer in net.layers:
            if isinstance(layer, _Recurrent):
                layer.reset()
        net.forward(end=module.end)
        self.blobs = {name: net.blobs[name].data.copy() for name in module.last}

    @property
    def tensors(self) -> tuple[torch.Tensor, ...]:
        return tuple(torch.from_numpy(array.copy()) for array in self.inputs.values())

    def differences(self, found: Mapping[str, np.ndarray]) -> dict[str, float]:
        """{blob, in net order: largest difference as a part of its largest magnitude}; inf where a NaN or the shape
        differs."""
        return {name: _difference(np.asarray(found[name]), self.blobs[name]) for name in self.blobs if name in found}

    def exported(self, path: str | os.PathLike[str], found: Mapping[str, np.ndarray],
                 everything: Callable[[], Mapping[str, np.ndarray]], by: str) -> Exported:
        """Hold `found` ({output: array}, computed by `by`) against the net. Raises CaffeError when they differ, naming
        the first blob of `everything()` that does."""
        differences = self.differences(found)
        worst = max(differences[name] for name in self.module.outputs)
        if not worst <= TOLERANCE:
            apart = [f"'{name}' by {d:.2g}" for name, d in self.differences({**everything(), **found}).items()
                     if not d <= TOLERANCE]
            raise CaffeError(f"{by} computes something else than this net, so nothing was written", file=path,
                             found=f"outputs differ by {worst:.2g} of their largest magnitude, first {apart[0]}",
                             expected=f"at most {TOLERANCE:g}",
                             help="if the input is unlike the net's data try -input with an example of it; "
                                  "otherwise please report the net")
        return Exported(os.fspath(path), {n: a.shape for n, a in self.inputs.items()},
                        {n: self.blobs[n].shape for n in self.module.outputs}, worst)


def _difference(found: np.ndarray, expected: np.ndarray) -> float:
    if found.shape != expected.shape:
        return np.inf
    same = (found == expected) | (np.isnan(found) & np.isnan(expected))   # infinities too
    if same.all():
        return 0.0
    magnitude = np.abs(expected[np.isfinite(expected)]).max(initial=0)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        difference = np.abs(found[~same].astype(np.float64) - expected[~same]).max() / magnitude
    return float(difference) if np.isfinite(difference) else np.inf
