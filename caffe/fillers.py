"""Weight fillers: constant uniform gaussian positive_unitball xavier msra bilinear, with Caffe's fans."""
from __future__ import annotations

import math
from typing import Any

import torch

from . import memory, state
from .blob import Blob
from .errors import LayerError, ShapeError
from .proto import caffe_pb2

_FAN_IN, _FAN_OUT, _AVERAGE = 0, 1, 2
_SMALL = 2**22   # elements to allocate without a look at the memory that is left


def fill(blob: Blob, filler: Any, layer: str = "", where: str = "") -> None:
    """Fill a blob as a FillerParameter says, or with a number.

    Raises LayerError for an unknown type or a shape the type cannot fill.
    Raises ShapeError, before anything is allocated, when the memory that is left does not hold the blob.
    """
    if isinstance(filler, (int, float)):
        filler = caffe_pb2.FillerParameter(type="constant", value=filler)
    try:
        function = _FILLERS[filler.type]
    except KeyError:
        raise LayerError(f"unknown filler type '{filler.type}'", file=where or None, layer=layer or None,
                         expected=", ".join(sorted(_FILLERS)), help="correct the filler's type") from None
    if blob.count > _SMALL and 4 * blob.count > memory.available():
        raise ShapeError(f"blob {blob.name} does not fit into the memory that is left", file=where or None,
                         layer=layer or None, found=f"{4 * blob.count} bytes for shape {blob.shape}",
                         expected=f"at most {memory.available()} bytes",
                         help="check the layer's num_output, kernel size and bottom")
    if function is constant and filler.value == 0:
        return   # a new blob is all zeros, and takes no memory before somebody writes
    try:
        blob.put(function(blob.shape, filler))
    except ValueError as e:
        raise LayerError(f"filler '{filler.type}' cannot fill blob {blob.name}: {e}", file=where or None,
                         layer=layer or None, found=blob.shape, help="use another filler or kernel size") from None


def _fan(shape: tuple[int, ...], filler: Any) -> float:
    # Caffe's definition: count / first axis in, count / second axis out. For Deconvolution, whose weights are
    # (in, out / group, k, k), "in" is therefore (out / group) k k.
    count = math.prod(shape)
    fan_in = count / shape[0] if shape and shape[0] else 1
    fan_out = count / shape[1] if len(shape) > 1 and shape[1] else count
    return {_FAN_IN: fan_in, _FAN_OUT: fan_out, _AVERAGE: (fan_in + fan_out) / 2}[filler.variance_norm]


def constant(shape: tuple[int, ...], filler: Any) -> torch.Tensor:
    return torch.empty(shape).fill_(filler.value)


def uniform(shape: tuple[int, ...], filler: Any) -> torch.Tensor:
    """U(min, max)."""
    if filler.min > filler.max:
        raise ValueError(f"min {filler.min} is above max {filler.max}")
    return torch.empty(shape).uniform_(filler.min, filler.max, generator=state.generator())


def gaussian(shape: tuple[int, ...], filler: Any) -> torch.Tensor:
    """N(mean, std); with `sparse` each weight is kept with probability sparse / first axis."""
    out = torch.empty(shape).normal_(filler.mean, filler.std, generator=state.generator())
    if filler.sparse >= 0:
        keep = min(1.0, filler.sparse / shape[0])
        out *= torch.empty(shape).bernoulli_(keep, generator=state.generator())
    return out


def positive_unitball(shape: tuple[int, ...], filler: Any) -> torch.Tensor:
    """U(0, 1) scaled so that each slice of the first axis sums to one."""
    out = torch.empty(shape).uniform_(0, 1, generator=state.generator())
    rows = out.view(shape[0], -1)
    rows /= rows.sum(1, keepdim=True)
    return out


def xavier(shape: tuple[int, ...], filler: Any) -> torch.Tensor:
    """U(-a, a), a = sqrt(3 / fan): Glorot and Bengio 2010 with Caffe's fan."""
    a = math.sqrt(3 / _fan(shape, filler))
    return torch.empty(shape).uniform_(-a, a, generator=state.generator())


def msra(shape: tuple[int, ...], filler: Any) -> torch.Tensor:
    """N(0, 2 / fan): He et al. 2015."""
    return torch.empty(shape).normal_(0, math.sqrt(2 / _fan(shape, filler)), generator=state.generator())


def bilinear(shape: tuple[int, ...], filler: Any) -> torch.Tensor:
    """The interpolation kernel of a deconvolution, alike in every slice (so meant for group = channels)."""
    if len(shape) != 4 or shape[2] != shape[3]:
        raise ValueError("bilinear wants four axes and a square kernel")
    k = shape[3]
    f = math.ceil(k / 2.0)
    c = (k - 1) / (2.0 * f)
    line = 1 - (torch.arange(k, dtype=torch.float64) / f - c).abs()
    return torch.outer(line, line).float().expand(shape).contiguous()


_FILLERS = {f.__name__: f for f in (constant, uniform, gaussian, positive_unitball, xavier, msra, bilinear)}
