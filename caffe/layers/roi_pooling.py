"""ROIPooling: the maxima of a grid of bins in each region of interest (Fast R-CNN)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ..function import FunctionLayer, Shape
from ..layer import register


def bins(start: int, end: int, count: int, size: int) -> list[tuple[int, int]]:
    """`count` overlapping intervals that cover start to end (included), cut to 0..size; in float32 as the fork."""
    width = np.float32(max(end - start + 1, 1)) / np.float32(count)
    edges = [(int(np.floor(i * width)), int(np.ceil(np.float32(i + 1) * width)))
             for i in np.arange(count, dtype=np.float32)]
    return [(min(max(a + start, 0), size), min(max(b + start, 0), size)) for a, b in edges]


@register("ROIPooling")
class ROIPooling(FunctionLayer):
    """Bottom 0: (num, channels, height, width); bottom 1: regions (item, x1, y1, x2, y2) in the image's pixels.

    Fork: Fast R-CNN. Corners times spatial_scale are rounded (.5 away from 0), both included. Row i of pooled_h
    covers floor(i b) to ceil((i + 1) b), b = height / pooled_h; columns alike; parts outside the plane are cut
    off, an empty bin gives 0. The diff goes to the first maximum in each bin; the regions' is zero.
    """

    bottoms = 2
    saves_output = False

    def configure(self, *shapes: Shape) -> None:
        if min(self.p.pooled_h, self.p.pooled_w) < 1:
            self.fail("pooled_h and pooled_w must be positive", found=(self.p.pooled_h, self.p.pooled_w),
                      help="complete roi_pooling_param")

    def top_shapes(self, *shapes: Shape) -> Sequence[Shape]:
        x, rois = shapes
        if len(x) != 4 or len(rois) < 2 or rois[1] != 5 or any(n != 1 for n in rois[2:]):
            self.wrong_shape("the bottoms do not fit", found=shapes,
                             expected="(num, channels, height, width) and (regions, 5)", help="reshape them")
        return [(rois[0], x[1], self.p.pooled_h, self.p.pooled_w)]

    def compute(self, x: torch.Tensor, rois: torch.Tensor) -> torch.Tensor:
        table = rois.detach().cpu().numpy().reshape(len(rois), 5).astype(np.float32)
        corners = (table[:, 1:] * np.float32(self.p.spatial_scale)).astype(np.float64)
        corners = np.copysign(np.floor(np.abs(corners) + 0.5), corners)
        if not np.isfinite(corners).all() or any(not 0 <= item < len(x) for item in table[:, 0]):
            self.fail("a region names no item of the batch, or is not finite", expected=f"items 0 to {len(x) - 1}",
                      help="correct the first column of bottom 1")
        tops = [self._pool(x[int(row[0])], *(int(c) for c in corner))
                for row, corner in zip(table, corners, strict=True)]
        return torch.stack(tops) if tops else x.new_zeros(self.top_shapes(tuple(x.shape), tuple(rois.shape))[0])

    def _pool(self, x: torch.Tensor, x1: int, y1: int, x2: int, y2: int) -> torch.Tensor:
        """One region of x (channels, height, width): first each row over columns, then rows, so that the first
        of equal maxima in reading order gets the diff."""
        rows, cols = bins(y1, y2, self.p.pooled_h, x.shape[1]), bins(x1, x2, self.p.pooled_w, x.shape[2])
        wide = torch.stack([x[:, :, a:b].max(2).values if a < b else x.new_zeros(x.shape[:2]) for a, b in cols], 2)
        return torch.stack(
            [wide[:, a:b].max(1).values if a < b else x.new_zeros(x.shape[0], len(cols)) for a, b in rows], 1
        )
