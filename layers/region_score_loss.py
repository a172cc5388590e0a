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

import caffe
from layers.errors import LayerError
from layers.parameters import Reader, read_params
from layers.region_targets import score_targets


class RegionScoreLoss(caffe.Layer):
    """Scores (N x 1 x H x W, logits) and instance labels (N x 1 x h x w) in, their loss out (1).

    Keys of param_str: `window` (needed), `stride` (needed), `centre`, `ignore_label` as those of RegionLoss; `least`
    (0) and `most` (1), `off` (None): which regions should score high, see `layers.region_targets.score_targets`.

    Binary logistic loss, summed over all regions that count and divided by the number of those that should score
    high, or by a hundredth of those that count where that is more.  High and low are not balanced, so that scores of
    pathways compare: each is the logarithm of the odds that the region is one to keep.  LayerError names what does not
    fit.
    """

    def setup(self, bottom: Sequence[Any], top: Sequence[Any]) -> None:
        self._name = getattr(self, "name", "") or type(self).__name__   # BVLC Caffe's Python layers do not know theirs
        keys = ("window", "stride", "centre", "ignore_label", "least", "most", "off")
        params = read_params(self.param_str, self._name, keys, ("window", "stride"))
        read = Reader(params, self._name)
        self.window, self.stride = read.whole("window", 1, 1), read.whole("stride", 1, 1)
        first = read.number("centre", self.stride / 2, float("-inf")) - self.window / 2
        self.void = read.whole("ignore_label", 255, -1)
        self.least, self.most = read.number("least", 0, 0), read.number("most", 1, 0)
        self.off = None if params.get("off") is None else read.number("off", 0, 0)
        if first != int(first):
            raise self._wrong("the windows do not begin on the edge of a pixel", f"window {self.window} around "
                              f"{first + self.window / 2:g}", "'centre' half a pixel further, or another 'window'")
        if self.least >= self.most:
            raise self._wrong("no object is in the range", f"least {self.least:g}, most {self.most:g}", "least < most")
        self.first = int(first)
        if len(bottom) != 2 or len(top) != 1:
            raise self._wrong("scores and instance labels go in, and a loss comes out",
                              f"{len(bottom)} bottoms, {len(top)} tops", 'bottom: "score" bottom: "instances"')

    def _wrong(self, what: str, found: str, expected: str) -> LayerError:
        return LayerError(what, layer=self._name, found=found, expected=expected,
                          help="correct param_str or the bottoms")

    def reshape(self, bottom: Sequence[Any], top: Sequence[Any]) -> None:
        scores, labels = bottom[0].data.shape, bottom[1].data.shape
        for shape, what in ((scores, "scores"), (labels, "labels")):
            if len(shape) != 4 or shape[1] != 1 or shape[0] != scores[0]:
                raise self._wrong(f"the {what} have a wrong shape", str(tuple(shape)),
                                  f"{scores[0]} x 1 x rows x columns")
        top[0].reshape(1)

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
