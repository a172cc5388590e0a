"""InnerProduct and Embed: layers that are one matrix."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F

from ..blob import Blob
from ..function import FunctionLayer, Shape
from ..layer import register


@register("InnerProduct")
class InnerProduct(FunctionLayer):
    """y = x W' + b over all axes from `axis` on, flattened. With `transpose` W is (inputs, num_output)."""

    saves_output = False

    def configure(self, *shapes: Shape) -> None:
        self.start = self.axis(self.p.axis, shapes[0])
        self.inputs = math.prod(shapes[0][self.start :])
        self.positive("num_output")
        n = self.p.num_output
        self.add_param((self.inputs, n) if self.p.transpose else (n, self.inputs), self.p.weight_filler)
        if self.p.bias_term:
            self.add_param((n,), self.p.bias_filler)

    def top_shapes(self, *shapes: Shape) -> Sequence[Shape]:
        found = math.prod(shapes[0][self.start :])
        if found != self.inputs:
            self.wrong_shape("the bottom does not fit the weights", found=f"{shapes[0]}: {found} inputs",
                             expected=f"{self.inputs} inputs from axis {self.start} on",
                             help="feed the image size that the net was made for, or convolutionalize the net")
        return [(*shapes[0][: self.start], self.p.num_output)]

    def compute(self, x: torch.Tensor, weight: torch.Tensor, *bias: torch.Tensor) -> torch.Tensor:
        flat = x.reshape(-1, self.inputs)
        y = F.linear(flat, weight.t() if self.p.transpose else weight, *bias)
        return y.view(*x.shape[: self.start], self.p.num_output)


@register("Embed")
class Embed(FunctionLayer):
    """Row x of the weights (input_dim, num_output) for each index x, plus a bias; indices get no diff."""

    no_diff_to = (0,)
    saves_output = False

    def configure(self, *shapes: Shape) -> None:
        p = self.p
        self.positive("num_output", "input_dim")
        self.add_param((p.input_dim, p.num_output), p.weight_filler)
        if p.bias_term:
            self.add_param((p.num_output,), p.bias_filler)

    def top_shapes(self, *shapes: Shape) -> Sequence[Shape]:
        return [(*shapes[0], self.p.num_output)]

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        self.in_range(bottom[0].tensor().long(), self.p.input_dim, "correct the data, or raise input_dim")
        super().forward(bottom, top)

    def compute(self, x: torch.Tensor, weight: torch.Tensor, *bias: torch.Tensor) -> torch.Tensor:
        y = F.embedding(x.detach().long(), weight)
        return y + bias[0] if bias else y
