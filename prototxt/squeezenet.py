"""FCN-SqueezeNet: the thesis's skips (3.3.2) on SqueezeNet v1.1, of last stride 16: 16s, then 8s and 4s.

It is small enough to train on a CPU.  Layers keep the names of the published SqueezeNet v1.1.
"""

from __future__ import annotations

from typing import Any

from caffe import layers as L

from .common import Design, Rates, Skip, conv_relu, dense_scores, dropout, max_pool

MEAN = (104.0, 117.0, 123.0)  # BGR
WEIGHTS = "squeezenet_v1.1.caffemodel"

# fire2 .. fire9: outputs of the squeeze layer and of each of the two expand layers
FIRES = ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))


def trunk(n: Any, rate: float, *, pad: int = 1, last: int = 9) -> Any:
    """The layers from `n.data` to fire module number `last`, whose blob is returned.

    `pad` borders the image for conv1; any pad >= 1 lets the scores cover every image of 32 pixels or more
    (with 0, as in the classifier, the last row of some sizes is missed).
    """
    n.conv1, n.relu_conv1 = conv_relu(n.data, 64, kernel=3, stride=2, pad=pad, rate=rate)
    n.pool1 = top = max_pool(n.relu_conv1, kernel=3)
    for index, (squeeze, expand) in enumerate(FIRES[: last - 1], start=2):
        if index in (4, 6):
            n[f"pool{index - 1}"] = top = max_pool(top, kernel=3)
        top = _fire(n, top, f"fire{index}", squeeze, expand, rate)
    return top


def net(
    n: Any, design: Design, rates: Rates, *, pad: int = 1, dropout_ratio: float = 0.5,
) -> None:
    """Add the net from `n.data` to `n.score`.  `design.strides`: (16,), (16, 8) or (16, 8, 4); `pad`: see `trunk`."""
    top = trunk(n, rates.base, pad=pad)
    if dropout_ratio:
        n.drop9 = top = dropout(top, dropout_ratio)
    skips = [
        Skip("fire5", [("", n["fire5/concat"])], "upscore2"),
        Skip("fire3", [("", n["fire3/concat"])], "upscore_fire5"),
    ]
    dense_scores(n, [("", top)], skips, design, rates, odd=True, crop_skips=False)


def _fire(n: Any, bottom: Any, name: str, squeeze: int, expand: int, rate: float) -> Any:
    """Squeeze to few channels, then expand by 1x1 and by 3x3 filters side by side."""

    def convolution(source: Any, part: str, width: int, kernel: int) -> Any:
        n[f"{name}/{part}"], n[f"{name}/relu_{part}"] = conv_relu(
            source, width, kernel=kernel, pad=kernel // 2, rate=rate
        )
        return n[f"{name}/relu_{part}"]

    small = convolution(bottom, "squeeze1x1", squeeze, 1)
    n[f"{name}/concat"] = L.Concat(
        convolution(small, "expand1x1", expand, 1), convolution(small, "expand3x3", expand, 3)
    )
    return n[f"{name}/concat"]
