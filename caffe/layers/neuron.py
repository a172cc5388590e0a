"""Layers that map each element by itself: Sigmoid, TanH, AbsVal, BNLL, Clip, ELU, Exp, Log, Power, PReLU."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F

from ..function import FunctionLayer, Shape
from ..layer import register


@register("Sigmoid")
class Sigmoid(FunctionLayer):
    """y = 1 / (1 + exp(-x))."""

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(x)


@register("TanH")
class TanH(FunctionLayer):
    """y = tanh x."""

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(x)


@register("AbsVal")
class AbsVal(FunctionLayer):
    """y = |x|; the gradient at 0 is 0."""

    saves_output = False

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        return x.abs()


@register("BNLL")
class BNLL(FunctionLayer):
    """y = log(1 + exp x)."""

    saves_output = False

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        return F.softplus(x)


@register("Clip")
class Clip(FunctionLayer):
    """y = x between min and max; the gradient passes at both bounds, in place (Caffe's quirk) everywhere."""

    saves_output = False

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        y = x.clamp(self.p.min, self.p.max)
        in_place = self.layer_param.bottom[0] == self.layer_param.top[0]
        return x + (y - x).detach() if in_place else y


@register("ELU")
class ELU(FunctionLayer):
    """y = x where x > 0, else alpha (exp x - 1)."""

    saves_output = False

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        return F.elu(x, self.p.alpha)


@register("Swish")
class Swish(FunctionLayer):
    """y = x / (1 + exp(-beta x))."""

    saves_output = False

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.sigmoid(x * self.p.beta)


@register("Threshold")
class Threshold(FunctionLayer):
    """y = 1 where x > threshold, else 0; no backward pass."""

    differentiable = False

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        return (x > self.p.threshold).to(x.dtype)


@register("Power")
class Power(FunctionLayer):
    """y = (shift + scale x)^power; 1 everywhere when power is 0."""

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        power, scale, shift = self.p.power, self.p.scale, self.p.shift
        if power == 0 or scale == 0:  # the input does not matter, not even where it is infinite
            return torch.full_like(x, 1.0 if power == 0 else shift, requires_grad=False).pow(power or 1)
        y = x * scale if scale != 1 else x
        y = y + shift if shift != 0 else y
        return y.pow(power) if power != 1 else y


class _WithBase(FunctionLayer):
    """`base` must be positive; -1, the default, means e."""

    def configure(self, *shapes: Shape) -> None:
        base = self.p.base
        if base != -1 and (base <= 0 or (base == 1 and self.type == "Log")):
            self.fail("base must be positive" + (" and not 1" if self.type == "Log" else ""), found=base,
                      help="leave base out for e")
        self.log_base = 1.0 if base == -1 else math.log(base)


@register("Exp")
class Exp(_WithBase):
    """y = base^(shift + scale x)."""

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        inner = self.log_base * self.p.scale
        y = torch.exp(x * inner if inner != 1 else x)
        return y * math.exp(self.log_base * self.p.shift) if self.p.shift != 0 else y


@register("Log")
class Log(_WithBase):
    """y = log(shift + scale x) to the given base."""

    saves_output = False

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        inner = x * self.p.scale if self.p.scale != 1 else x
        y = torch.log(inner + self.p.shift if self.p.shift != 0 else inner)
        return y / self.log_base if self.log_base != 1 else y


@register("PReLU")
class PReLU(FunctionLayer):
    """y = x where x > 0, else a_c x, with one learned slope per channel (0.25 at first), or one for all."""

    saves_output = False

    def configure(self, *shapes: Shape) -> None:
        self.add_param(() if self.p.channel_shared else shapes[0][1:2],
                       self.p.filler if self.p.HasField("filler") else 0.25)

    def top_shapes(self, *shapes: Shape) -> Sequence[Shape]:
        if not 2 <= len(shapes[0]) <= 4:
            self.wrong_shape("takes two to four axes", found=shapes[0], help="reshape the bottom")
        if not self.p.channel_shared and self.blobs[0].shape != shapes[0][1:2]:
            self.wrong_shape("the bottom does not fit the slopes", found=f"{shapes[0][1]} channels",
                             expected=f"{self.blobs[0].count}", help="keep the channel count that it was made for")
        return shapes

    def compute(self, x: torch.Tensor, slope: torch.Tensor) -> torch.Tensor:
        return F.prelu(x, slope.reshape(-1))
