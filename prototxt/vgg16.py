"""FCN-32s, -16s and -8s on VGG-16 (thesis 3.3.1, 3.3.2), also all at once with scaled skips.

Image padded by 100 pixels so that the scores cover an image of any size; fully connected layers fc6 (7x7) and
fc7 as convolutions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .common import Rates, Skip, class_scores, conv_relu, dense_scores, dropout, max_pool

MEAN = (104.00699, 116.66877, 122.67892)  # BGR, of ILSVRC
WEIGHTS = "VGG_ILSVRC_16_layers.caffemodel"
WIDTHS = (64, 128, 256, 512, 512)
DEPTHS = (2, 2, 3, 3, 3)


def net(
    n: Any, strides: Sequence[int], classes: int, rates: Rates, *,
    pad: int = 100, scales: Sequence[float] = (),
) -> None:
    """Add the net from `n.data` to `n.score`.

    `strides` is (32,), (32, 16) or (32, 16, 8): the strides predicted from, coarsest first.  `scales` are the
    fixed factors on pool4 and pool3 that let all strides be learned at once.
    """
    top = n.data
    for block, (width, depth) in enumerate(zip(WIDTHS, DEPTHS, strict=True), start=1):
        for index in range(1, depth + 1):
            first = block == index == 1
            n[f"conv{block}_{index}"], n[f"relu{block}_{index}"] = conv_relu(
                top, width, pad=pad if first else 1, rate=rates.base
            )
            top = n[f"relu{block}_{index}"]
        n[f"pool{block}"] = top = max_pool(top)

    n.fc6, n.relu6 = conv_relu(n.pool5, 4096, kernel=7, pad=0, rate=rates.base)
    n.drop6 = dropout(n.relu6)
    n.fc7, n.relu7 = conv_relu(n.drop6, 4096, kernel=1, pad=0, rate=rates.base)
    n.drop7 = dropout(n.relu7)
    n.score_fr = class_scores(n.drop7, classes, rates.score)

    skips = [Skip("pool4", n.pool4, "upscore2"), Skip("pool3", n.pool3, "upscore_pool4")]
    dense_scores(n, skips[: len(strides) - 1], strides[-1], classes, rates, scales=scales)
