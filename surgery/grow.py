"""Weights into a layer that is larger than theirs: more input channels, or a kernel spread over twice the size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .errors import LayerError, ShapeError
from .transplant import Entry, Report


def more_channels(weights: np.ndarray, channels: int) -> np.ndarray:
    """O x C x h x w weights for `channels` inputs: each new one gets the mean of the old ones.

    So a depth channel beside the colours is at first seen as a gray image is (the authors' RGB-D net).
    """
    extra = np.repeat(weights.mean(1, keepdims=True), channels - weights.shape[1], axis=1)
    return np.concatenate([weights, extra], axis=1)


def spread_kernel(weights: np.ndarray, factor: int) -> np.ndarray:
    """O x C x h x w weights with `factor` - 1 zeros behind every row and column (thesis 3.2.2): a net whose pooling
    below has a stride smaller by `factor` gives the same scores at the places that it had before."""
    spread = np.zeros((*weights.shape[:2], weights.shape[2] * factor, weights.shape[3] * factor), weights.dtype)
    spread[:, :, ::factor, ::factor] = weights
    return spread


def grow(new_net: Any, layer: str, source: Sequence[np.ndarray], report: Report | None = None) -> None:
    """Fill `layer` of `new_net` from the weights and biases of a smaller layer.

    The new layer has more input channels (`more_channels`), or a kernel larger by a whole factor
    (`spread_kernel`); weights of a fully connected layer are read as its convolution.  `report`: what
    `transplant` returned, corrected in place.  Raises `LayerError` or `ShapeError`.
    """
    if layer not in new_net.params:
        raise LayerError("there is no such layer with weights", layer=layer, expected=f"one of {list(new_net.params)}",
                         help="name a convolution of the net")
    target = new_net.params[layer][0].data
    outputs, channels, height, width = target.shape
    weights = np.asarray(source[0])
    weights = weights.reshape(-1, weights.shape[-1]) if weights.ndim == 4 and weights.shape[:2] == (1, 1) else weights
    if weights.ndim == 2:
        side = round((weights.shape[1] / channels) ** 0.5)
        if side * side * channels == weights.shape[1]:
            weights = weights.reshape(outputs, channels, side, side)
    found = weights.shape
    if weights.ndim == 4 and weights.shape[1] < channels:
        weights = more_channels(weights, channels)
    if weights.ndim == 4 and height % weights.shape[2] == 0:
        weights = spread_kernel(weights, height // weights.shape[2])
    if weights.shape != target.shape:
        raise ShapeError(f"the weights cannot be grown into layer {layer!r}", layer=layer, found=found,
                         expected=f"fewer channels than {target.shape}, or a kernel smaller by a whole factor",
                         help="name the layer that it stands for")
    target[...] = weights
    for blob, array in zip(new_net.params[layer][1:], source[1:], strict=True):
        blob.data[...] = np.asarray(array).reshape(blob.data.shape)
    if report is not None:
        report.left_at_filler = [entry for entry in report.left_at_filler if entry.layer != layer]
        report.copied = [entry for entry in report.copied if entry.layer != layer]
        report.coerced += [Entry(layer, 0, found, target.shape, "grown")]
