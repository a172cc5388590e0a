"""Where a coordinate of one blob lies in another: maps through layers, and the Crop that aligns two blobs.

A map is `(axis, scale, shift)`: input coordinate i of a layer lies at output coordinate `scale * i +
shift`, for the spatial axes after `axis` (None when the map is the identity and fits any axis).  `scale`
and `shift` are numbers or arrays with one entry for each spatial axis, or a single entry for all.  `crop(a,
b)` walks the net from both tops back to a blob they share, and cuts `a` so that its pixels lie on those of
`b`: the crop layers of fully convolutional networks (thesis, section 3.2).
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

from .errors import LayerError, NetError
from .net_spec import Function, Top, layers

# A net's coordinates pass through these unchanged, from every bottom to every top.
PASS_THROUGH_LAYERS = [
    "AbsVal", "BatchNorm", "Bias", "BNLL", "Clip", "Dropout", "ELU", "Eltwise", "Exp", "Log", "LRN", "MVN",
    "Power", "PReLU", "ReLU", "Scale", "Sigmoid", "Softmax", "Split", "Swish", "TanH", "Threshold",
]  # fmt: skip

# These pass coordinates on when they join or cut channels.
_CHANNEL_LAYERS = {"Concat": "concat_param", "Slice": "slice_param"}

Map = tuple[Any, Any, Any]
_IDENTITY: Map = (None, 1, 0)


class UndefinedMapException(NetError):
    """A layer has no coordinate map: its output is no image of its input, or its type is unknown here."""


class AxisMismatchException(NetError):
    """Two maps count their spatial axes from different places."""


class CropError(NetError, AssertionError):
    """Two tops cannot be aligned by a Crop layer.  (An AssertionError too, which pycaffe programs catch.)"""


class UnconnectedError(NetError, RuntimeError):
    """Two tops share no blob by spatial layers.  (A RuntimeError too, which pycaffe programs catch.)"""


def conv_params(fn: Function) -> tuple[int, np.ndarray, np.ndarray, np.ndarray]:
    """(axis, stride, kernel extent, pad) of a convolution, deconvolution, im2col or pooling layer.

    The extent is that of the dilated kernel.  Raises `LayerError` without a kernel size.
    """
    params = fn.params.get("convolution_param", fn.params.get("pooling_param", fn.params))
    kernel = _spatial(params, "kernel_size", None)
    if kernel is None:
        raise LayerError(f"L.{fn.type_name} has no kernel size, so its coordinates cannot be mapped",
                         help="give kernel_size")
    dilation = np.array(params.get("dilation", 1), ndmin=1)
    return params.get("axis", 1), _spatial(params, "stride", 1), (kernel - 1) * dilation + 1, _spatial(params, "pad", 0)


def crop_params(fn: Function) -> tuple[int, np.ndarray]:
    """(axis, offset) of a Crop layer; by default the axes from 2 on are cropped, at offset 0."""
    params = fn.params.get("crop_param", fn.params)
    return params.get("axis", 2), np.array(params.get("offset", 0), ndmin=1)


def coord_map(fn: Function) -> Map:
    """The map of a layer from its bottom to its top.  Raises `UndefinedMapException` where there is none."""
    kind = fn.type_name
    if kind in ("Convolution", "Pooling", "Im2col"):
        if fn.params.get("pooling_param", fn.params).get("global_pooling", False):
            raise UndefinedMapException("global pooling leaves no coordinates to map")
        axis, stride, extent, pad = conv_params(fn)
        # Output o looks at inputs from o * stride - pad on; its place is the middle of them.
        return axis, 1 / stride, (pad - (extent - 1) / 2) / stride
    if kind == "Deconvolution":
        axis, stride, extent, pad = conv_params(fn)
        return axis, stride, (extent - 1) / 2 - pad
    if kind in PASS_THROUGH_LAYERS:
        return _IDENTITY
    if kind in _CHANNEL_LAYERS:
        params = fn.params.get(_CHANNEL_LAYERS[kind], fn.params)
        if params.get("axis", params.get("concat_dim", params.get("slice_dim", 1))) in (0, 1):
            return _IDENTITY
    if kind == "Crop":
        axis, offset = crop_params(fn)
        return axis - 1, 1, -offset  # a map's axis is the last one before the spatial ones
    raise UndefinedMapException(f"no coordinate map is defined for a {kind} layer")


def compose(base_map: Map, next_map: Map) -> Map:
    """The map that applies `next_map` first and then `base_map`.

    Raises `AxisMismatchException` when both have an axis and they differ.
    """
    axis, scale, shift = base_map
    next_axis, next_scale, next_shift = next_map
    if axis is None:
        axis = next_axis
    elif next_axis is not None and next_axis != axis:
        raise AxisMismatchException("coordinate maps count from different axes", found=f"{axis} and {next_axis}",
                                    help="give the layers between the two tops one `axis`")
    return axis, scale * next_scale, scale * next_shift + shift


def inverse(coord_map: Map) -> Map:
    """The map from output to input coordinates."""
    axis, scale, shift = coord_map
    return axis, 1 / scale, -shift / scale


def coord_map_from_to(top_from: Top, top_to: Top) -> Map:
    """The map from coordinates of `top_from` to those of `top_to`, over a blob that both come from.

    All common blobs are taken to give one map, as they do in a net whose summed or joined branches are
    aligned. Raises `UnconnectedError` when there is none.
    """
    from_paths = paths(top_from)
    for top, path in paths(top_to).items():
        if top in from_paths:
            return between(from_paths[top], path)
    raise UnconnectedError("no coordinate map between the tops",
                           found=f"a {top_from.fn.type_name} and a {top_to.fn.type_name} top",
                           help="both must come from one blob by spatial layers (convolution, pooling, crop, ...)")


def crop(top_from: Top, top_to: Top) -> Top:
    """A Crop layer that cuts `top_from` to the size of `top_to`, at the offset that aligns their coordinates.

    Raises `CropError` when the two differ in scale, or the offset would be negative or fractional, and
    `UnconnectedError` when they share no blob.
    """
    axis, scale, shift = coord_map_from_to(top_from, top_to)
    scale, shift = np.atleast_1d(scale), np.atleast_1d(shift)
    offset = -np.round(shift).astype(int)
    # Strides like 49 have no exact reciprocal: exact comparison would refuse nets that are aligned.
    if not np.allclose(scale, 1, rtol=1e-9):
        raise CropError("cannot crop: the tops differ in scale", found=f"scale {_show(scale)}", expected="1",
                        help="upsample by the stride that lies between the two tops")
    if not np.allclose(shift, -offset, atol=1e-6):
        raise CropError("cannot crop at a fractional offset", found=f"offset {_show(-shift)}",
                        help="change a kernel size or pad so that the offset is whole")
    if (offset < 0).any():
        raise CropError("cannot crop at a negative offset", found=f"offset {_show(offset)}",
                        expected="0 or more",
                        help="the top to be cropped begins inside the other: pad the first convolution more")
    first = 2 if axis is None else axis + 1
    return layers.Crop(top_from, top_to, crop_param=dict(axis=first, offset=offset.tolist()))


def paths(top: Top, own: Callable[[Function], Map] = coord_map) -> dict[Top, list[Function]]:
    """`top` and the blobs it comes from by layers with a map, nearest first, each with the layers from it to `top`.

    `own` gives the map of a layer, or raises `UndefinedMapException`.
    """
    found: dict[Top, list[Function]] = {top: []}
    queue = deque([top])
    while queue:
        at = queue.popleft()
        try:
            own(at.fn)
        except UndefinedMapException:
            continue
        # the second bottom of a Crop only lends its size
        for bottom in at.fn.inputs[:1] if at.fn.type_name == "Crop" else at.fn.inputs:
            if bottom not in found:
                found[bottom] = [at.fn, *found[at]]
                queue.append(bottom)
    return found


def along(path: list[Function]) -> Map:
    """The map from the blob where a path begins to its end.  Raises `AxisMismatchException`."""
    return functools.reduce(lambda total, fn: compose(coord_map(fn), total), path, _IDENTITY)


def between(path_from: list[Function], path_to: list[Function]) -> Map:
    """The map from the end of one path to that of another that begins at the same blob."""
    return compose(along(path_to), inverse(along(path_from)))


def _spatial(params: Any, field: str, default: int | None) -> Any:
    """A spatial parameter as an array, from its common or its _h and _w fields."""
    stem = field.removesuffix("_size")
    height, width = f"{stem}_h", f"{stem}_w"
    if height in params or width in params:
        fallback = params.get(field, default)
        pair = [params.get(height, fallback), params.get(width, fallback)]
        return None if None in pair else np.array(pair)
    value = params.get(field, default)
    return None if value is None else np.array(value, ndmin=1)


def _show(values: np.ndarray) -> str:
    return ", ".join(f"{value:g}" for value in values)
