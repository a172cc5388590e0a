"""Small FCN-32s, -16s and -8s: VGG's plan with few channels, trained from nothing in minutes on a CPU.

Unlike the nets on a classifier it pads the image by one pixel only: with fc6 padded too, the scores cover an
image of any size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from caffe import layers as L

from .common import Design, Rates, Skip, Stream, conv_relu, dense_scores, dropout, max_pool

MEAN = (127.0, 127.0, 127.0)
WEIGHTS = None


def trunk(
    n: Any, stream: Stream, rate: float, *,
    widths: Sequence[int] = (16, 32, 64, 96, 128), depths: Sequence[int] = (2, 2, 2, 2, 2), fc_width: int = 256,
    pad: int = 1, dropout_ratio: float = 0.5, input_scale: float = 1 / 64, until: str = "fc7",
) -> Any:
    """The layers over a stream's blob, up to pool1, ..., pool5 or (`until`) fc7; returns the last blob.

    `widths` and `depths`: channels and number of convolutions of the five blocks; `fc_width`: channels of fc6
    (3x3) and fc7 (1x1); a `dropout_ratio` of 0 leaves dropout out.  `input_scale` brings pixels less their
    mean to about unit variance, which the "msra" filler keeps from layer to layer.
    """
    end = stream.suffix

    def add(name: str, blob: Any) -> Any:
        n[name + end] = blob
        return n[name + end]

    def convolution(bottom: Any, name: str, relu: str, width: int, **options: Any) -> Any:
        conv, rectified = conv_relu(bottom, width, rate=rate, filler="msra", **options)
        add(name, conv)
        return add(relu, rectified)

    top = add("scaled", L.Power(n[stream.blob], scale=input_scale))
    for block, (width, depth) in enumerate(zip(widths, depths, strict=True), start=1):
        for index in range(1, depth + 1):
            border = pad if block == index == 1 else 1
            top = convolution(top, f"conv{block}_{index}", f"relu{block}_{index}", width, pad=border)
        top = add(f"pool{block}", max_pool(top))
        if f"pool{block}" == until:
            return top
    for name, kernel in (("6", 3), ("7", 1)):
        top = convolution(top, f"fc{name}", f"relu{name}", fc_width, kernel=kernel, pad=kernel // 2)
        if dropout_ratio:
            top = add(f"drop{name}", dropout(top, dropout_ratio))
    return top


def net(
    n: Any, design: Design, rates: Rates, *, pool4_alone: bool = False, max_fusion: bool = False, **options: Any,
) -> None:
    """Add the net from the streams' blobs to the heads' scores.

    `design.strides` is (32,), (32, 16) or (32, 16, 8).  `pool4_alone` (strides (16,)) and `max_fusion`: as in
    vgg16. `options` go to `trunk`.
    """
    until = "pool4" if pool4_alone else "fc7"
    tops = [(stream.suffix, trunk(n, stream, rates.base, until=until, **options)) for stream in design.streams]

    def of(name: str) -> list[tuple[str, Any]]:
        return [(stream.suffix, n[name + stream.suffix]) for stream in design.streams]

    skips = [] if pool4_alone else [
        Skip("pool4", of("pool4"), "upscore2"), Skip("pool3", of("pool3"), "upscore_pool4")
    ]
    dense_scores(n, tops, skips, design, rates, name="score_pool4" if pool4_alone else "score_fr", crop_skips=False,
                 max_fusion=max_fusion)
