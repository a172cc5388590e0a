"""MultiBoxLoss: SSD's loss of boxes and classes on the default boxes that match an object, and on hard negatives."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F

from ..errors import DataError
from ..function import Shape
from ..layer import register
from .detection import CENTER_SIZE, CORNER
from .loss import LossLayer

_L2, _BIPARTITE, _NO_MINING, _MAX_NEGATIVE = 0, 0, 0, 1


def encode(code: int, prior: torch.Tensor, box: torch.Tensor) -> torch.Tensor:
    """What `detection.decode` makes `box` of, variances left out; both (boxes, 4) corners."""
    if code == CORNER:
        return box - prior
    size = prior[:, 2:] - prior[:, :2]
    if code != CENTER_SIZE:
        return (box - prior) / torch.cat([size, size], 1)
    centre = (box[:, :2] + box[:, 2:] - prior[:, :2] - prior[:, 2:]) / 2
    return torch.cat([centre / size, ((box[:, 2:] - box[:, :2]) / size).log()], 1)


def overlaps(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Intersection over union of each box of a (n, 4) with each of b (m, 4): (n, m), 0 up to 1e-6."""
    low, high = torch.maximum(a[:, None, :2], b[:, :2]), torch.minimum(a[:, None, 2:], b[:, 2:])
    meet = (high - low).clamp(min=0).prod(2)
    area_a, area_b = ((x[:, 2:] - x[:, :2]).clamp(min=0).prod(1) for x in (a, b))
    ratio = meet / (area_a[:, None] + area_b - meet)
    return torch.where(ratio > 1e-6, ratio, 0)


