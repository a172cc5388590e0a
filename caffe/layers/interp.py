"""Interp: bilinear or nearest resizing whose corners stay corners (DeepLab, PSPNet)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from ..function import FunctionLayer, Shape
from ..layer import register


@register("Interp")
class Interp(FunctionLayer):
    """Row h of the top is at h (H - 1) / (H' - 1) of the bottom's H rows, 0 when H' is 1; columns alike.

    Forks: DeepLab (shrink_factor, then zoom_factor, or height and width) and PSPNet (interp_type, and a second
    bottom that gives height and width and no values). n becomes (n - 1) / shrink + 1, then n + (n - 1) (zoom - 1).
    pad_beg and pad_end, at most 0, first crop that many rows and columns. nearest_neighbor rounds .5 up.
    """

    bottoms = (1, 2)
    saves_output = False

    def configure(self, *shapes: Shape) -> None:
        p = self.p
        if p.interp_type not in ("bilinear", "nearest_neighbor"):
            self.fail("unknown interp_type", found=p.interp_type, expected="bilinear or nearest_neighbor",
                      help="correct interp_param")
        if p.pad_beg > 0 or p.pad_end > 0:
            self.fail("crops only", found=f"pad_beg {p.pad_beg}, pad_end {p.pad_end}", expected="0 or less",
                      help="pad in the layer below")
        if p.HasField("height") != p.HasField("width"):
            self.fail("give both height and width", help="complete interp_param")
        factors = p.HasField("zoom_factor") or p.HasField("shrink_factor")
        if len(shapes) - 1 + factors + p.HasField("height") != 1:
            self.fail("needs the top's size in one way", help="give zoom_factor and shrink_factor, or height and "
                                                              "width, or a second bottom")
        if min(p.zoom_factor, p.shrink_factor) < 1:
            self.fail("factors must be positive", found=f"zoom_factor {p.zoom_factor}, "
                      f"shrink_factor {p.shrink_factor}", help="correct interp_param")

    def top_shapes(self, *shapes: Shape) -> Sequence[Shape]:
        p = self.p
        if any(len(shape) != 4 for shape in shapes):
            self.wrong_shape("bottoms must have four axes", found=shapes, help="reshape them")
        size = [n + p.pad_beg + p.pad_end for n in shapes[0][2:]]
        out = [(n - 1) // p.shrink_factor + 1 for n in size]
        out = [n + (n - 1) * (p.zoom_factor - 1) for n in out]
        if len(shapes) == 2:
            out = list(shapes[1][2:])
        elif p.HasField("height"):
            out = [p.height, p.width]
        if min(*size, *out) < 1:
            self.wrong_shape("nothing is left of the plane", expected="positive sizes",
                             found=f"{shapes[0][2:]} cropped to {size}, resized to {out}", help="correct interp_param")
        return [(*shapes[0][:2], *out)]

    def compute(self, x: torch.Tensor, *size_from: torch.Tensor) -> torch.Tensor:
        size = self.top_shapes(tuple(x.shape), *(tuple(s.shape) for s in size_from))[0][2:]
        begin, end = -self.p.pad_beg, self.p.pad_end
        x = x[:, :, begin : x.shape[2] + end, begin : x.shape[3] + end]
        if tuple(x.shape[2:]) == size:
            return x.clone()
        if self.p.interp_type == "bilinear":
            return F.interpolate(x, size, mode="bilinear", align_corners=True)
        for axis, n in zip((2, 3), size, strict=True):
            old = x.shape[axis]
            ratio = torch.full((), (old - 1) / (n - 1) if n > 1 else 0.0, device=x.device)  # in float32, as the fork
            index = (ratio * torch.arange(n, device=x.device) + 0.5).floor().long()
            x = x.index_select(axis, index)
        return x
