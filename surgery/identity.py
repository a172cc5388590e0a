"""Square 1x1 convolutions that begin as the identity: a net with them begins as the one without."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from .errors import ShapeError


def identity(net: Any, layers: Iterable[str]) -> None:
    """Fill the weights of each of `layers` with the identity matrix and its biases with 0.

    For the matrix products of region nets (thesis 4.3.3), whose regions are then those of the convolution below.
    Raises `ShapeError` for a layer whose weights are no square matrix.
    """
    for name in layers:
        weights, *biases = net.params[name]
        outputs, inputs, *kernel = weights.data.shape
        if outputs != inputs or any(size != 1 for size in kernel):
            raise ShapeError("the weights are no square matrix", layer=name,
                             found=str(tuple(weights.data.shape)),
                             expected="as many outputs as inputs, and a kernel of 1 x 1",
                             help="leave the layer to its filler")
        weights.data[...] = np.eye(outputs, dtype=np.float32).reshape(weights.data.shape)
        for bias in biases:
            bias.data[...] = 0
