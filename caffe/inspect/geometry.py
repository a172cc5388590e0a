"""The geometry of a net from its NetParameter: coordinate maps, crop offsets, receptive fields. Nothing is built.

The per-layer rules are those of `caffe.coord_map`; here they are applied to a net that was read from a file.
"""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..coord_map import AxisMismatchException, Map, UndefinedMapException, along, between, conv_params, coord_map, paths
from ..errors import LayerError
from ..net_spec import Function, Top
from ..proto import proto_fields

# Types of Caffe's forks that move coordinates as one of Caffe's own types does.
_LIKE = {"ConvolutionDepthwise": "Convolution", "DepthwiseConvolution": "Convolution", "BN": "BatchNorm",
         "ReLU6": "ReLU", "ShuffleChannel": "ReLU"}


@dataclass(frozen=True)
class Step:
    """One layer on the way from the common blob: its own map, and `total`, the map from that blob to its top."""

    layer: str
    type: str
    own: Map
    total: Map


@dataclass(frozen=True)
class CropDerivation:
    """Where the offset of a Crop layer comes from.

    `common` is the nearest blob that both bottoms come from; `upper` and `reference` are the layers from it to
    bottom 0 (which is cropped) and to bottom 1. `scale` and `shift` map coordinates of bottom 0 to bottom 1, so that
    `offset` is -shift where scale is 1. `written` is the offset in the prototxt, on the same axes. `problem` says why
    there is no offset ("" when there is one).
    """

    layer: str
    index: int
    bottoms: tuple[str, str]
    written: list[int]
    common: str = ""
    upper: tuple[Step, ...] = ()
    reference: tuple[Step, ...] = ()
    scale: tuple[float, ...] = ()
    shift: tuple[float, ...] = ()
    problem: str = ""

    @property
    def offset(self) -> list[int]:
        return [-round(s) for s in self.shift] if not self.problem else []

    @property
    def agrees(self) -> bool:
        """Whether the written offset is the derived one, on every axis (one number stands for all)."""
        if self.problem:
            return False
        n = max(len(self.written), len(self.offset))
        return _spread(self.written, n) == _spread(self.offset, n)


def _spread(values: list[int], n: int) -> list[int]:
    return values * n if len(values) == 1 else values


class Graph:
    """The layers of a NetParameter (already filtered to one phase) as `Function`s, and the newest top of each blob."""

    def __init__(self, net: Any) -> None:
        self.functions: list[Function] = []
        self.layers: dict[Function, Any] = {}
        self.blob_of: dict[Top, str] = {}
        self.bottoms: list[tuple[Top, ...]] = []
        current: dict[str, Top] = {}
        for layer in net.layer:
            inputs = tuple(current[b] for b in layer.bottom if b in current)
            fn = Function(_LIKE.get(layer.type, layer.type), inputs, {**_own_fields(layer), "ntop": len(layer.top)})
            self.functions.append(fn)
            self.layers[fn] = layer
            self.bottoms.append(inputs)
            for name, top in zip(layer.top, fn.tops, strict=True):
                current[name] = top
                self.blob_of[top] = name
        self.tops: Mapping[str, Top] = current

    def paths(self, top: Top) -> dict[Top, list[Function]]:
        """The blobs that `top` comes from by mappable layers, nearest first, each with the layers up to `top`."""
        return paths(top, _usable_map)

    def steps(self, path: list[Function]) -> tuple[Step, ...]:
        """The maps along a path. Raises AxisMismatchException."""
        return tuple(Step(self.layers[fn].name, self.layers[fn].type, coord_map(fn), along(path[: i + 1]))
                     for i, fn in enumerate(path))


def _usable_map(fn: Function) -> Map:
    """A layer's map; UndefinedMapException also where its prototxt is wrong."""
    try:
        with np.errstate(all="ignore"):
            axis, scale, shift = coord_map(fn)
    except (LayerError, ValueError) as problem:   # ValueError: as many strides as kernels?
        raise UndefinedMapException(str(problem)) from problem
    if not (np.isfinite(scale).all() and np.isfinite(shift).all()):
        raise UndefinedMapException("a stride of 0")
    return axis, scale, shift


def _own_fields(layer: Any) -> dict[str, Any]:
    """{"convolution_param": {field: value}} of what is written in the layer's own message."""
    own = proto_fields.own_param(layer)
    if layer.type == "Im2col":
        own = layer.convolution_param
    if own is None:
        return {}
    field = next(f for f in layer.DESCRIPTOR.fields if f.message_type is own.DESCRIPTOR)
    values = {f.name: list(v) if hasattr(v, "extend") else v for f, v in own.ListFields() if f.message_type is None}
    return {field.name: values}


def derive_crops(net: Any) -> list[CropDerivation]:
    """The derivation of every Crop layer of a NetParameter whose layers are those of one phase."""
    graph = Graph(net)
    return [_derive(graph, i, layer) for i, layer in enumerate(net.layer)
            if layer.type == "Crop" and len(graph.bottoms[i]) == 2]


