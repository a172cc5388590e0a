"""A net as a torch program (.pt2): run by PyTorch alone, without this package."""
from __future__ import annotations

import io
import os
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..errors import CaffeError
from ..files import atomic_write
from .check import Exported, Reference, first_line
from .module import torch_module

if TYPE_CHECKING:
    from ..net import Net


def export_torch(net: Net, path: str | os.PathLike[str], end: str | None = None,
                 inputs: Mapping[str, np.ndarray] | None = None) -> Exported:
    """Write the net's outputs (or the tops of layer `end`) as a program for `torch.export.load`, shapes fixed.

    Read back, it must compute what `net.forward()` does to 1e-4 of each output's largest magnitude (see `export_onnx`);
    else nothing is written. It takes the inputs in the net's order and returns {output: tensor}. Raises NetError for a
    layer that cannot be exported, CaffeError when the check fails.
    """
    module = torch_module(net, end)
    reference = Reference(net, module, inputs)
    content = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")   # of torch about itself
        try:
            program = torch.export.export(module, reference.tensors)
        except Exception as e:
            raise CaffeError(f"torch.export fails on this net: {first_line(e)}", file=path,
                             help="export up to another layer (-end LAYER, end=LAYER)") from e
        for node in program.graph.nodes:
            node.meta.pop("stack_trace", None)   # paths of this machine
        torch.export.save(program, content)
        content.seek(0)
        found = torch.export.load(content).module()(*reference.tensors)
    checked = reference.exported(path, {name: value.detach().numpy() for name, value in found.items()},
                                 lambda: _blobs(reference), "the torch program")
    atomic_write(path, content.getvalue())
    return checked


def _blobs(reference: Reference) -> dict[str, np.ndarray]:
    """{blob: array} as the module computes them, for all blobs of the net."""
    with torch.no_grad():
        values = reference.module.values(*reference.tensors)
    return {name: values[v].numpy() for name, v in reference.module.last.items()}
