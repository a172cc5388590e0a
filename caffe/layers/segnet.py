"""Layers of SegNet: Upsample (max unpooling) and BN (batch normalisation with its scale and shift); PSPNet's BN."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ..blob import Blob
from ..function import FunctionLayer, Shape
from ..layer import Count, Layer, register

LEARN = 0
_PSPNET = {"slope_filler", "bias_filler", "momentum", "eps", "frozen", "engine"}


@register("Upsample")
class Upsample(FunctionLayer):
    """y[mask[i]] = x[i] in each plane, 0 elsewhere; bottom 1 is the second top of a MAX Pooling.

    Fork: SegNet. Shape: (upsample_h, upsample_w), or the bottom's times scale (2), less a row or column with
    pad_out_h or pad_out_w. The diff of x is gathered from where it went; the mask's is zero. An index outside
    the top is an error, as in the fork; its -1 of a window outside the plane too, where the fork writes astray.
    """

    bottoms = 2
    saves_output = False

    def configure(self, *shapes: Shape) -> None:
        p = self.p
        for stem in ("upsample", "scale"):
            if p.HasField(f"{stem}_h") != p.HasField(f"{stem}_w"):
                self.fail(f"give both {stem}_h and {stem}_w", help="complete upsample_param")
        if p.HasField("scale") and p.HasField("scale_h"):
            self.fail("give scale, or scale_h and scale_w", found="both", help="correct upsample_param")
        self.exact = (p.upsample_h, p.upsample_w) if p.HasField("upsample_h") else None
        self.scale = (p.scale_h, p.scale_w) if p.HasField("scale_h") else (p.scale, p.scale)
        for size in self.exact or self.scale:
            if size < 2:
                self.fail("upsamples to a size or by a scale of at least 2", found=size, help="correct upsample_param")
        for less, scale in zip((p.pad_out_h, p.pad_out_w), self.scale, strict=True):
            if less and (self.exact or scale != 2):
                self.fail("pad_out_h and pad_out_w go with scale 2 alone", help="give upsample_h and upsample_w")

    def top_shapes(self, *shapes: Shape) -> Sequence[Shape]:
        x, mask = shapes
        if len(x) != 4 or x != mask:
            self.wrong_shape("the mask must have the shape of bottom 0, with four axes", found=f"{x} and {mask}",
                             help="take both from one Pooling's output size")
        less = (self.p.pad_out_h, self.p.pad_out_w)
        scaled = tuple(n * s - int(k) for n, s, k in zip(x[2:], self.scale, less, strict=True))
        return [(*x[:2], *(self.exact or scaled))]

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        index, (height, width) = bottom[1].tensor().long(), top[0].shape[2:]
        if index.numel() and (int(index.min()) < 0 or int(index.max()) >= height * width):
            self.fail("the mask points outside the top", found=f"{int(index.min())} to {int(index.max())}",
                      expected=f"indices into {height} x {width}",
                      help="give upsample_h and upsample_w as the size that the Pooling layer had below it")
        super().forward(bottom, top)

    def compute(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        shape = self.top_shapes(tuple(x.shape), tuple(mask.shape))[0]
        index = mask.detach().flatten(2).long()
        return x.new_zeros(*shape[:2], shape[2] * shape[3]).scatter(2, index, x.flatten(2)).view(shape)


@register("BN")
class BN(FunctionLayer):
    """y = scale (x - mean) / sqrt(var + 1e-9) + shift per channel; bn_mode INFERENCE: y = scale x + shift.

    Fork: SegNet. LEARN takes the batch's statistics in testing too; a net is deployed with them folded into
    scale and shift, and INFERENCE. Parameters: scale, shift, (1, channels, 1, 1) each; their fillers are 0 by
    default, so give scale_filler. Tops 1 and 2, with LEARN: the batch's mean and (biased) variance.
    PSPNet's type of this name is RunningBN, taken for a bn_param with its fields, or four `param` or blobs.
    """

    tops: Count = (1, 3)
    saves_output = False

    @classmethod
    def create(cls, layer_param: Any, where: str = "") -> Layer:
        named = {field.name for field, _ in layer_param.bn_param.ListFields()}
        running = named & _PSPNET or not named and 4 in (len(layer_param.param), len(layer_param.blobs))
        layer = super(BN, RunningBN if running else cls).create(layer_param, where)
        if running and named - _PSPNET:
            layer.fail("mixes fields of SegNet's BN and of PSPNet's", found=", ".join(sorted(named)),
                       expected=f"only, or none, of {', '.join(sorted(_PSPNET))}", help="correct bn_param")
        return layer

    def configure(self, *shapes: Shape) -> None:
        self.top_shapes(shapes[0])
        for filler in (self.p.scale_filler, self.p.shift_filler):
            self.add_param((1, shapes[0][1], 1, 1), filler)
        if self.p.bn_mode != LEARN and len(self.layer_param.top) > 1:
            self.fail("has no batch statistics in INFERENCE", found=f"{len(self.layer_param.top)} tops", expected=1,
                      help="remove the further tops")

    def top_shapes(self, *shapes: Shape) -> Sequence[Shape]:
        shape = shapes[0]
        if len(shape) != 4 or (self.blobs and self.blobs[0].count != shape[1]):
            self.wrong_shape("needs four axes, and the channels that it was made for", found=shape,
                             expected="(num, channels, height, width)", help="reshape the bottom")
        return [shape, *[(1, shape[1], 1, 1)] * (len(self.layer_param.top) - 1)]

    def compute(self, *args: torch.Tensor) -> Sequence[torch.Tensor]:
        x, scale, shift = args
        if self.p.bn_mode != LEARN:
            return [x * scale + shift]
        y = torch.batch_norm(x, scale.flatten(), shift.flatten(), None, None, True, 0, 1e-9, False)
        if len(self.layer_param.top) == 1:
            return [y]
        var, mean = torch.var_mean(x.detach(), (0, 2, 3), correction=0, keepdim=True)
        return [y, mean, var][: len(self.layer_param.top)]


class RunningBN(BN):
    """y = slope (x - mean) / sqrt(var + eps) + bias per channel: the batch's in training, else the running averages.

    Forks: yjxiong's, PSPNet, ICNet (type "BN" too). Parameters: slope, bias, running mean and (biased) variance,
    (1, channels, 1, 1) each; a forward pass in training makes the averages momentum times themselves plus 1 - momentum
    times the batch's. With frozen the averages, variance 1 at first, serve in training too, and nothing is learned.
    """

    tops = 1

    def configure(self, *shapes: Shape) -> None:
        from ..proto import caffe_pb2

        self.top_shapes(shapes[0])
        variance = caffe_pb2.FillerParameter(type="constant", value=float(self.p.frozen))
        for filler in (self.p.slope_filler, self.p.bias_filler, caffe_pb2.FillerParameter(), variance):
            self.add_param((1, shapes[0][1], 1, 1), filler)
        while len(self.layer_param.param) < 4:
            self.layer_param.param.add()
        for spec in self.layer_param.param[0 if self.p.frozen else 2 :]:
            spec.lr_mult = spec.decay_mult = 0
        self.fixed: bool = self.p.frozen or self.phase != 0
        self._batch: tuple[torch.Tensor, torch.Tensor] | None = None

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        super().forward(bottom, top)
        if self._batch is not None:
            for blob, newest in zip(self.blobs[2:], self._batch, strict=True):
                blob.tensor(write=True).lerp_(newest, 1 - self.p.momentum)
            self._batch = None

    def compute(self, *args: torch.Tensor) -> Sequence[torch.Tensor]:
        x, slope, bias, *running = args
        mean, var = (r.detach().flatten() for r in running)
        if not self.fixed:
            var, mean = torch.var_mean(x.detach(), (0, 2, 3), correction=0)
            self._batch = mean.view_as(slope), var.view_as(slope)
            return [torch.batch_norm(x, slope.flatten(), bias.flatten(), None, None, True, 0, self.p.eps, False)]
        return [torch.batch_norm(x, slope.flatten(), bias.flatten(), mean, var, False, 0, self.p.eps, False)]
