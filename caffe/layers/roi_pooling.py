"""ROIPooling and PSROIPooling: maxima or means of a grid of bins in each region of interest (Fast R-CNN, R-FCN)."""

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
        return [(self.regions(*shapes), x[1], self.p.pooled_h, self.p.pooled_w)]

    def regions(self, x: Shape, rois: Shape) -> int:
        """How many regions there are, once the bottoms' shapes are checked."""
        if len(x) != 4 or len(rois) < 2 or rois[1] != 5 or any(n != 1 for n in rois[2:]):
            self.wrong_shape("the bottoms do not fit", found=(x, rois),
                             expected="(num, channels, height, width) and (regions, 5)", help="reshape them")
        return rois[0]

    def compute(self, x: torch.Tensor, rois: torch.Tensor) -> torch.Tensor:
        table = self.table(x, rois)
        corners = (table[:, 1:] * np.float32(self.p.spatial_scale)).astype(np.float64)
        corners = np.copysign(np.floor(np.abs(corners) + 0.5), corners)
        tops = [self._pool(x[int(row[0])], *(int(c) for c in corner))
                for row, corner in zip(table, corners, strict=True)]
        return torch.stack(tops) if tops else x.new_zeros(self.top_shapes(tuple(x.shape), tuple(rois.shape))[0])

    def table(self, x: torch.Tensor, rois: torch.Tensor) -> np.ndarray:
        """The regions (n, 5), checked."""
        table = rois.detach().cpu().numpy().reshape(len(rois), 5).astype(np.float32)
        if not np.isfinite(table).all() or any(not 0 <= item < len(x) for item in table[:, 0]):
            self.fail("a region names no item of the batch, or is not finite", expected=f"items 0 to {len(x) - 1}",
                      help="correct the first column of bottom 1")
        return table

    def _pool(self, x: torch.Tensor, x1: int, y1: int, x2: int, y2: int) -> torch.Tensor:
        """One region of x (channels, height, width): first each row over columns, then rows, so that the first
        of equal maxima in reading order gets the diff."""
        rows, cols = bins(y1, y2, self.p.pooled_h, x.shape[1]), bins(x1, x2, self.p.pooled_w, x.shape[2])
        wide = torch.stack([x[:, :, a:b].max(2).values if a < b else x.new_zeros(x.shape[:2]) for a, b in cols], 2)
        return torch.stack(
            [wide[:, a:b].max(1).values if a < b else x.new_zeros(x.shape[0], len(cols)) for a, b in rows], 1
        )


@register("PSROIPooling")
class PSROIPooling(ROIPooling):
    """Position-sensitive: bin (i, j) of top channel c is a mean over bottom channel (c group_size + i) group_size + j.

    Fork: R-FCN. Bottoms as ROIPooling's, the first of output_dim group_size^2 channels; top (regions, output_dim,
    group_size, group_size). A region's corners, rounded, the far ones plus 1, times spatial_scale, are split into
    equal bins, at least 0.1 in all; bin i takes the rows floor(start) to ceil(end); an empty one gives 0.
    """

    def configure(self, *shapes: Shape) -> None:
        if min(self.p.output_dim, self.p.group_size) < 1:
            self.fail("output_dim and group_size must be positive", found=(self.p.output_dim, self.p.group_size),
                      help="complete psroi_pooling_param")

    def top_shapes(self, *shapes: Shape) -> Sequence[Shape]:
        n, p = self.p.group_size, self.p
        if shapes[0][1:2] != (p.output_dim * n * n,):
            self.wrong_shape("the channels do not fit", found=shapes[0], expected=f"{p.output_dim * n * n} channels",
                             help="give output_dim * group_size^2 maps")
        return [(self.regions(*shapes), p.output_dim, n, n)]

    def compute(self, x: torch.Tensor, rois: torch.Tensor) -> torch.Tensor:
        n, p = self.p.group_size, self.p
        table = torch.from_numpy(self.table(x, rois)).to(x.device)
        item = table[:, 0].long()
        corners = torch.copysign((table[:, 1:].abs() + 0.5).floor(), table[:, 1:])
        start, end = corners[:, :2] * p.spatial_scale, (corners[:, 2:] + 1) * p.spatial_scale
        size = (end - start).clamp(min=0.1) / n
        # 1 / rows for each row in bin i of a region, else 0, and for columns: two products are the means of all bins
        share = []
        for axis in (0, 1):
            at = torch.arange(x.shape[3 - axis], device=x.device)
            i = torch.arange(n, device=x.device)
            low = (i * size[:, axis, None] + start[:, axis, None]).floor()[..., None]
            high = ((i + 1) * size[:, axis, None] + start[:, axis, None]).ceil()[..., None]
            inside = ((at >= low) & (at < high)).to(x.dtype)
            share.append(inside / inside.sum(2, keepdim=True).clamp(min=1))
        out = x.new_zeros(len(table), p.output_dim, n, n)
        for number in range(len(x)):
            mine = (item == number).nonzero()[:, 0]
            maps = x[number].view(p.output_dim, n, n, *x.shape[2:])
            out = out.index_add(0, mine, torch.einsum("rjw,rih,cijhw->rcij", share[0][mine], share[1][mine], maps))
        return out
