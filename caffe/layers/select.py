"""Layers that pick or repeat items, and Reduction: BatchReindex, Filter, Tile, Reduction, Parameter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from ..blob import Blob
from ..function import FunctionLayer, Shape
from ..layer import register

_SUM, _ASUM, _SUMSQ, _MEAN = 1, 2, 3, 4


@register("BatchReindex")
class BatchReindex(FunctionLayer):
    """The items of bottom 0 in the order that bottom 1 lists their indices; repeats and omissions allowed."""

    bottoms = 2
    no_diff_to = (1,)
    saves_output = False

    def top_shapes(self, *shapes: Shape) -> Sequence[Shape]:
        if len(shapes[1]) != 1:
            self.wrong_shape("indices have one axis", found=shapes[1], help="flatten bottom 1")
        return [(*shapes[1], *shapes[0][1:])]

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        self.in_range(bottom[1].tensor().long(), bottom[0].shape[0], "correct the indices in bottom 1")
        super().forward(bottom, top)

    def compute(self, x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        return x.index_select(0, index.detach().long())


@register("Filter")
class Filter(FunctionLayer):
    """The items of each bottom but the last for which the last, the selector, is not 0.

    The tops have the full batch size until the first forward.
    """

    bottoms = (2, None)
    tops = (1, None)
    saves_output = False

    def __init__(self, layer_param: Any) -> None:
        super().__init__(layer_param)
        self.no_diff_to = (len(layer_param.bottom) - 1,)
        self._first = True

    def configure(self, *shapes: Shape) -> None:
        if len(self.layer_param.top) != len(shapes) - 1:
            self.fail("needs one top less than bottoms", found=len(self.layer_param.top), expected=len(shapes) - 1,
                      help="the last bottom is the selector and has no top")

    def reshape(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        *blobs, selector = bottom
        if not selector.shape or math.prod(selector.shape[1:]) != 1:
            self.wrong_shape("the selector has one number per item", found=selector.shape, expected="(num, 1, ...)",
                             help="reshape the last bottom")
        for i, blob in enumerate(blobs):
            if blob.shape[:1] != selector.shape[:1]:
                self.wrong_shape(f"bottom {i} and the selector have different batch sizes",
                                 found=f"{blob.shape} and {selector.shape}", help="correct the shapes")
        count = selector.shape[0] if self._first else int(selector.tensor().count_nonzero())
        self._first = False
        for blob, out in zip(blobs, top, strict=True):
            out.reshape(count, *blob.shape[1:])

    def compute(self, *args: torch.Tensor) -> Sequence[torch.Tensor]:
        rows = args[-1].detach().reshape(-1).nonzero().reshape(-1)
        return [x.index_select(0, rows) for x in args[:-1]]


@register("Tile")
class Tile(FunctionLayer):
    """The bottom `tiles` times along `axis`."""

    saves_output = False

    def top_shapes(self, *shapes: Shape) -> Sequence[Shape]:
        if self.p.tiles < 1:
            self.fail("tiles must be given and positive", found=self.p.tiles, help="tile_param { tiles: n }")
        at = self.axis(self.p.axis, shapes[0])
        return [(*shapes[0][:at], shapes[0][at] * self.p.tiles, *shapes[0][at + 1 :])]

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        times = [1] * x.dim()
        times[self.p.axis] = self.p.tiles
        return x.repeat(times)


@register("Reduction")
class Reduction(FunctionLayer):
    """coeff times the SUM, ASUM (absolute), SUMSQ (squares) or MEAN over all axes from `axis` on."""

    saves_output = False

    def top_shapes(self, *shapes: Shape) -> Sequence[Shape]:
        return [shapes[0][: self.axis(self.p.axis, shapes[0])]]

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        at = self.axis(self.p.axis, tuple(x.shape))
        rows = x.reshape(*x.shape[:at], -1)
        if self.p.operation == _ASUM:
            rows = rows.abs()
        elif self.p.operation == _SUMSQ:
            rows = rows.square()
        return (rows.mean(-1) if self.p.operation == _MEAN else rows.sum(-1)) * self.p.coeff


@register("Parameter")
class Parameter(FunctionLayer):
    """A parameter blob of the given shape as a top; the two share memory."""

    bottoms = 0
    shares_data = True

    def configure(self, *shapes: Shape) -> None:
        self.add_param(tuple(self.p.shape.dim), 0)

    def top_shapes(self, *shapes: Shape) -> Sequence[Shape]:
        return [self.blobs[0].shape]

    def compute(self, value: torch.Tensor) -> torch.Tensor:
        return value.view_as(value)

    def backward(self, top: Sequence[Blob], propagate_down: Sequence[bool], bottom: Sequence[Blob]) -> None:
        if any(self.param_propagate_down):
            self.blobs[0].add_diff(top[0].diff_tensor().clone())
