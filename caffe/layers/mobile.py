"""Layers of small nets: DepthwiseConvolution, ReLU6, ShuffleChannel, and SENet's Axpy."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from ..function import FunctionLayer, Shape
from ..layer import register
from .convolution import Convolution


@register("ConvolutionDepthwise")
@register("DepthwiseConvolution")
class DepthwiseConvolution(Convolution):
    """A Convolution with as many groups as channels; weights (num_output, 1, kernel...).

    Forks: MobileNet's (yonghenglh6/DepthwiseConvolution, farmingyard/ShuffleNet's ConvolutionDepthwise). `group`,
    when it is given, must say so; ConvolutionDepthwise has num_output = channels whatever the prototxt says in
    the fork, and another number is an error here.
    """

    def configure(self, *shapes: Shape) -> None:
        p, axis = self.p, self.axis(self.p.axis, shapes[0])
        channels = shapes[0][axis]
        if p.HasField("group") and p.group != channels:
            self.fail("is a convolution of each channel by itself", found=f"group {p.group}",
                      expected=f"group {channels}", help="correct group, or use type: \"Convolution\"")
        p.group = channels
        if self.type == "ConvolutionDepthwise":
            if p.num_output not in (0, channels):
                self.fail("has as many outputs as channels", found=f"num_output {p.num_output}", expected=channels,
                          help="correct num_output, or use type: \"DepthwiseConvolution\"")
            p.num_output = channels
        super().configure(*shapes)


@register("ReLU6")
class ReLU6(FunctionLayer):
    """y = x between 0 and 6; the gradient at 0 and at 6 is 0. Fork: MobileNetV2's."""

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu6(x)


@register("ShuffleChannel")
class ShuffleChannel(FunctionLayer):
    """Channel i n + j becomes channel j group + i, n = channels / group. Fork: ShuffleNet's."""

    saves_output = False

    def top_shapes(self, *shapes: Shape) -> Sequence[Shape]:
        if len(shapes[0]) < 2 or self.p.group < 1 or shapes[0][1] % self.p.group:
            self.wrong_shape("channels must be a multiple of group", found=f"{shapes[0]}, group {self.p.group}",
                             help="correct shuffle_channel_param")
        return shapes

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        group = self.p.group
        return x.reshape(x.shape[0], group, x.shape[1] // group, -1).transpose(1, 2).reshape(x.shape)


@register("Axpy")
class Axpy(FunctionLayer):
    """y = a x + b with one a per item and channel: bottoms a (num, channels[, 1, 1]), x, b. Fork: SENet's."""

    bottoms = 3
    saves_output = False

    def top_shapes(self, *shapes: Shape) -> Sequence[Shape]:
        a, x, b = shapes
        if x != b or len(x) < 2 or a[:2] != x[:2] or any(n != 1 for n in a[2:]):
            self.wrong_shape("the bottoms do not fit", found=shapes,
                             expected="(num, channels), and twice (num, channels, ...)", help="reshape them")
        return [x]

    def compute(self, a: torch.Tensor, x: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.addcmul(b, a.reshape(*x.shape[:2], *[1] * (x.dim() - 2)), x)
