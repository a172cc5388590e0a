"""Softmax and SoftmaxWithLoss."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from ..blob import Blob
from ..function import FunctionLayer, Shape
from ..layer import register
from .loss import LossLayer, check_label_count, check_labels

# Caffe takes the logarithm of max(prob, FLT_MIN)
_FLT_MIN = torch.finfo(torch.float32).tiny


@register("Softmax")
class Softmax(FunctionLayer):
    """exp(x) / sum exp(x) along `axis`, the maximum taken off first."""

    def top_shapes(self, *shapes: Shape) -> Sequence[Shape]:
        self.at = self.axis(self.p.axis, shapes[0])
        return shapes

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        return torch.softmax(x, self.at)


@register("SoftmaxWithLoss")
class SoftmaxWithLoss(LossLayer):
    """-log softmax(x)[label], summed and divided by the normalizer; a second top receives the probabilities.

    Labels are integers below the number of classes, one per position, those equal to `ignore_label` left out. SegNet's
    weight_by_label_freqs multiplies each position's loss by class_weighting of its label; the normalizer stays.
    Written by hand: the probabilities are all that is kept, and the gradient is prob - onehot.
    """

    tops = (1, 2)
    weights_classes = True

    def __init__(self, layer_param: Any) -> None:
        super().__init__(layer_param)
        self.kept: tuple[torch.Tensor, ...] | None = None
        self.weights = torch.tensor(layer_param.loss_param.class_weighting)

    def forget(self) -> None:
        self.kept = None

    def top_shapes(self, *shapes: Shape) -> Sequence[Shape]:
        self.check_batch(*shapes)
        x, label = shapes
        self.at = self.axis(self.p.axis, x)
        check_label_count(self, x, label, self.at)
        if self.layer_param.loss_param.weight_by_label_freqs and len(self.weights) != x[self.at]:
            self.wrong_shape("needs one class_weighting for each class", found=len(self.weights), expected=x[self.at],
                             help="correct loss_param")
        return [(), x][: len(self.layer_param.top)]

    def _evaluate(self, bottom: Sequence[Blob]) -> tuple[torch.Tensor, ...]:
        """Probabilities, labels (ignored ones 0), which of them count or how much (or empty), and the normalizer."""
        shape, at = bottom[0].shape, self.at
        x = bottom[0].tensor().reshape(math.prod(shape[:at]), shape[at], math.prod(shape[at + 1 :]))
        prob = torch.softmax(x, 1)
        label = bottom[1].tensor().reshape(len(x), 1, x.shape[2])
        index, valid = check_labels(self, label, x.shape[1], self.ignore_label, bottom)
        count = valid.sum() if valid.numel() else label.new_full((), label.numel())
        if self.layer_param.loss_param.weight_by_label_freqs:
            self.weights = self.weights.to(x.device)
            valid = self.weights[index] * (valid if valid.numel() else 1)
        return prob, index, valid, self.normalizer(count, len(x), label.numel())

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        prob, index, valid, normalizer = self._evaluate(bottom)
        losses = prob.gather(1, index).clamp_(min=_FLT_MIN).log_().neg_()
        if valid.numel():
            losses *= valid
        top[0].put(losses.sum() / normalizer)
        if len(top) > 1:
            top[1].put(prob.clone())
        self.kept = (prob, index, valid, normalizer) if self.records_graph else None

    def backward(self, top: Sequence[Blob], propagate_down: Sequence[bool], bottom: Sequence[Blob]) -> None:
        self.refuse_diffs(propagate_down)
        if not propagate_down[0]:
            return
        prob, index, valid, normalizer = self.kept or self._evaluate(bottom)
        scale = (top[0].diff_tensor() / normalizer).expand(index.shape)
        if valid.numel():
            scale = scale * valid
        bottom[0].put_diff((prob * scale).scatter_add_(1, index, -scale))
