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
from layers.errors import LayerError
from layers.parameters import Reader, read_params
from layers.region_targets import region_targets


class RegionLoss(caffe.Layer):
    """Scores of regions (N x R*R x H x W, logits) and instance labels (N x 1 x h x w) in, their mean loss out (1).

    Labels: 0 for background, `ignore_label` for void, other numbers for instances. Channel i*R + j of the scores is the
    cell in row i and column j of the window around the centre.

    Keys of param_str: `window` (needed) and `stride` (needed), the side of a window and the distance of region centres
    in pixels; `upsampling` (the stride), the side of a cell in pixels, so R = window / upsampling; `centre`
    (stride / 2), the centre of the first window in pixels from the image's edge, such that windows begin on the edge of
    a pixel: 0 on the dual grid that a pairwise transpose with even R leads to; `background`, 'negative' (default) or
    'ignore'; `ignore_label` (255); `fit` (True): only instances count that lie entirely in the window, False: every
    centre inside an instance counts. A centre outside all instances never counts.

    The loss is binary logistic, averaged over a region's pixels (inside the image, neither void nor ignored) and then
    over the regions that count, of the whole batch; 0 where no region counts. The gradient comes from the forward pass,
    which keeps R*R values for each region that counts. LayerError names parameters and shapes that do not fit.
    """

    def setup(self, bottom: Sequence[Any], top: Sequence[Any]) -> None:
        self._name = getattr(self, "name", "") or type(self).__name__   # BVLC Caffe's Python layers do not know theirs
        params = read_params(self.param_str, self._name, (
            "window", "stride", "upsampling", "centre", "background", "ignore_label", "fit"), ("window", "stride"))
        read = Reader(params, self._name)
        self.window, self.stride = read.whole("window", 1, 1), read.whole("stride", 1, 1)
        self.upsampling = read.whole("upsampling", self.stride, 1)
        first = read.number("centre", self.stride / 2, float("-inf")) - self.window / 2
        self.fit, self.void = read.flag("fit", True), read.whole("ignore_label", 255, -1)
        background = read.text("background", "negative")
        if background not in ("negative", "ignore"):
            raise self._wrong("'background' has a wrong value", background, "'negative' or 'ignore'")
        if self.window % self.upsampling:
            raise self._wrong("the window is not made of whole cells", f"window {self.window}",
                              f"a multiple of the upsampling factor, {self.upsampling}")
        if first != int(first):
            raise self._wrong("the windows do not begin on the edge of a pixel", f"window {self.window} around "
                              f"{first + self.window / 2:g}", "'centre' half a pixel further, or another 'window'")
        self.first, self.background, self._said = int(first), background == "negative", False
        if len(bottom) != 2 or len(top) != 1:
            raise self._wrong("scores and instance labels go in, and a loss comes out",
                              f"{len(bottom)} bottoms, {len(top)} tops", 'bottom: "regions" bottom: "instances"')

    def _wrong(self, what: str, found: str, expected: str) -> LayerError:
        return LayerError(what, layer=self._name, found=found, expected=expected,
                          help="correct param_str or the bottoms")

    def reshape(self, bottom: Sequence[Any], top: Sequence[Any]) -> None:
        scores, labels = bottom[0].data.shape, bottom[1].data.shape
        size = self.window // self.upsampling
        if len(scores) != 4 or scores[1] != size * size:
            raise self._wrong("the scores have a wrong shape", str(tuple(scores)), f"N x {size * size} x H x W")
        if len(labels) != 4 or tuple(labels[:2]) != (scores[0], 1):
            raise self._wrong("the labels have a wrong shape", str(tuple(labels)), f"{scores[0]} x 1 x h x w")
        top[0].reshape(1)

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
