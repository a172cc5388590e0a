"""What losses share (normalisation, labels), and SigmoidCrossEntropyLoss and EuclideanLoss."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from ..blob import Blob
from ..errors import DataError
from ..function import FunctionLayer, Shape
from ..layer import Count, Layer, register

_FULL, _VALID, _BATCH_SIZE, _NONE = 0, 1, 2, 3


class LossLayer(FunctionLayer):
    """Two bottoms of one batch size to one number, whose loss weight is 1 by default; labels get no diff."""

    bottoms: Count = 2
    tops: Count = 1
    auto_tops = True
    is_loss = True
    no_diff_to: tuple[int, ...] = (1,)
    default_normalization = _VALID
    weights_classes = False     # knows SegNet's weight_by_label_freqs

    def __init__(self, layer_param: Any) -> None:
        super().__init__(layer_param)
        loss = layer_param.loss_param
        if loss.weight_by_label_freqs and not self.weights_classes:
            self.fail("does not weight classes", found="weight_by_label_freqs", help="remove it from loss_param")
        self.ignore_label: int | None = loss.ignore_label if loss.HasField("ignore_label") else None
        if loss.HasField("normalization"):
            self.normalization = loss.normalization
        elif loss.HasField("normalize"):
            self.normalization = _VALID if loss.normalize else _BATCH_SIZE
        else:
            self.normalization = self.default_normalization

    def normalizer(self, valid: torch.Tensor, batch: int, full: int) -> torch.Tensor:
        """What to divide the loss by: at least 1, so that a batch without any label gives 0."""
        if self.normalization == _VALID:
            return valid.float().clamp(min=1)
        size = {_FULL: full, _BATCH_SIZE: batch, _NONE: 1}[self.normalization]
        return torch.full((), max(1, size), dtype=torch.float32, device=valid.device)  # torch.tensor would sync

    def check_batch(self, *shapes: Shape) -> None:
        if not shapes[0] or not shapes[1] or shapes[0][0] != shapes[1][0]:
            self.wrong_shape("data and label have different first axes", found=f"{shapes[0]} and {shapes[1]}",
                             expected="one batch size", help="correct the shapes of the two bottoms")

    def top_shapes(self, *shapes: Shape) -> Sequence[Shape]:
        self.check_batch(*shapes)
        return [()]


def check_label_count(layer: FunctionLayer, x: Shape, label: Shape, axis: int) -> None:
    """One label for every position that is left when the class axis is taken out."""
    expected = (*x[:axis], *x[axis + 1 :])
    if math.prod(label) != math.prod(expected):
        layer.wrong_shape("needs one label per prediction", found=f"predictions {x}, labels {label}",
                          expected=f"labels of {math.prod(expected)} elements, such as {expected}",
                          help=f"give integer labels below {x[axis]}, not one-hot vectors")


def check_labels(layer: Layer, label: torch.Tensor, classes: int, ignore: int | None,
                 bottom: Sequence[Blob]) -> tuple[torch.Tensor, torch.Tensor]:
    """Labels as integers, ignored ones set to 0, and which ones count (empty when none can be ignored).

    Caffe reads beyond its arrays for a label outside 0..classes-1; here that is a DataError with value and
    place.
    """
    index = label.long()
    valid = torch.empty(0, dtype=torch.bool, device=label.device)
    if ignore is not None:
        valid = index != ignore
        index = index.masked_fill_(~valid, 0)
    if index.numel():
        low, high = torch.stack(torch.aminmax(index)).tolist()  # on a GPU one wait, not two
        if low < 0 or high >= classes:
            _bad_label(layer, index.reshape(bottom[1].shape), classes, ignore, bottom[1])
    return index, valid


def _bad_label(layer: Layer, index: torch.Tensor, classes: int, ignore: int | None, blob: Blob) -> None:
    wrong = (index < 0) | (index >= classes)
    place = tuple(wrong.nonzero()[0].tolist())
    value = float(blob.tensor()[place])
    also = "" if ignore is None else f", or ignore_label {ignore}"
    raise DataError(f"{layer.type}: label {value:g} is out of range", file=layer.defined_at or None, layer=layer.name,
                    found=f"{int(wrong.sum())} such labels, the first at {place} of blob '{blob.name}' {blob.shape}",
                    expected=f"integers from 0 to {classes - 1} ({classes} classes){also}",
                    help="correct the labels, the number of classes (num_output), or loss_param's ignore_label")


@register("SigmoidCrossEntropyLoss")
class SigmoidCrossEntropyLoss(LossLayer):
    """-t log s(x) - (1 - t) log(1 - s(x)), s the sigmoid, summed over all elements; BATCH_SIZE by default.

    Targets equal to `ignore_label` are left out.
    """

    default_normalization = _BATCH_SIZE

    def top_shapes(self, *shapes: Shape) -> Sequence[Shape]:
        self.check_batch(*shapes)
        if math.prod(shapes[0]) != math.prod(shapes[1]):
            self.wrong_shape("needs one target per logit", found=f"logits {shapes[0]}, targets {shapes[1]}",
                             help="correct the shapes of the two bottoms")
        return [()]

    def compute(self, x: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        target = target.view_as(x)
        losses = F.binary_cross_entropy_with_logits(x, target, reduction="none")
        count = torch.full((), x.numel(), device=x.device)
        if self.ignore_label is not None:
            valid = target.long() != self.ignore_label
            losses, count = torch.where(valid, losses, 0), valid.sum()
        return losses.sum() / self.normalizer(count, len(x), x.numel())


@register("EuclideanLoss")
class EuclideanLoss(LossLayer):
    """sum (a - b)^2 / (2 num); both bottoms get a diff."""

    no_diff_to = ()

    def top_shapes(self, *shapes: Shape) -> Sequence[Shape]:
        self.check_batch(*shapes)
        if max(map(len, shapes)) > 4:
            self.wrong_shape("takes at most four axes", found=f"{shapes[0]} and {shapes[1]}", help="reshape them")
        if math.prod(shapes[0][1:]) != math.prod(shapes[1][1:]):
            self.wrong_shape("the bottoms have different sizes", found=f"{shapes[0]} and {shapes[1]}",
                             expected="equally many elements per item", help="correct the shapes of the two bottoms")
        return [()]

    def compute(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return (a - b.view_as(a)).square().sum() / (2 * len(a))
