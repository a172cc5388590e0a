"""The update rules: SGD, Nesterov, AdaGrad, RMSProp, AdaDelta, Adam, as Caffe computes them, in place.

A rule turns gradients into the steps that are then subtracted from the parameters. It gets lists of tensors
of equal learning rate, so that on a GPU one launch serves many parameters. `rate` is the learning rate times
lr_mult, g the gradient with weight decay in it, h the history.
"""
from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from ..errors import SolverError

Tensors = list[torch.Tensor]
# Rules with a temporary hold one of at most this many floats (or of the largest parameter) at a time.
CHUNK = 1 << 24


@dataclass
class Group:
    """Parameters that share rate and decay: data, gradients (in) or steps (out), and histories by slot."""

    rate: float
    decay: float
    data: Tensors = field(default_factory=list)
    grad: Tensors = field(default_factory=list)
    history: list[Tensors] = field(default_factory=list)

    def chunks(self) -> Iterator[Group]:
        """Parts whose tensors hold at most CHUNK numbers together, or a single larger tensor."""
        start = size = 0
        for i, tensor in enumerate(self.data):
            if i > start and size + tensor.numel() > CHUNK:
                yield self._part(start, i)
                start, size = i, 0
            size += tensor.numel()
        yield self._part(start, len(self.data))

    def _part(self, a: int, b: int) -> Group:
        return Group(self.rate, self.decay, self.data[a:b], self.grad[a:b], [h[a:b] for h in self.history])


class Rule:
    """An update rule with `slots` histories per parameter: all of slot 0, then all of slot 1, as in Caffe.

    Raises SolverError for settings that it cannot use.
    """

    slots = 1
    # With rate 0 and an untouched history the step is zero whatever the gradient, and so the history stays.
    idle_at_zero_rate = False
    takes_momentum = True
    below_one: dict[str, str] = {}   # settings that must be at least 0 and below 1 -> what to do

    def __init__(self, param: Any, file: str | None = None) -> None:
        self.param, name = param, type(self).__name__
        if param.momentum != 0 and not self.takes_momentum:
            raise SolverError(f"momentum cannot be used with {name}", file=file, found=param.momentum, expected=0,
                              help="remove `momentum`, or use type \"SGD\", \"Nesterov\" or \"Adam\"")
        for setting, help in self.below_one.items():
            if not 0 <= getattr(param, setting) < 1:
                raise SolverError(f"{setting} is out of range for {name}", file=file, found=getattr(param, setting),
                                  expected=f"0 <= {setting} < 1", help=help)

    def step(self, group: Group, iteration: int) -> None:
        """Replace the gradients by the steps, and bring the histories up to date."""
        raise NotImplementedError


class SGD(Rule):
    """h = momentum * h + rate * g; step = h"""

    idle_at_zero_rate = True

    def step(self, group: Group, iteration: int) -> None:
        (h,) = group.history
        torch._foreach_mul_(h, self.param.momentum)
        torch._foreach_add_(h, group.grad, alpha=group.rate)
        torch._foreach_copy_(group.grad, h)


class Nesterov(Rule):
    """h' = momentum * h + rate * g; step = (1 + momentum) * h' - momentum * h = momentum * h' + rate * g"""

    idle_at_zero_rate = True

    def step(self, group: Group, iteration: int) -> None:
        (h,), momentum = group.history, self.param.momentum
        torch._foreach_mul_(h, momentum)
        torch._foreach_mul_(group.grad, group.rate)
        torch._foreach_add_(h, group.grad)
        torch._foreach_add_(group.grad, h, alpha=momentum)


def _divide_by_root(group: Group, over: Tensors, delta: float) -> None:
    """step = rate * g / (sqrt(over) + delta)"""
    root = torch._foreach_sqrt(over)
    torch._foreach_add_(root, delta)
    torch._foreach_div_(group.grad, root)
    torch._foreach_mul_(group.grad, group.rate)


