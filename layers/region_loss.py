"""The loss of predicted regions against instances, without downsampling the ground truth (thesis 4.3.6, 4.4.1).

    layer {
      name: "loss"  type: "Python"  bottom: "regions"  bottom: "instances"  top: "loss"  loss_weight: 1
      python_param {
        module: "layers.region_loss"  layer: "RegionLoss"  param_str: "{'window': 56, 'stride': 4}"
      }
    }
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import caffe
from halide_kernels import backend, bilinear_loss
from layers.region_layer import RegionLayer
from layers.region_targets import region_targets


class RegionLoss(RegionLayer):
    """Scores of regions (N x R*R x H x W, logits) and instance labels (N x 1 x h x w) in, their mean loss out (1).

    Labels: 0 for background, `ignore_label` for void, other numbers for instances. Channel i*R + j of the scores is the
    cell in row i and column j of the window around the centre.

    Keys of param_str: those of RegionLayer; `upsampling` (the stride), the side of a cell in pixels, so R = window /
    upsampling; `background`, 'negative' (default) or 'ignore'; `fit` (True): only instances count that lie entirely in
    the window, False: every centre inside an instance counts. A centre outside all instances never counts.

    The loss is binary logistic, averaged over a region's pixels (inside the image, neither void nor ignored) and then
    over the regions that count, of the whole batch; 0 where no region counts. The gradient comes from the forward pass,
    which keeps R*R values for each region that counts. LayerError names parameters and shapes that do not fit.
    """

    def setup(self, bottom: Sequence[Any], top: Sequence[Any]) -> None:
        read = self.read(("upsampling", "background", "fit"), bottom, top)
        self.upsampling, self.fit = read.whole("upsampling", self.stride, 1), read.flag("fit", True)
        background = read.text("background", "negative")
        if background not in ("negative", "ignore"):
            raise self.wrong("'background' has a wrong value", background, "'negative' or 'ignore'")
        if self.window % self.upsampling:
            raise self.wrong("the window is not made of whole cells", f"window {self.window}",
                             f"a multiple of the upsampling factor, {self.upsampling}")
        self.cells = (self.window // self.upsampling) ** 2
        self.background, self._said = background == "negative", False

    def forward(self, bottom: Sequence[Any], top: Sequence[Any]) -> None:
        """The loss, and its gradient for `backward`."""
        grid = bottom[0].data.shape[2:]
        found = [region_targets(image[0], grid, self.stride, self.window, self.first, self.void, self.fit)
                 for image in bottom[1].data]
        self.regions = np.concatenate([np.insert(part, 0, n, 1) for n, part in enumerate(found)])
        scores, labels = backend.arrays(*bottom)
        top[0].data[...], self.gradient, said = bilinear_loss.mean_loss(
            scores, labels[:, 0], self.regions, self.upsampling, self.background, self.void, self.stride, self.first)
        if not self._said:
            getattr(caffe, "log", print)(f"region loss runs on {said}")
            self._said = True

    def backward(self, top: Sequence[Any], propagate_down: Sequence[bool], bottom: Sequence[Any]) -> None:
        """The kept gradient, times the loss weight, goes to the centres that count; elsewhere it is 0."""
        if propagate_down[1]:
            bottom[1].diff[...] = 0   # under force_backward
        if propagate_down[0]:
            diff, = backend.arrays(bottom[0], of="diff")
            picture, row, col, _ = self.regions.T
            diff[...] = 0
            diff[picture, :, row, col] = (self.gradient * top[0].diff.flat[0]).T
