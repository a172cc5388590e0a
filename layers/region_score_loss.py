"""The loss of a scoring pathway: which regions are of an object, centred and of the pathway's scale (thesis 4.4.5).

    layer {
      name: "score_loss"  type: "Python"  bottom: "score"  bottom: "instances"  top: "score_loss"  loss_weight: 0.1
      python_param {
        module: "layers.region_score_loss"  layer: "RegionScoreLoss"
        param_str: "{'window': 56, 'stride': 4, 'least': 0.375, 'most': 0.75}"
      }
    }
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from layers.region_layer import RegionLayer
from layers.region_targets import score_targets


class RegionScoreLoss(RegionLayer):
    """Scores (N x 1 x H x W, logits) and instance labels (N x 1 x h x w) in, their loss out (1).

    Keys of param_str: those of RegionLayer; `least` (0), `most` (1) and `off` (None): which regions should score high,
    see `layers.region_targets.score_targets`.

    Binary logistic loss, summed over all regions that count and divided by the number of those that should score
    high, or by a hundredth of those that count where that is more.  High and low are not balanced, so that scores of
    pathways compare: each is the logarithm of the odds that the region is one to keep.  LayerError names what does not
    fit.
    """

    def setup(self, bottom: Sequence[Any], top: Sequence[Any]) -> None:
        read = self.read(("least", "most", "off"), bottom, top)
        self.least, self.most = read.number("least", 0, 0), read.number("most", 1, 0)
        self.off = read.number_or_none("off", 0)
        if self.least >= self.most:
            raise self.wrong("no object is in the range", f"least {self.least:g}, most {self.most:g}", "least < most")

    def forward(self, bottom: Sequence[Any], top: Sequence[Any]) -> None:
        """log(1 + exp(-z)) for the high, log(1 + exp(z)) for the low; keeps the derivative, sigmoid(z) - target."""
        scores = bottom[0].data[:, 0]
        targets = np.stack([score_targets(image[0], scores.shape[1:], self.stride, self.window, self.first, self.void,
                                          self.least, self.most, self.off) for image in bottom[1].data])
        counts, high = targets >= 0, targets == 1
        share = 1 / max(1.0, float(np.count_nonzero(high)), np.count_nonzero(counts) / 100)
        tail = np.exp(-abs(scores))   # at most 1, so nothing overflows
        losses = np.maximum(scores, 0) - scores * high + np.log1p(tail)
        top[0].data[...] = share * losses[counts].sum(dtype=np.float64)
        self._gradient = share * counts * (np.where(scores >= 0, 1, tail) / (1 + tail) - high)

    def backward(self, top: Sequence[Any], propagate_down: Sequence[bool], bottom: Sequence[Any]) -> None:
        """The kept derivative times the loss weight."""
        if propagate_down[1]:
            bottom[1].diff[...] = 0   # under force_backward
        if propagate_down[0]:
            bottom[0].diff[:, 0] = self._gradient * top[0].diff.flat[0]
