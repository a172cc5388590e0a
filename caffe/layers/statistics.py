"""BatchNorm and MVN: zero mean and unit variance, over the batch or within each item."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from ..blob import Blob
from ..function import FunctionLayer, Shape
from ..layer import register


@register("BatchNorm")
class BatchNorm(FunctionLayer):
    """y = (x - mean) / sqrt(var + eps) per channel (axis 1): the batch's in training, else those gathered.

    Parameters: sums of means, of variances (with m / (m - 1), m elements per channel) and of weights, each
    moving_average_fraction times the former plus the newest; the first two over the third are the
    estimates, and a third of 0 means mean 0 and variance 0. They cannot be learned: their lr_mult is 0.
    Fork: NVCaffe's scale_bias (or scale_filler, bias_filler) adds a learned scale, 1, and bias, 0, as parameters 3
    and 4, and an eps of at least 1e-5. There the third is always 1, and averages begin with the first batch.
    """

    saves_output = False

    def configure(self, *shapes: Shape) -> None:
        if len(shapes[0]) < 2:
            self.wrong_shape("needs a channel axis", found=shapes[0], expected="(num, channels, ...)",
                             help="reshape the bottom")
        for shape in (shapes[0][1:2], shapes[0][1:2], (1,)):
            self.add_param(shape, 0)
        p, self.eps = self.p, self.p.eps
        if p.scale_bias or p.HasField("scale_filler") or p.HasField("bias_filler"):
            self.add_param(shapes[0][1:2], p.scale_filler if p.HasField("scale_filler") else 1)
            self.add_param(shapes[0][1:2], p.bias_filler)
            self.eps = max(self.eps, 1e-5)
        for i, spec in enumerate(self.layer_param.param[:3]):
            if spec.lr_mult != 0:
                self.fail(f"param {i} is a statistic, which is not learned", found=f"lr_mult {spec.lr_mult:g}",
                          expected="lr_mult 0", help="remove the param entries of this layer")
        while len(self.layer_param.param) < 3:
            self.layer_param.param.add(lr_mult=0)
        given = self.p.HasField("use_global_stats")
        self.use_global: bool = self.p.use_global_stats if given else self.phase != 0
        self._batch: tuple[torch.Tensor, torch.Tensor] | None = None

    def top_shapes(self, *shapes: Shape) -> Sequence[Shape]:
        if shapes[0][1:2] != self.blobs[0].shape:
            self.wrong_shape("the bottom does not fit the statistics", found=shapes[0],
                             expected=f"{self.blobs[0].count} channels",
                             help="keep the channel count that it was made for")
        return shapes

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        super().forward(bottom, top)
        if self._batch is not None:
            one = self._batch[0].new_ones(1)
            for blob, newest in zip(self.blobs[:3], (*self._batch, one), strict=True):
                blob.tensor(write=True).mul_(self.p.moving_average_fraction).add_(newest)
            self._batch = None

    def compute(self, x: torch.Tensor, mean: torch.Tensor, var: torch.Tensor, weight: torch.Tensor,
                *affine: torch.Tensor) -> torch.Tensor:
        eps, (scale_by, shift_by) = self.eps, affine or (None, None)
        if self.use_global:
            scale = torch.where(weight == 0, 0, 1 / weight).detach()
            return torch.batch_norm(x, scale_by, shift_by, mean.detach() * scale, var.detach() * scale, False, 0, eps,
                                    False)
        sums = torch.zeros_like(mean, requires_grad=False), torch.zeros_like(var, requires_grad=False)
        if x.numel() == len(mean):  # one element per channel: y is 0 exactly, its m / (m - 1) does not exist
            self._batch = x.detach().reshape(-1), torch.zeros_like(var, requires_grad=False)
            return torch.batch_norm(x - x.detach(), scale_by, shift_by, *sums, True, 1, eps, False)
        self._batch = sums
        return torch.batch_norm(x, scale_by, shift_by, *sums, True, 1, eps, False)


class _Normalized(torch.autograd.Function):
    """Rows to (x - mean) / (std + eps); Caffe's gradient, in which std + eps stands for std."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, eps: float) -> torch.Tensor:
        centred = x - x.mean(1, keepdim=True)
        std = centred.square().mean(1, keepdim=True).sqrt_().add_(eps)
        y = centred.div_(std)
        ctx.save_for_backward(y, std)
        return y

    @staticmethod
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[torch.Tensor, None]:
        y, std = ctx.saved_tensors
        return (dy - dy.mean(1, keepdim=True) - y * (dy * y).mean(1, keepdim=True)) / std, None


@register("MVN")
class MVN(FunctionLayer):
    """(x - mean) / (std + eps) of each channel of each item, or with across_channels of each item.

    normalize_variance: false only takes off the mean. The top has four axes whatever the bottom has.
    """

    def top_shapes(self, *shapes: Shape) -> Sequence[Shape]:
        if not 1 <= len(shapes[0]) <= 4:
            self.wrong_shape("takes one to four axes", found=shapes[0], help="reshape the bottom")
        return [shapes[0] + (1,) * (4 - len(shapes[0]))]

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        shape = self.top_shapes(tuple(x.shape))[0]
        rows = x.reshape(math.prod(shape[: 1 if self.p.across_channels else 2]), -1)
        if self.p.normalize_variance:
            return _Normalized.apply(rows, self.p.eps).view(shape)
        return (rows - rows.mean(1, keepdim=True)).view(shape)
