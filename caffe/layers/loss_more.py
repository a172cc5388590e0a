"""HingeLoss, ContrastiveLoss, MultinomialLogisticLoss, InfogainLoss."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F

from ..blob import Blob
from ..errors import CaffeError, DataError
from ..function import Shape
from ..layer import register
from ..proto.blobs import read_blob
from .loss import LossLayer, check_label_count, check_labels

_LOG_THRESHOLD = 1e-20
_L2 = 2


def with_gradient_of(value: torch.Tensor, surrogate: torch.Tensor) -> torch.Tensor:
    """A tensor equal to `value` whose gradient is that of `surrogate`: for gradients that are Caffe's own."""
    return surrogate + (value - surrogate).detach()


class _OneLabelPerItem(LossLayer):
    def top_shapes(self, *shapes: Shape) -> Sequence[Shape]:
        self.check_batch(*shapes)
        if math.prod(shapes[1]) != shapes[0][0]:
            self.wrong_shape("needs one label per item", found=f"predictions {shapes[0]}, labels {shapes[1]}",
                             expected=f"{shapes[0][0]} labels", help="use SoftmaxWithLoss for labels per position")
        return [()]

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        items, size = len(bottom[0].tensor()), bottom[0].count // max(1, bottom[0].shape[0])
        check_labels(self, bottom[1].tensor().reshape(items, 1), size, None, bottom)
        super().forward(bottom, top)


@register("HingeLoss")
class HingeLoss(_OneLabelPerItem):
    """sum max(0, 1 + s x)^p / num, s -1 for the label's score and 1 for the others, p 1 or 2 (norm: L2).

    The gradient at the hinge itself is 0.
    """

    def compute(self, x: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        flat = x.reshape(len(x), -1)
        sign = torch.ones_like(flat, requires_grad=False).scatter_(1, label.detach().reshape(-1, 1).long(), -1)
        margin = F.relu(1 + sign * flat)
        return (margin.square() if self.p.norm == _L2 else margin).sum() / len(x)


@register("MultinomialLogisticLoss")
class MultinomialLogisticLoss(_OneLabelPerItem):
    """-log p[label] / num, p at least 1e-20 in loss and gradient alike."""

    def compute(self, p: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        chosen = p.reshape(len(p), -1).gather(1, label.detach().reshape(-1, 1).long())
        return -with_gradient_of(chosen.clamp(min=_LOG_THRESHOLD), chosen).log().sum() / len(p)


@register("ContrastiveLoss")
class ContrastiveLoss(LossLayer):
    """Of pairs (a, b, similar): d^2 / 2 for similar ones, max(0, margin - d)^2 / 2 for others, over num.

    d is the Euclidean distance; its gradient is taken as (a - b) / (d + 1e-4). legacy_version: max(0,
    margin - d^2) / 2 for dissimilar pairs.
    """

    bottoms = 3
    no_diff_to = (2,)

    def top_shapes(self, *shapes: Shape) -> Sequence[Shape]:
        self.check_batch(*shapes)
        a, b, similar = shapes
        if a[:2] != b[:2] or not all(2 <= len(s) <= 4 and math.prod(s[2:]) == 1 for s in (a, b)):
            self.wrong_shape("needs two blobs of vectors", found=f"{a} and {b}", expected="(num, channels), twice",
                             help="flatten them")
        if math.prod(similar) != a[0] or similar[0] != a[0]:
            self.wrong_shape("needs one similarity per pair", found=similar, expected=(a[0],),
                             help="correct the third bottom")
        return [()]

    def compute(self, a: torch.Tensor, b: torch.Tensor, similar: torch.Tensor) -> torch.Tensor:
        diff = (a - b.view_as(a)).reshape(len(a), -1)
        square = diff.square().sum(1)
        if self.p.legacy_version:
            other = F.relu(self.p.margin - square)
        else:
            distance = square.sqrt().detach()
            slope = (diff / (distance + 1e-4)[:, None]).detach()
            other = F.relu(self.p.margin - with_gradient_of(distance, (diff * slope).sum(1))).square()
        return torch.where(similar.detach().reshape(-1).long() != 0, square, other).sum() / (2 * len(a))


@register("InfogainLoss")
class InfogainLoss(LossLayer):
    """-sum_l H[label, l] log softmax(x)[l], H from bottom 2 or from the BlobProto file `source`.

    Probabilities are at least 1e-20 in the loss; the gradient is that of the unbounded logarithm. A second
    top receives the probabilities.
    """

    bottoms = (2, 3)
    tops = (1, 2)
    no_diff_to = (1, 2)

    def configure(self, *shapes: Shape) -> None:
        if self.layer_param.loss_param.HasField("normalize"):
            self.fail("does not know normalize", help="use loss_param { normalization: ... }")
        self.matrix = torch.empty(0) if len(shapes) > 2 else self._read_matrix(self.p.source)

    def _read_matrix(self, source: str) -> torch.Tensor:
        found = None
        if source:
            try:
                return torch.tensor(read_blob(source))
            except CaffeError as problem:
                found = problem.message
        self.fail("needs a matrix H", file=source, found=found, error=DataError,
                  expected="a third bottom, or a binaryproto file with a BlobProto",
                  help='infogain_loss_param { source: "H.binaryproto" }, or give H as a bottom')

    def top_shapes(self, *shapes: Shape) -> Sequence[Shape]:
        self.check_batch(*shapes[:2])
        x = shapes[0]
        self.at = self.axis(self.p.axis, x)
        check_label_count(self, x, shapes[1], self.at)
        count = math.prod(shapes[2]) if len(shapes) > 2 else self.matrix.numel()
        if count != x[self.at] ** 2:
            self.wrong_shape("H must be classes x classes", found=f"{count} elements",
                             expected=f"{x[self.at]} x {x[self.at]}", help="correct H, or the number of classes")
        return [(), x][: len(self.layer_param.top)]

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        check_labels(self, bottom[1].tensor(), bottom[0].shape[self.at], self.ignore_label, bottom)
        super().forward(bottom, top)

    def compute(self, x: torch.Tensor, label: torch.Tensor, *h: torch.Tensor) -> Sequence[torch.Tensor]:
        classes = x.shape[self.at]
        matrix = (h[0].detach() if h else self.matrix.to(x.device)).view(classes, classes)
        label = label.detach().long().reshape(-1)
        valid = torch.ones_like(label, dtype=torch.bool)
        if self.ignore_label is not None:
            valid = label != self.ignore_label
        logs = torch.log_softmax(x, self.at)
        prob = logs.detach().exp()
        bounded = with_gradient_of(prob.clamp(min=_LOG_THRESHOLD).log(), logs)
        rows = bounded.movedim(self.at, -1).reshape(-1, classes)
        losses = -(matrix[torch.where(valid, label, 0)] * rows).sum(1)
        outer = math.prod(x.shape[: self.at])
        loss = torch.where(valid, losses, 0).sum() / self.normalizer(valid.sum(), outer, label.numel())
        return [loss, prob][: len(self.layer_param.top)]
