"""FCN-32s, -16s and -8s on VGG-16 (thesis 3.3.1, 3.3.2), also all at once with scaled skips.

Image padded by 100 pixels so that the scores cover an image of any size; fully connected layers fc6 (7x7) and
fc7 as convolutions.  One such trunk for each input (RGB, HHA), one set of scores for each task.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .common import Design, Rates, Skip, Stream, conv_relu, dense_scores, dropout, max_pool

MEAN = (104.00699, 116.66877, 122.67892)  # BGR, of ILSVRC
WEIGHTS = "VGG_ILSVRC_16_layers.caffemodel"
WIDTHS = (64, 128, 256, 512, 512)
DEPTHS = (2, 2, 3, 3, 3)


def trunk(
    n: Any, stream: Stream, rate: float, *, pad: int = 100, pool5_stride: int = 2, fc6_kernel: int = 7,
    fc6_pad: int = 0, until: str = "drop7", widths: Sequence[int] = WIDTHS, fc_width: int = 4096,
) -> None:
    """The convolutional layers over a stream's blob, up to the blob `until`, named with the stream's suffix.

    A first convolution over more than an image has a name of its own (`conv1_1_bgrd`), so that it is never
    taken for the classifier's.
    """
    top, end = n[stream.blob], stream.suffix

    def add(name: str, blob: Any) -> Any:
        n[name + end] = blob
        return n[name + end]

    for block, (width, depth) in enumerate(zip(widths, DEPTHS, strict=True), start=1):
        for index in range(1, depth + 1):
            first = block == index == 1
            name = "1_1_bgrd" if first and len(stream.tops) > 1 else f"{block}_{index}"
            conv, relu = conv_relu(top, width, pad=pad if first else 1, rate=rate)
            add(f"conv{name}", conv)
            top = add(f"relu{block}_{index}", relu)
        top = add(f"pool{block}", max_pool(top, stride=pool5_stride if block == 5 else 2))
        if f"pool{block}" == until:
            return
    for name, kernel, border in (("6", fc6_kernel, fc6_pad), ("7", 1, 0)):
        conv, relu = conv_relu(top, fc_width, kernel=kernel, pad=border, rate=rate)
        add(f"fc{name}", conv)
        top = add(f"drop{name}", dropout(add(f"relu{name}", relu)))
        if f"drop{name}" == until:
            return


def net(
    n: Any, design: Design, rates: Rates, *, pad: int = 100, scales: Sequence[float] = (),
    pool4_alone: bool = False, max_fusion: bool = False, **options: Any,
) -> None:
    """Add the net from the streams' blobs to the heads' scores.

    `design.strides` is (32,), (32, 16) or (32, 16, 8).  `scales` are the fixed factors on pool4 and pool3 that
    let all strides be learned at once.  The others are what the text compares the skips with: `pool4_alone`
    (strides (16,)), `max_fusion` (3.3.2), and `pool5_stride` 1 with an `fc6_kernel` of 14 (strides (16,),
    3.3.3).  `options` go to `trunk`.
    """
    until = "pool4" if pool4_alone else "drop7"
    for stream in design.streams:
        trunk(n, stream, rates.base, pad=pad, until=until, **options)

    def of(name: str) -> list[tuple[str, Any]]:
        return [(stream.suffix, n[name + stream.suffix]) for stream in design.streams]

    skips = [] if pool4_alone else [
        Skip("pool4", of("pool4"), "upscore2"), Skip("pool3", of("pool3"), "upscore_pool4")
    ]
    dense_scores(
        n, of(until), skips, design, rates, name="score_pool4" if pool4_alone else "score_fr", scales=scales,
        max_fusion=max_fusion,
    )
