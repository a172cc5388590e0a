"""Im2col: the windows that a convolution sees, as channels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from ..function import Shape
from ..layer import register
from .convolution import Window


@register("Im2col")
class Im2col(Window):
    """(channels, spatial...) to (channels * kernel, output...), with convolution_param's windows."""

    saves_output = False

    def __init__(self, layer_param: Any) -> None:
        super().__init__(layer_param)
        self.p = layer_param.convolution_param

    def configure(self, *shapes: Shape) -> None:
        self.read_window(shapes[0])
        if self.spatial < 1:
            self.wrong_shape("needs a spatial axis behind the channels", found=shapes[0], help="correct axis")
        self.channels = shapes[0][self.channel_axis]

    def top_shapes(self, *shapes: Shape) -> Sequence[Shape]:
        self.check_bottoms(shapes, self.channels)
        lead, sizes = shapes[0][: self.channel_axis], shapes[0][self.channel_axis + 1 :]
        out = tuple((n + 2 * self.pad[i] - self.extent(i)) // self.stride[i] + 1 for i, n in enumerate(sizes))
        self.not_empty(sizes, out, f"{self.kernel} with pad {self.pad}")
        return [(*lead, self.channels * math.prod(self.kernel), *out)]

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        shape = self.top_shapes(tuple(x.shape))[0]
        x = F.pad(x, [p for pad in reversed(self.pad) for p in (pad, pad)])
        for i in range(self.spatial):  # axis i becomes two: where in the kernel, which window
            at = self.channel_axis + 1 + 2 * i
            reach = (shape[self.channel_axis + 1 + i] - 1) * self.stride[i] + 1
            every = (slice(None),) * at
            samples = [x[(*every, slice(first, first + reach, self.stride[i]))]
                       for first in range(0, self.extent(i), self.dilation[i])]
            x = torch.stack(samples, at) if len(samples) > 1 else samples[0].unsqueeze(at)
        first = self.channel_axis + 1
        order = [*range(first), *range(first, x.dim(), 2), *range(first + 1, x.dim(), 2)]
        return x.permute(order).reshape(shape)