@register("MultiBoxLoss")
class MultiBoxLoss(LossLayer):
    """(loc_weight sum over matches of f(location - target) + sum of -log softmax(confidence)[label]) / normalizer.

    Fork: SSD. Bottoms: locations (num, priors * 4), confidences (num, priors * num_classes), PriorBox's top, objects
    (1, 1, n, 8): item (-1: none), label, instance, corners, difficult. Each object in turn, the largest overlap
    first, takes the prior that overlaps it most; with PER_PREDICTION other priors of overlap_threshold take their
    best object. f is smooth L1 or d^2 / 2, summed over four numbers. The second sum is over matches and the
    neg_pos_ratio as many other priors of that image, overlapping less than neg_overlap, whose background is the least
    probable (mining_type NONE: over all priors). VALID divides by the matches. Images without objects play no part.
    """

    bottoms = 4
    no_diff_to = (2, 3)

    def configure(self, *shapes: Shape) -> None:
        p = self.p
        for wrong, what in (
            (not p.share_location, "share_location: false"), (p.conf_loss_type, "conf_loss_type: LOGISTIC"),
            (not p.use_prior_for_matching, "use_prior_for_matching: false"),
            (p.mining_type > _MAX_NEGATIVE, "mining_type: HARD_EXAMPLE"),
            (p.bp_inside, "bp_inside"), (p.ignore_cross_boundary_bbox, "ignore_cross_boundary_bbox"),
            (p.map_object_to_agnostic, "map_object_to_agnostic"), (p.ignore_difficult_gt, "ignore_difficult_gt"),
            (p.HasField("nms_param"), "nms_param"),
        ):
            if wrong:
                self.fail("this part of the fork's layer is not implemented", found=what, help="remove it, or use the "
                          "settings of SSD's published nets")
        if p.background_label_id >= p.num_classes:
            self.fail("background_label_id must be one of num_classes", found=f"{p.background_label_id} of "
                      f"{p.num_classes}", help="complete multibox_loss_param")
        if p.HasField("do_neg_mining") and p.do_neg_mining != (p.mining_type != _NO_MINING):
            self.fail("do_neg_mining and mining_type contradict each other", help="give mining_type alone")
        down = list(self.layer_param.propagate_down) or [True, True]   # in the fork a part without a diff is no loss
        self.loc_weight, self.conf_weight = p.loc_weight * down[0], float(down[1])

    def top_shapes(self, *shapes: Shape) -> Sequence[Shape]:
        loc, conf, prior, gt = shapes
        if (len(prior) != 3 or prior[:2] != (1, 2) or prior[2] % 4 or gt[-1:] != (8,) or not loc or loc[:1] != conf[:1]
                or math.prod(loc[1:]) != prior[2] or math.prod(conf[1:]) != prior[2] // 4 * self.p.num_classes):
            self.wrong_shape("the bottoms do not fit", found=shapes, help="flatten predictions per item, and give "
                             "PriorBox's top and objects of 8 numbers",
                             expected="(num, priors * 4), (num, priors * num_classes), (1, 2, priors * 4), (..., 8)")
        return [()]

    def compute(self, loc: torch.Tensor, conf: torch.Tensor, prior: torch.Tensor, gt: torch.Tensor) -> torch.Tensor:
        p, background = self.p, self.p.background_label_id
        boxes, variance = prior.detach().reshape(2, -1, 4)
        if p.code_type != CORNER and bool((boxes[:, 2:] <= boxes[:, :2]).any()):
            self.fail("a prior box has no area", help="correct the PriorBox layers, or use code_type: CORNER")
        loc, logs = loc.view(len(loc), -1, 4), conf.view(len(loc), -1, p.num_classes).log_softmax(2)
        images = self._objects(gt, len(loc))
        place, target = loc.new_zeros(()), loc.new_zeros(())
        count = torch.zeros((), dtype=torch.long, device=loc.device)
        for i, objects in enumerate(images):
            found = torch.zeros(len(boxes), dtype=torch.bool, device=loc.device)
            label, chosen = found.long() + background, ~found if p.mining_type == _NO_MINING else found
            if len(objects):
                match, best = self._match(boxes, objects[:, 3:7])
                found = match >= 0
                objects = objects[match.clamp(min=0)]
                label = torch.where(found, objects[:, 1].long(), background)
                if p.mining_type == _MAX_NEGATIVE:
                    chosen = found | self._negatives(-logs[i, :, background].detach(), found, best)
                code = encode(p.code_type, boxes, objects[:, 3:7])
                d = (loc[i] - code) / variance if p.encode_variance_in_target else loc[i] - code / variance
                each = d.square() / 2 if p.loc_loss_type == _L2 else F.smooth_l1_loss(d, torch.zeros_like(d),
                                                                                     reduction="none")
                place = place + torch.where(found, each.sum(1), 0).sum()
            target = target - torch.where(chosen, logs[i].gather(1, label[:, None])[:, 0], 0).sum()
            count = count + found.sum()
        return (self.loc_weight * place + self.conf_weight * target) / self.normalizer(
            count, len(loc), len(loc) * len(boxes))

    def _objects(self, gt: torch.Tensor, num: int) -> list[torch.Tensor]:
        """The checked rows of each image."""
        rows = gt.detach().reshape(-1, 8).cpu()
        rows = rows[rows[:, 0] != -1]
        if not self.p.use_difficult_gt:
            rows = rows[rows[:, 7] == 0]
        label = rows[:, 1]
        bad = (label < 0) | (label >= self.p.num_classes) | (label == self.p.background_label_id) | (
            (rows[:, 5:7] <= rows[:, 3:5]).any(1)) | ~rows.isfinite().all(1)
        if bool(bad.any()):
            raise DataError("MultiBoxLoss: an object has no area, or a label that is none", layer=self.name,
                            file=self.defined_at or None, found=[round(float(v), 4) for v in rows[bad][0]],
                            expected=f"labels below {self.p.num_classes}, not {self.p.background_label_id}",
                            help="correct the objects: item, label, instance, xmin, ymin, xmax, ymax, difficult")
        return [rows[rows[:, 0] == i].to(gt.device) for i in range(num)]

    def _match(self, boxes: torch.Tensor, objects: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The object of each box, or -1, and its largest overlap."""
        left = overlaps(boxes, objects)
        best, match = left.max(1)
        least = self.p.overlap_threshold if self.p.match_type != _BIPARTITE else torch.inf
        match = torch.where((best >= least) & (best > 0), match, -1)
        for _ in range(len(objects)):
            at = left.argmax().view(1)
            i, j = at // len(objects), at % len(objects)
            match.index_copy_(0, i, torch.where(left.view(-1)[at] > 0, j, match[i]))
            left.index_fill_(0, i, -1).index_fill_(1, j, -1)
        return match, best

    def _negatives(self, loss: torch.Tensor, found: torch.Tensor, best: torch.Tensor) -> torch.Tensor:
        """Which boxes are the hard negatives of an image."""
        eligible = ~found & (best < self.p.neg_overlap)
        order = torch.where(eligible, loss, -torch.inf).argsort(descending=True, stable=True)
        rank = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
        return eligible & (rank < (found.sum() * self.p.neg_pos_ratio).floor())
