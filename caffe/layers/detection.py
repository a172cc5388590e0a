"""DetectionOutput: boxes decoded from SSD's predictions, and non-maximum suppression."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ..blob import Blob
from ..function import FunctionLayer, Shape
from ..layer import register

CORNER, CENTER_SIZE = 1, 2


def decode(code: int, prior: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Boxes (..., 4) from predictions t, variances multiplied in. prior: (boxes, 4) corners, as the result.

    CORNER: p + t. CORNER_SIZE: p + t size. CENTER_SIZE: centre + t size, size exp t.
    """
    if code == CORNER:
        return prior + t
    size = prior[:, 2:] - prior[:, :2]
    if code != CENTER_SIZE:
        return prior + t * np.concatenate([size, size], 1)
    centre = (prior[:, :2] + prior[:, 2:]) / 2 + t[..., :2] * size
    half = np.exp(t[..., 2:]) * size / 2
    return np.concatenate([centre - half, centre + half], -1)


def overlap(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of one box with others (n, 4), 0 where they do not meet."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    meet = (high - low).clip(0).prod(1)
    union = (box[2:] - box[:2]).clip(0).prod() + (others[:, 2:] - others[:, :2]).clip(0).prod(1) - meet
    return np.where(meet > 0, meet / np.where(union > 0, union, 1), 0)


def suppress(boxes: np.ndarray, scores: np.ndarray, least: float, most_overlap: float, top_k: int,
             eta: float) -> list[int]:
    """Indices kept, best score first: each overlaps those kept before it by at most `most_overlap`.

    Only scores above `least` and the best `top_k` (-1: all) are looked at; equal scores in their order. With
    eta < 1 the limit shrinks by it with each box kept, down to 0.5.
    """
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] > least]
    kept: list[int] = []
    for i in order if top_k < 0 else order[:top_k]:
        if not kept or (overlap(boxes[i], boxes[kept]) <= most_overlap).all():
            kept.append(int(i))
            if eta < 1 and most_overlap > 0.5:
                most_overlap *= eta
    return kept


@register("DetectionOutput")
class DetectionOutput(FunctionLayer):
    """(1, 1, n, 7): rows image, label, confidence, xmin, ymin, xmax, ymax; by image, label, confidence.

    Fork: SSD. Bottoms: locations (num, priors * 4, times classes unless share_location), confidences (num,
    priors * num_classes), PriorBox's top. Each class but the background is suppressed by itself (nms_param),
    then keep_top_k per image are kept. Without any detection there is one row per image: its number, then -1s.
    Saving files and drawing are left to the caller (refused). No backward pass; the work is done on the host.
    """

    bottoms = 3
    differentiable = False

    def configure(self, *shapes: Shape) -> None:
        p, save = self.p, self.p.save_output_param
        if not p.num_classes:
            self.fail("needs num_classes", help="complete detection_output_param")
        if p.nms_param.nms_threshold < 0 or not 0 < p.nms_param.eta <= 1:
            self.fail("nms_threshold must not be negative, and eta in (0, 1]",
                      found=f"{p.nms_param.nms_threshold:g}, {p.nms_param.eta:g}", help="correct nms_param")
        if p.visualize or p.save_file:
            self.fail("draws nothing", found="visualize or save_file", help="remove it; draw the rows of the top")
        if save.output_directory and save.label_map_file and save.name_size_file:
            self.fail("writes no files", found=f"output_directory {save.output_directory}",
                      help="remove output_directory; write the rows of the top")
        self.loc_classes = 1 if p.share_location else p.num_classes

    def top_shapes(self, *shapes: Shape) -> Sequence[Shape]:
        loc, conf, prior = shapes
        priors = prior[2] // 4 if len(prior) == 3 and prior[:2] == (1, 2) else 0
        wanted = ((*loc[:1], priors * self.loc_classes * 4), (*loc[:1], priors * self.p.num_classes))
        found = tuple((*s[:1], int(np.prod(s[1:]))) for s in (loc, conf))
        if not priors or prior[2] % 4 or found != wanted:
            self.wrong_shape("the bottoms do not fit each other", found=shapes,
                             expected=f"{wanted[0]}, {wanted[1]} and (1, 2, priors * 4)",
                             help="correct num_classes, share_location or the layers below")
        return [(1, 1, 1, 7)]

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        rows = self.compute(*(b.tensor().detach() for b in bottom))
        top[0].reshape(*rows.shape)
        top[0].put(rows.to(bottom[0].tensor().device))

    def compute(self, *args: Any) -> torch.Tensor:
        loc, conf, prior = (a.detach().cpu().numpy() for a in args)
        p, num, prior = self.p, len(loc), prior.reshape(2, -1, 4)
        if p.code_type != CORNER and (prior[0, :, 2:] <= prior[0, :, :2]).any():
            self.fail("a prior box has no area", help="correct the PriorBox layers, or use code_type: CORNER")
        loc = loc.reshape(num, -1, self.loc_classes, 4).transpose(0, 2, 1, 3)
        boxes = decode(p.code_type, prior[0], loc if p.variance_encoded_in_target else loc * prior[1])
        scores = conf.reshape(num, -1, p.num_classes)
        rows = [row for i in range(num) for row in self._detections(i, boxes[i], scores[i])]
        if not rows:
            rows = [[i, *[-1] * 6] for i in range(num)]
        return torch.tensor(np.array(rows, np.float32).reshape(1, 1, -1, 7))

    def _detections(self, image: int, boxes: np.ndarray, scores: np.ndarray) -> list[list[float]]:
        """One image's rows. boxes: (1 or classes, priors, 4), scores: (priors, classes)."""
        p, nms = self.p, self.p.nms_param
        least = p.confidence_threshold if p.HasField("confidence_threshold") else -np.inf
        found: list[tuple[float, int, int]] = []
        for label in range(p.num_classes):
            if label != p.background_label_id:
                kept = suppress(boxes[0 if p.share_location else label], scores[:, label], least, nms.nms_threshold,
                                nms.top_k if nms.HasField("top_k") else -1, nms.eta)
                found += [(float(scores[i, label]), label, i) for i in kept]
        if -1 < p.keep_top_k < len(found):
            best = sorted(found, key=lambda one: -one[0])[: p.keep_top_k]
            found = sorted(best, key=lambda one: one[1])
        return [[image, label, score, *boxes[0 if p.share_location else label][i]] for score, label, i in found]
