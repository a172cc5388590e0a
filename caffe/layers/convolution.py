"""Convolution and Deconvolution over up to three spatial axes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F

from ..function import FunctionLayer, Shape
from ..layer import register
from . import bilinear

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


class Window(FunctionLayer):
    """Kernel, stride, pad and dilation: once, once per spatial axis, or (in two dimensions) as _h and _w."""

    def read_window(self, shape: Shape) -> None:
        self.channel_axis = self.axis(self.p.axis, shape)
        self.spatial = len(shape) - self.channel_axis - 1
        self.kernel = self._per_axis("kernel_size", "kernel", None)
        self.stride = self._per_axis("stride", "stride", 1)
        self.pad = self._per_axis("pad", "pad", 0)
        self.dilation = self._per_axis("dilation", "", 1)
        for name, values in (("kernel_size", self.kernel), ("stride", self.stride), ("dilation", self.dilation)):
            if 0 in values:
                self.fail(f"{name} must be positive", found=values, help=f"correct {name}")

    def _per_axis(self, field: str, stem: str, default: int | None) -> Shape:
        values = list(getattr(self.p, field))
        if stem and (self.p.HasField(f"{stem}_h") or self.p.HasField(f"{stem}_w")):
            if self.spatial != 2:
                self.fail(f"{stem}_h and {stem}_w need two spatial axes", found=self.spatial,
                          help=f"give {field} once per spatial axis")
            if values:
                self.fail(f"has {field} and {stem}_h, {stem}_w", help="give one or the other")
            return getattr(self.p, f"{stem}_h"), getattr(self.p, f"{stem}_w")
        if not values and default is not None:
            values = [default]
        return tuple(self.once_or_each(field, values, self.spatial, "spatial axis"))

    def extent(self, i: int) -> int:
        """How far the dilated kernel reaches along spatial axis i."""
        return self.dilation[i] * (self.kernel[i] - 1) + 1

    def check_bottoms(self, shapes: Sequence[Shape], channels: int) -> None:
        """All bottoms alike, as many axes and channels as when the layer was made."""
        for i, shape in enumerate(shapes):
            if shape != shapes[0]:
                self.wrong_shape(f"bottom {i} differs from bottom 0", found=shape, expected=shapes[0],
                                 help="bottoms that share weights must have one shape")
        if len(shapes[0]) != self.channel_axis + 1 + self.spatial or shapes[0][self.channel_axis] != channels:
            self.wrong_shape("the bottom does not fit the kernel", found=shapes[0], expected=f"{channels} channels on "
                             f"axis {self.channel_axis} and {self.spatial} spatial axes",
                             help="give it a blob with the channels that the layer was made for")


class _Filters(Window):
    """What both directions share: weights, an optional bias, as many tops as bottoms."""

    bottoms = (1, None)
    tops = (1, None)
    saves_output = False

    def configure(self, *shapes: Shape) -> None:
        self.read_window(shapes[0])
        if self.spatial > 3:
            self.fail("has more spatial axes than this engine convolves", found=self.spatial, expected="up to 3",
                      help="set axis so that at most three axes follow the channels")
        self.channels, self.num_output = shapes[0][self.channel_axis], self.p.num_output
        n_top = len(self.layer_param.top)
        if n_top != len(shapes):
            self.fail("needs as many tops as bottoms", found=n_top, expected=len(shapes), help="correct its top: lines")
        self.positive("num_output", "group")
        for name, count in (("input channels", self.channels), ("num_output", self.num_output)):
            if count % self.p.group:
                self.fail(f"{name} must be a multiple of group", found=count, expected=f"a multiple of {self.p.group}",
                          help="change group or num_output")
        first, second = self.weight_channels()
        self.add_param((first, second // self.p.group, *self.kernel), self.p.weight_filler)
        if self.p.bias_term:
            self.add_param((self.num_output,), self.p.bias_filler)
        if self.spatial == 0:  # an inner product per position: computed over one axis of size 1
            self.kernel, self.stride, self.pad, self.dilation = (1,), (1,), (0,), (1,)

    def weight_channels(self) -> tuple[int, int]:
        return self.num_output, self.channels

    def out_size(self, i: int, size: int) -> int:
        raise NotImplementedError

    def apply(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        raise NotImplementedError

    def top_shapes(self, *shapes: Shape) -> Sequence[Shape]:
        self.check_bottoms(shapes, self.channels)
        lead, sizes = shapes[0][: self.channel_axis], shapes[0][self.channel_axis + 1 :]
        out = tuple(self.out_size(i, size) for i, size in enumerate(sizes))
        self.not_empty(sizes, out, f"{self.kernel} with pad {self.pad}")
        return [(*lead, self.num_output, *out)] * len(shapes)

    def compute(self, *args: torch.Tensor) -> list[torch.Tensor]:
        n = len(self.layer_param.bottom)
        weight, bias = args[n], args[n + 1] if len(args) > n + 1 else None
        tops = []
        for x in args[:n]:
            lead = x.shape[: self.channel_axis]
            y = x if len(lead) == 1 else x.reshape(math.prod(lead), *x.shape[self.channel_axis :])
            if self.spatial == 0:
                y = self.apply(y.unsqueeze(-1), weight.unsqueeze(-1), bias).squeeze(-1)
            else:
                y = self.apply(y, weight, bias)
            tops.append(y if len(lead) == 1 else y.reshape(*lead, *y.shape[1:]))
        return tops


@register("Convolution")
class Convolution(_Filters):
    """Cross-correlation; output size (size + 2 pad - extent) / stride + 1 per axis, rounded towards zero.

    So an input up to stride - 1 short of the kernel still gives one output, the kernel hanging over the end.
    `force_nd_im2col` and `engine` choose an implementation in Caffe and nothing here.
    """

    def out_size(self, i: int, size: int) -> int:
        return int((size + 2 * self.pad[i] - self.extent(i)) / self.stride[i]) + 1

    def apply(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        short = [max(0, self.extent(i) - size - 2 * self.pad[i]) for i, size in enumerate(x.shape[2:])]
        if any(short):
            x = F.pad(x, [side for s in reversed(short) for side in (0, s)])
        return _CONV[x.dim() - 2](x, weight, bias, self.stride, self.pad, self.dilation, self.p.group)


@register("Deconvolution")
class Deconvolution(_Filters):
    """The transpose of Convolution; output size stride (size - 1) + extent - 2 pad per axis.

    Weights are (input channels, num_output / group, kernel...), so Caffe's "fan in" of its fillers is
    num_output / group times the kernel's area.
    """

    def weight_channels(self) -> tuple[int, int]:
        return self.channels, self.num_output

    def out_size(self, i: int, size: int) -> int:
        return self.stride[i] * (size - 1) + self.extent(i) - 2 * self.pad[i]

    def apply(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        # on a GPU looking at the weights would wait for the device
        if (x.device.type == "cpu" and x.dim() == 4 and max(self.dilation) == 1 and not weight.requires_grad
                and not torch.compiler.is_compiling()):   # an exported graph has no look at its weights
            fixed = bilinear.factors(weight, self.p.group)
            if fixed:
                y = bilinear.upsample(x, *fixed, self.stride, self.pad)
                return y if bias is None else y + bias[:, None, None]
        return _TRANSPOSED[x.dim() - 2](x, weight, bias, self.stride, self.pad, 0, self.p.group, self.dilation)