def _derive(graph: Graph, index: int, layer: Any) -> CropDerivation:
    first, second = graph.bottoms[index]
    written = list(layer.crop_param.offset) or [0]

    def failed(problem: str, **known: Any) -> CropDerivation:
        return CropDerivation(layer.name, index, (layer.bottom[0], layer.bottom[1]), written, problem=problem, **known)

    ways = graph.paths(first)
    others = graph.paths(second)
    blob = next((b for b in others if b in ways), None)
    if blob is None:
        return failed("the two bottoms share no blob by layers that have a coordinate map")
    try:
        upper, reference = graph.steps(ways[blob]), graph.steps(others[blob])
        axis, scale, shift = between(ways[blob], others[blob])
    except AxisMismatchException as problem:
        return failed(problem.message)
    except ValueError:
        return failed("the layers between have different numbers of spatial axes")
    known: dict[str, Any] = dict(
        common=graph.blob_of[blob], upper=upper, reference=reference,
        scale=tuple(np.atleast_1d(scale).tolist()), shift=tuple(np.atleast_1d(shift).tolist()))
    starts = (1 if axis is None else axis) + 1
    if layer.crop_param.axis != starts:   # also crops channels or batch, whose offsets no map gives
        if layer.crop_param.axis > starts or len(written) == 1:
            return failed(f"it crops from axis {layer.crop_param.axis}, the maps count from axis {starts}", **known)
        written = written[starts - layer.crop_param.axis:]
    if not np.allclose(scale, 1, rtol=1e-9):
        return failed("the bottoms differ in scale: bottom 0 is not upsampled by the stride between them", **known)
    if not np.allclose(shift, np.round(shift), atol=1e-6):
        return failed("the offset would be fractional: change a kernel size or pad", **known)
    if (np.round(shift) > 0).any():
        return failed("the offset would be negative: bottom 0 begins inside bottom 1, pad more", **known)
    return failed("", **known)


@dataclass(frozen=True)
class Field:
    """Receptive field and stride of a blob's samples in pixels of the net's input, for each spatial axis."""

    field: tuple[float, ...]
    stride: tuple[float, ...]


def receptive_fields(net: Any, shapes: Mapping[str, tuple[int, ...]]) -> list[list[Field | None]]:
    """The `Field` of each top of each layer; None where a layer has no rule or the blob no spatial axes.

    `shapes` are those of the blobs. A layer of kernel k and stride s on a field f and stride t has field
    f + (k - 1) t and stride s t; a deconvolution sees ceil(k / s) samples and has stride t / s.
    """
    graph, fields = Graph(net), dict[Top, Field | None]()
    result = []
    for fn, layer in zip(graph.functions, net.layer, strict=True):
        sizes = [shapes[name][2:] for name in layer.bottom]
        below = [fields[top] for top in fn.inputs]
        if not layer.bottom:
            made: list[Field | None] = [_pixel(len(shapes[name]) - 2) for name in layer.top]
        else:
            made = [_field(fn, below, sizes)] * len(layer.top)
        for top, value in zip(fn.tops, made, strict=True):
            fields[top] = value
        result.append(made)
    return result


def _pixel(axes: int) -> Field | None:
    return Field((1.0,) * axes, (1.0,) * axes) if axes > 0 else None


def _field(fn: Function, below: list[Field | None], sizes: list[tuple[int, ...]]) -> Field | None:
    known = [f for f in below if f is not None]
    if not known or below[0] is None:
        return None
    here, kind = known[0], fn.type_name
    t, f = np.array(here.stride), np.array(here.field)
    # a vector sees what it saw; a layer with a window has no place there
    size = np.array(sizes[0]) if sizes[0] else np.ones(len(t))
    if len(size) != len(t):
        return None
    lrn, steps = fn.params.get("lrn_param", {}), t
    if kind in ("InnerProduct", "MVN") or fn.params.get("pooling_param", {}).get("global_pooling", False):
        samples = size
    elif kind == "LRN" and lrn.get("norm_region", 0) == 1:
        samples = lrn.get("local_size", 5)
    else:
        try:
            coord_map(fn)
            if kind == "Crop":
                return here
            if kind not in ("Convolution", "Pooling", "Im2col", "Deconvolution"):
                return Field(tuple(np.max([k.field for k in known], axis=0).tolist()), here.stride)
            axis, stride, extent, _ = conv_params(fn)
        except (UndefinedMapException, LayerError):
            return None
        if axis != 1:
            return None
        up = kind == "Deconvolution"
        samples, steps = (np.ceil(extent / stride), t / stride) if up else (extent, t * stride)
    return Field(tuple((f + (samples - 1) * t).tolist()), tuple(steps.tolist()))
