"""Small FCN-32s, -16s and -8s: VGG's plan with few channels, trained from nothing in minutes on a CPU.

Unlike the nets on a classifier it pads the image by one pixel only: with fc6 padded too, the scores cover an
image of any size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from caffe import layers as L

from .common import Rates, Skip, class_scores, conv_relu, dense_scores, dropout, max_pool

MEAN = (127.0, 127.0, 127.0)
WEIGHTS = None


def net(
    n: Any, strides: Sequence[int], classes: int, rates: Rates, *,
    widths: Sequence[int] = (16, 32, 64, 96, 128), depths: Sequence[int] = (2, 2, 2, 2, 2),
    fc_width: int = 256, pad: int = 1, dropout_ratio: float = 0.5, input_scale: float = 1 / 64,
) -> None:
    """Add the net from `n.data` to `n.score`.

    `widths` and `depths`: channels and number of convolutions of the five blocks; `fc_width`: channels of fc6
    (3x3) and fc7 (1x1); a `dropout_ratio` of 0 leaves dropout out.  `input_scale` brings pixels less their
    mean to about unit variance, which the "msra" filler keeps from layer to layer.  `strides` is (32,), (32,
    16) or (32, 16, 8).
    """

    def convolution(bottom: Any, name: str, relu: str, width: int, **options: Any) -> Any:
        n[name], n[relu] = conv_relu(bottom, width, rate=rates.base, filler="msra", **options)
        return n[relu]

    n.scaled = top = L.Power(n.data, scale=input_scale)
    for block, (width, depth) in enumerate(zip(widths, depths, strict=True), start=1):
        for index in range(1, depth + 1):
            border = pad if block == index == 1 else 1
            top = convolution(top, f"conv{block}_{index}", f"relu{block}_{index}", width, pad=border)
        n[f"pool{block}"] = top = max_pool(top)
    for name, kernel in (("6", 3), ("7", 1)):
        top = convolution(top, f"fc{name}", f"relu{name}", fc_width, kernel=kernel, pad=kernel // 2)
        if dropout_ratio:
            n[f"drop{name}"] = top = dropout(top, dropout_ratio)
    n.score_fr = class_scores(top, classes, rates.score)

    skips = [Skip("pool4", n.pool4, "upscore2"), Skip("pool3", n.pool3, "upscore_pool4")]
    dense_scores(n, skips[: len(strides) - 1], strides[-1], classes, rates, crop_skips=False)
