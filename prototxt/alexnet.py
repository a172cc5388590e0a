"""FCN-AlexNet (thesis 3.3.1, Table 3.1): CaffeNet, which pools before it normalises, made convolutional."""

from __future__ import annotations

from typing import Any

from caffe import layers as L

from .common import Design, Rates, conv_relu, dense_scores, dropout, max_pool

MEAN = (104.00699, 116.66877, 122.67892)  # BGR, of ILSVRC
WEIGHTS = "bvlc_reference_caffenet.caffemodel"


def net(n: Any, design: Design, rates: Rates, *, pad: int = 100, fc_width: int = 4096) -> None:
    """Add the net from `n.data` to `n.score`; it has no skips, so its strides are (32,)."""
    dense_scores(n, [("", trunk(n, rates.base, pad, fc_width))], (), design, rates, odd=True)


def trunk(n: Any, rate: float, pad: int, fc_width: int = 4096) -> Any:
    """The convolutional layers from `n.data` to `n.drop7`, which is returned."""
    n.conv1, n.relu1 = conv_relu(n.data, 96, kernel=11, stride=4, pad=pad, rate=rate)
    n.pool1 = max_pool(n.relu1, kernel=3)
    n.norm1 = L.LRN(n.pool1, local_size=5, alpha=1e-4, beta=0.75)
    n.conv2, n.relu2 = conv_relu(n.norm1, 256, kernel=5, pad=2, group=2, rate=rate)
    n.pool2 = max_pool(n.relu2, kernel=3)
    n.norm2 = L.LRN(n.pool2, local_size=5, alpha=1e-4, beta=0.75)
    n.conv3, n.relu3 = conv_relu(n.norm2, 384, rate=rate)
    n.conv4, n.relu4 = conv_relu(n.relu3, 384, group=2, rate=rate)
    n.conv5, n.relu5 = conv_relu(n.relu4, 256, group=2, rate=rate)
    n.pool5 = max_pool(n.relu5, kernel=3)

    n.fc6, n.relu6 = conv_relu(n.pool5, fc_width, kernel=6, pad=0, rate=rate)
    n.drop6 = dropout(n.relu6)
    n.fc7, n.relu7 = conv_relu(n.drop6, fc_width, kernel=1, pad=0, rate=rate)
    n.drop7 = dropout(n.relu7)
    return n.drop7
