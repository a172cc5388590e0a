"""LRN: local response normalisation across channels and within them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from ..function import FunctionLayer, Shape
from ..layer import register

_ACROSS = 0


def window_sum(x: torch.Tensor, n: int) -> torch.Tensor:
    """Sum over n neighbouring channels, centred, zeros beyond the borders. x: (num, channels, ...)."""
    out = x.clone()
    for shift in range(1, min(n // 2, x.shape[1] - 1) + 1):
        out[:, shift:] += x[:, :-shift]
        out[:, :-shift] += x[:, shift:]
    return out


class _Across(torch.autograd.Function):
    """y = x s^-beta, s = k + alpha/n sum x^2; by hand, because it keeps x and s alone."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, n: int, alpha: float, beta: float, k: float) -> torch.Tensor:
        s = window_sum(x * x, n).mul_(alpha / n).add_(k)
        ctx.save_for_backward(x, s)
        ctx.setting = n, alpha, beta
        return s.pow(-beta).mul_(x)

    @staticmethod
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, s = ctx.saved_tensors
        n, alpha, beta = ctx.setting
        dx = s.pow(-beta).mul_(dy)  # dy s^-beta
        ratio = window_sum(dx * x / s, n)  # sum of dy y / s
        return dx.sub_(ratio.mul_(x), alpha=2 * alpha * beta / n), None, None, None, None


@register("LRN")
class LRN(FunctionLayer):
    """y = x / s^beta over local_size (odd) neighbours.

    ACROSS_CHANNELS: s = k + alpha / n * sum of x^2 over n channels. WITHIN_CHANNEL: s = 1 + alpha * mean of
    x^2 over n x n positions, zeros beyond the border counted; k is not used there.
    """

    saves_output = False

    def configure(self, *shapes: Shape) -> None:
        if self.p.local_size % 2 == 0:
            self.fail("local_size must be odd", found=self.p.local_size, expected="1, 3, 5, ...",
                      help="correct lrn_param")

    def top_shapes(self, *shapes: Shape) -> Sequence[Shape]:
        self.plane(shapes[0])
        return shapes

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        p, n = self.p, self.p.local_size
        if p.norm_region == _ACROSS:
            return _Across.apply(x, n, p.alpha, p.beta, p.k)
        mean = F.avg_pool2d(x * x, n, 1, n // 2)
        return x * (1 + p.alpha * mean).pow(-p.beta)
