"""Bilinear interpolation as the weights of Deconvolution layers (thesis 3.2.3)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from .errors import LayerError, ShapeError


def upsample_filt(size: int) -> np.ndarray:
    """The size x size kernel (float64) of bilinear upsampling by (size + 1) // 2, its peak at most 1.

    An even kernel has its peak between samples, an odd one on a sample.
    """
    factor = (size + 1) // 2
    centre = factor - 1 if size % 2 else factor - 0.5
    row = 1 - abs(np.arange(size) - centre) / factor
    return np.outer(row, row)


def interp(net: Any, layers: Iterable[str]) -> None:
    """Set the weights of these Deconvolution layers of a `caffe.Net` to bilinear upsampling of each channel.

    A dense kernel (channels x channels x k x k) gets the filter on its diagonal and 0 elsewhere; one with a
    group per channel (channels x 1 x k x k) gets it everywhere.  Raises `LayerError` when there is no such
    layer with weights and `ShapeError` when the channels in and out differ or the kernel is not square.
    """
    for name in layers:
        if name not in net.params:
            raise LayerError(
                "there is no such layer with weights", layer=name, expected=f"one of {list(net.params)}",
                help="name the net's Deconvolution layers",
            )
        weights = net.params[name][0].data
        if weights.ndim != 4:
            raise ShapeError("the weights are not those of a Deconvolution", layer=name, found=weights.shape,
                             expected="4 axes", help="name the net's Deconvolution layers")
        inputs, outputs, height, width = weights.shape
        if outputs not in (1, inputs):
            raise ShapeError(
                "bilinear upsampling needs as many channels out as in", layer=name,
                found=f"{inputs} in, {outputs} out", expected="equal numbers, or a group for each channel",
                help="set num_output to the bottom's channels",
            )
        if height != width:
            raise ShapeError(
                "bilinear upsampling needs a square kernel", layer=name, found=f"{height} x {width}",
                expected="equal sides", help="set kernel_size instead of kernel_h and kernel_w",
            )
        weights[...] = 0
        channels = np.arange(inputs)
        weights[channels, channels if outputs == inputs else 0] = upsample_filt(height)
