"""FCN-GoogLeNet (thesis 3.3.1, Table 3.1): BVLC GoogLeNet's main branch without the average pooling.

Layers keep BVLC's names, so `bvlc_googlenet.caffemodel` loads as it is.  The thesis used its own
reimplementation of GoogLeNet, which was never published.
"""

from __future__ import annotations

from typing import Any

from caffe import layers as L
from caffe import params as P

from .common import Design, Rates, conv_relu, dense_scores, dropout, max_pool

MEAN = (104.0, 117.0, 123.0)  # BGR, what BVLC's classifier was trained with
WEIGHTS = "bvlc_googlenet.caffemodel"

# outputs of 1x1, 3x3 reduction, 3x3, 5x5 reduction, 5x5, projection after pooling
INCEPTIONS = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


def net(
    n: Any, design: Design, rates: Rates, *, pad: int = 100, average_pool: bool = False,
) -> None:
    """Add the net from `n.data` to `n.score`; it has no skips, so its strides are (32,).

    `average_pool` keeps the classifier's 7x7 average pooling.  The thesis drops it (3.3.1), but the receptive
    field of 907 pixels in its Table 3.1 is the one with it; without it is 715.
    """

    def convolution(bottom: Any, prefix: str, name: str, width: int, relu: str = "", **options: Any) -> Any:
        relu = f"{prefix}/relu_{relu or name}"
        n[f"{prefix}/{name}"], n[relu] = conv_relu(bottom, width, rate=rates.base, **options)
        return n[relu]

    def pool(bottom: Any, name: str) -> Any:
        n[name] = max_pool(bottom, kernel=3, stride=2)
        return n[name]

    def normalise(bottom: Any, name: str) -> Any:
        n[name] = L.LRN(bottom, local_size=5, alpha=1e-4, beta=0.75)
        return n[name]

    def inception(bottom: Any, name: str) -> Any:
        prefix = f"inception_{name}"
        direct, reduce3, conv3, reduce5, conv5, projection = INCEPTIONS[name]
        branches = [convolution(bottom, prefix, "1x1", direct, kernel=1, pad=0)]
        top = convolution(bottom, prefix, "3x3_reduce", reduce3, kernel=1, pad=0)
        branches.append(convolution(top, prefix, "3x3", conv3))
        top = convolution(bottom, prefix, "5x5_reduce", reduce5, kernel=1, pad=0)
        branches.append(convolution(top, prefix, "5x5", conv5, kernel=5, pad=2))
        n[f"{prefix}/pool"] = top = max_pool(bottom, kernel=3, stride=1, pad=1)
        branches.append(convolution(top, prefix, "pool_proj", projection, kernel=1, pad=0))
        n[f"{prefix}/output"] = L.Concat(*branches)
        return n[f"{prefix}/output"]

    top = convolution(n.data, "conv1", "7x7_s2", 64, relu="7x7", kernel=7, stride=2, pad=pad)
    top = normalise(pool(top, "pool1/3x3_s2"), "pool1/norm1")
    top = convolution(top, "conv2", "3x3_reduce", 64, kernel=1, pad=0)
    top = convolution(top, "conv2", "3x3", 192)
    top = pool(normalise(top, "conv2/norm2"), "pool2/3x3_s2")
    for name in INCEPTIONS:
        if name in ("4a", "5a"):
            top = pool(top, f"pool{int(name[0]) - 1}/3x3_s2")
        top = inception(top, name)
    if average_pool:
        n["pool5/7x7_s1"] = top = L.Pooling(top, pool=P.Pooling.AVE, kernel_size=7, stride=1)
    n["pool5/drop_7x7_s1"] = top = dropout(top, 0.4)
    dense_scores(n, [("", top)], (), design, rates, odd=True)
