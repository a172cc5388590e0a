"""ReLU and Dropout: the two layers that really work in place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from .. import state
from ..blob import Blob
from ..function import FunctionLayer, Shape
from ..layer import register


class InPlace(FunctionLayer):
    """A layer that may overwrite its bottom, and whose backward needs one tensor of its own (`kept`)."""

    def __init__(self, layer_param: Any) -> None:
        super().__init__(layer_param)
        self.kept: torch.Tensor | None = None

    def forget(self) -> None:
        super().forget()
        self.kept = None

    def may_overwrite(self, bottom: Blob, top: Blob) -> bool:
        """In place, and no layer below needs the data as it is."""
        return bottom is top and not bottom.held_by_graph


@register("ReLU")
class ReLU(InPlace):
    """y = x where x > 0, else negative_slope * x. The gradient at 0 is that of the negative side.

    Backward reads the sign off y, so in place it costs no memory. (A Dropout in place behind it may zero
    some of y: their diffs are zero anyway.) A negative negative_slope loses the sign and keeps x instead.
    """

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        slope = self.p.negative_slope
        return F.relu(x) if slope == 0 else F.leaky_relu(x, slope)

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        slope = self.p.negative_slope
        if slope < 0:
            super().forward(bottom, top)
            return
        if self.may_overwrite(bottom[0], top[0]) and not bottom[0].viewed:
            x = bottom[0].tensor(write=True)
            y = F.relu_(x) if slope == 0 else F.leaky_relu_(x, slope)
        else:
            x = bottom[0].tensor()
            y = self.compute(x)
            top[0].put(y)
            top[0].held_by_graph = False
        self.kept = y if self.records_graph else None

    def backward(self, top: Sequence[Blob], propagate_down: Sequence[bool], bottom: Sequence[Blob]) -> None:
        slope = self.p.negative_slope
        if slope < 0:
            super().backward(top, propagate_down, bottom)
        elif propagate_down[0]:
            y = top[0].tensor() if self.kept is None else self.kept
            in_place = bottom[0] is top[0]
            dy = top[0].diff_tensor(write=in_place)
            dx = dy if in_place else torch.empty_like(dy)
            if slope == 0:
                torch.ops.aten.threshold_backward.grad_input(dy, y, 0, grad_input=dx)
            else:
                torch.ops.aten.leaky_relu_backward.grad_input(dy, y, slope, True, grad_input=dx)
            if not in_place:
                bottom[0].put_diff(dx)


@register("Dropout")
class Dropout(InPlace):
    """In training y = x * mask / (1 - dropout_ratio), each mask bit 1 with probability 1 - dropout_ratio.

    In testing y = x, unless SegNet's sample_weights_test asks for samples there too.
    """

    saves_output = False

    def configure(self, *shapes: Shape) -> None:
        if not 0 <= self.p.dropout_ratio < 1:
            self.fail("dropout_ratio must be a probability below 1", found=self.p.dropout_ratio,
                      expected="0 <= dropout_ratio < 1", help="correct dropout_param")
        self.scale = 1 / (1 - self.p.dropout_ratio)
        self.draws: bool = self.phase == 0 or self.p.sample_weights_test

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        return x  # in testing; in training `forward` draws

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        if not self.draws:
            super().forward(bottom, top)
            return
        x = bottom[0].tensor()
        mask = torch.empty(x.shape, dtype=torch.bool, device=x.device)
        self.kept = mask.bernoulli_(1 - self.p.dropout_ratio, generator=state.generator(x.device))
        if self.may_overwrite(bottom[0], top[0]):
            bottom[0].tensor(write=True).mul_(mask).mul_(self.scale)
        else:
            top[0].put((x * mask).mul_(self.scale))
            top[0].held_by_graph = False

    def backward(self, top: Sequence[Blob], propagate_down: Sequence[bool], bottom: Sequence[Blob]) -> None:
        if not self.draws:
            super().backward(top, propagate_down, bottom)
            return
        if not propagate_down[0]:
            return
        if self.kept is None:
            self.fail("backward before forward: there is no mask yet", help="run forward first")
        if bottom[0] is top[0]:
            top[0].diff_tensor(write=True).mul_(self.kept).mul_(self.scale)
        else:
            bottom[0].put_diff((top[0].diff_tensor() * self.kept).mul_(self.scale))
