"""Accuracy and ArgMax: what a net's scores say; neither has a backward pass."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from ..blob import Blob
from ..function import FunctionLayer, Shape
from ..layer import register
from .loss import check_label_count, check_labels


@register("Accuracy")
class Accuracy(FunctionLayer):
    """The fraction of labels whose score is among the top_k of its position; a tie counts against the label.

    Positions with `ignore_label` do not count; none left gives 0. A second top receives the accuracy per
    class, 0 for classes without a label.
    """

    bottoms = 2
    tops = (1, 2)
    differentiable = False

    def top_shapes(self, *shapes: Shape) -> Sequence[Shape]:
        x, label = shapes
        at = self.axis(self.p.axis, x)
        check_label_count(self, x, label, at)
        if self.p.top_k > x[at]:
            self.fail("top_k is larger than the number of classes", found=self.p.top_k, expected=f"up to {x[at]}",
                      help="correct accuracy_param")
        self.at, self.classes = at, x[at]
        return [(), (x[at],)][: len(self.layer_param.top)]

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        x = bottom[0].tensor().movedim(self.at, 0).reshape(self.classes, -1)
        ignore = self.p.ignore_label if self.p.HasField("ignore_label") else None
        label, valid = check_labels(self, bottom[1].tensor().reshape(1, -1), self.classes, ignore, bottom)
        right = (x >= x.gather(0, label)).sum(0) - 1 < self.p.top_k  # the label's own score is among them
        if valid.numel():
            label, right = label[valid], right[valid[0]]
        top[0].put(right.float().sum() / max(1, right.numel()))
        if len(top) > 1:
            counts = torch.bincount(label.flatten(), minlength=self.classes)
            hits = torch.bincount(label.flatten()[right], minlength=self.classes)
            top[1].put(hits / counts.clamp(min=1))


@register("ArgMax")
class ArgMax(FunctionLayer):
    """The indices of the top_k largest values, of equal ones the later first; with out_max_val the values.

    Without `axis` each item is taken as one flat vector and the top is (num, 1, top_k), or (num, 2, top_k)
    with indices and values when out_max_val is set.
    """

    differentiable = False

    def __init__(self, layer_param: Any) -> None:
        super().__init__(layer_param)
        self.has_axis: bool = self.p.HasField("axis")

    def top_shapes(self, *shapes: Shape) -> Sequence[Shape]:
        x, k = shapes[0], self.p.top_k
        self.at = self.axis(self.p.axis, x) if self.has_axis else 0
        size = x[self.at] if self.has_axis else math.prod(x[1:])
        if not 1 <= k <= size:
            self.fail("top_k is out of range", found=k, expected=f"1 to {size}", help="correct argmax_param")
        if self.has_axis:
            return [(*x[: self.at], k, *x[self.at + 1 :])]
        return [(x[0], 2 if self.p.out_max_val else 1, k, *[1] * (len(x) - 3))]

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        flat, at = (x, self.at) if self.has_axis else (x.reshape(len(x), -1), 1)
        last = flat.shape[at] - 1
        backwards = flat.flip(at)  # so that the first of equal values is the one with the larger index
        if self.p.top_k == 1:
            place = backwards.argmax(at, keepdim=True)
            values = backwards.gather(at, place)
        else:
            values, place = torch.sort(backwards, dim=at, descending=True, stable=True)
            values, place = (t.narrow(at, 0, self.p.top_k) for t in (values, place))
        index = (last - place).to(x.dtype)
        if self.has_axis:
            return values if self.p.out_max_val else index
        shape = self.top_shapes(tuple(x.shape))[0]
        return (torch.stack([index, values], 1) if self.p.out_max_val else index).view(shape)
