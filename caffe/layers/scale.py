"""Scale and Bias: a factor or a summand per slice, learned or from a second bottom."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..function import FunctionLayer, Shape
from ..layer import register


class _Broadcast(FunctionLayer):
    """The operand covers axes from `axis` on: `num_axes` of them (-1: all) if learned, else bottom 1's."""

    bottoms = (1, 2)
    saves_output = False

    def operand_shape(self, shape: Shape) -> Shape:
        start, n = self.axis(self.p.axis, shape), self.p.num_axes
        if n < -1 or (n >= 0 and start + n > len(shape)):
            self.wrong_shape("axis + num_axes is out of range", found=f"{start} + {n} of {shape}",
                             expected=f"at most {len(shape)}", help="num_axes: -1 takes all axes that follow")
        return shape[start:] if n == -1 else shape[start : start + n]

    def top_shapes(self, *shapes: Shape) -> Sequence[Shape]:
        shape = shapes[0]
        small = shapes[1] if len(shapes) > 1 else self.blobs[0].shape
        start = self.axis(self.p.axis, shape) if small else 0
        if shape[start : start + len(small)] != small:
            self.wrong_shape("the operand does not match the axes that it covers", found=small,
                             expected=shape[start : start + len(small)], help="correct axis, or the second bottom")
        self.view = (*small, *[1] * (len(shape) - start - len(small)))
        return [shape]


@register("Bias")
class Bias(_Broadcast):
    """y = x + b; b is a parameter, or bottom 1."""

    def configure(self, *shapes: Shape) -> None:
        if len(shapes) == 1:
            self.add_param(self.operand_shape(shapes[0]), self.p.filler)

    def compute(self, x: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return x + b.view(self.view)


@register("Scale")
class Scale(_Broadcast):
    """y = s x (+ b with bias_term); s is a parameter (1 by default), or bottom 1; b is always a parameter."""

    def configure(self, *shapes: Shape) -> None:
        if len(shapes) == 1:
            self.add_param(self.operand_shape(shapes[0]), self.p.filler if self.p.HasField("filler") else 1)
        if self.p.bias_term:
            self.add_param(shapes[1] if len(shapes) > 1 else self.blobs[0].shape, self.p.bias_filler)

    def compute(self, x: torch.Tensor, s: torch.Tensor, *b: torch.Tensor) -> torch.Tensor:
        y = x * s.view(self.view)
        return y + b[0].view(self.view) if b else y
