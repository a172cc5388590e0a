"""Losses of detectors' box regression: L1Loss, and SmoothL1Loss, squared near zero and absolute beyond."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from ..function import Shape
from ..layer import register
from .loss import LossLayer


@register("L1Loss")
class L1Loss(LossLayer):
    """sum |a - b| / num; both bottoms get a diff, 0 where they are equal. Fork: NVCaffe."""

    no_diff_to: tuple[int, ...] = ()

    def top_shapes(self, *shapes: Shape) -> Sequence[Shape]:
        if any(s[:1] != shapes[0][:1] or math.prod(s) != math.prod(shapes[0]) for s in shapes) or not shapes[0]:
            self.wrong_shape("the bottoms have different shapes", found=shapes, help="reshape them")
        return [()]

    def compute(self, a: torch.Tensor, b: torch.Tensor, *weights: torch.Tensor) -> torch.Tensor:
        return (a - b.view_as(a)).abs().sum() / len(a)


@register("SmoothL1Loss")
class SmoothL1Loss(L1Loss):
    """sum w_out f(w_in (a - b)) / num; f(d) = (sigma d)^2 / 2 for |d| < 1 / sigma^2, else |d| - 1 / (2 sigma^2).

    Forks: Fast R-CNN, py-faster-rcnn, SSD. Bottoms a and b, both with a diff, then w_in and w_out, 1 when absent, which
    have none. loss_param plays no part. The gradient is the derivative; Fast R-CNN's and SSD's of three bottoms leaves
    its last factor w_in out, which is the same for weights of 0 and 1.
    """

    bottoms = (2, 4)
    no_diff_to = (2, 3)

    def configure(self, *shapes: Shape) -> None:
        if self.p.sigma <= 0:
            self.fail("sigma must be positive", found=self.p.sigma, help="correct smooth_l1_loss_param")

    def compute(self, a: torch.Tensor, b: torch.Tensor, *weights: torch.Tensor) -> torch.Tensor:
        d, bend = a - b.view_as(a), 1 / self.p.sigma**2
        if weights:
            d = d * weights[0].detach().view_as(d)
        far = d.abs() - bend / 2
        loss = torch.where(d.detach().abs() < bend, d.square() * (0.5 / bend), far)
        if len(weights) > 1:
            loss = loss * weights[1].detach().view_as(d)
        return loss.sum() / len(a)