class AdaGrad(Rule):
    """h = h + g^2; step = rate * g / (sqrt(h) + delta)"""

    takes_momentum = False

    def step(self, group: Group, iteration: int) -> None:
        (h,) = group.history
        torch._foreach_addcmul_(h, group.grad, group.grad)
        _divide_by_root(group, h, self.param.delta)


class RMSProp(Rule):
    """h = rms_decay * h + (1 - rms_decay) * g^2; step = rate * g / (sqrt(h) + delta)"""

    takes_momentum = False
    below_one = {"rms_decay": "0.99 is the default"}

    def step(self, group: Group, iteration: int) -> None:
        (h,) = group.history
        torch._foreach_mul_(h, self.param.rms_decay)
        torch._foreach_addcmul_(h, group.grad, group.grad, value=1 - self.param.rms_decay)
        _divide_by_root(group, h, self.param.delta)


class AdaDelta(Rule):
    """With m = momentum: h = m * h + (1 - m) * g^2; s = g * sqrt((u + delta) / (h + delta));
    u = m * u + (1 - m) * s^2; step = rate * s"""

    slots = 2

    def step(self, group: Group, iteration: int) -> None:
        (h, u), m, delta = group.history, self.param.momentum, self.param.delta
        torch._foreach_mul_(h, m)
        torch._foreach_addcmul_(h, group.grad, group.grad, value=1 - m)
        scale = torch._foreach_add(u, delta)
        torch._foreach_div_(scale, torch._foreach_add(h, delta))
        torch._foreach_sqrt_(scale)
        torch._foreach_mul_(group.grad, scale)
        torch._foreach_mul_(u, m)
        torch._foreach_addcmul_(u, group.grad, group.grad, value=1 - m)
        torch._foreach_mul_(group.grad, group.rate)


class Adam(Rule):
    """h = momentum * h + (1 - momentum) * g; v = momentum2 * v + (1 - momentum2) * g^2;
    step = rate * sqrt(1 - momentum2^t) / (1 - momentum^t) * h / (sqrt(v) + delta), t = iteration + 1

    delta is added to the uncorrected root, as in Caffe (and not as in PyTorch's Adam)."""

    slots = 2
    below_one = {"momentum": "0.9 is usual", "momentum2": "0.999 is usual"}

    def step(self, group: Group, iteration: int) -> None:
        (h, v), beta1, beta2, t = group.history, self.param.momentum, self.param.momentum2, iteration + 1
        torch._foreach_mul_(h, beta1)
        torch._foreach_add_(h, group.grad, alpha=1 - beta1)
        torch._foreach_mul_(v, beta2)
        torch._foreach_addcmul_(v, group.grad, group.grad, value=1 - beta2)
        torch._foreach_copy_(group.grad, h)
        corrected = group.rate * math.sqrt(1 - beta2 ** t) / (1 - beta1 ** t)
        _divide_by_root(Group(corrected, 0.0, group.data, group.grad), v, self.param.delta)


RULES: dict[str, type[Rule]] = {
    "SGD": SGD, "Nesterov": Nesterov, "AdaGrad": AdaGrad, "RMSProp": RMSProp, "AdaDelta": AdaDelta,
    "Adam": Adam}


def clip_scale(grads: Sequence[torch.Tensor], limit: float) -> tuple[float, float]:
    """The L2 norm over all gradients together, and the factor that brings it down to `limit` (1 if below)."""
    if not grads:
        return 0.0, 1.0
    norm = float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(list(grads)))))
    return norm, limit / norm if norm > limit else 1.0


def add_decay(group: Group, regularization: str) -> None:
    """Add the gradient of the weight penalty: decay * w for "L2", decay * sign(w) for "L1"."""
    if group.decay:
        pull = group.data if regularization == "L2" else list(torch._foreach_sign(group.data))
        torch._foreach_add_(group.grad, pull, alpha=group.decay)
