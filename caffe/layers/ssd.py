"""Layers of SSD's head: Permute, Normalize and PriorBox."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from ..function import FunctionLayer, Shape
from ..layer import register


@register("Permute")
class Permute(FunctionLayer):
    """Axis i of the top is axis order[i] of the bottom; axes that order leaves out follow. Fork: SSD."""

    saves_output = False

    def configure(self, *shapes: Shape) -> None:
        given = list(self.p.order)
        if len(set(given)) < len(given) or any(axis >= len(shapes[0]) for axis in given):
            self.fail("order names an axis twice, or one that is not there", found=given,
                      expected=f"axes below {len(shapes[0])}", help="correct permute_param")
        self.order = given + [axis for axis in range(len(shapes[0])) if axis not in given]

    def top_shapes(self, *shapes: Shape) -> Sequence[Shape]:
        if len(shapes[0]) != len(self.order):
            self.wrong_shape("another number of axes than before", found=shapes[0], expected=len(self.order),
                             help="keep the number of axes that the layer was made for")
        return [tuple(shapes[0][axis] for axis in self.order)]

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        return x.permute(self.order).contiguous()


@register("Normalize")
class Normalize(FunctionLayer):
    """y = scale x / sqrt(sum of x^2 + eps), the sum over channels, with across_spatial over the whole item.

    Fork: SSD. One learned scale per channel, or for all with channel_shared, 1 at first. Where scales differ,
    the fork leaves them out of the inner product in its gradient of x; here it is the derivative.
    """

    saves_output = False

    def configure(self, *shapes: Shape) -> None:
        from ..proto import caffe_pb2

        if len(shapes[0]) < 2:
            self.wrong_shape("needs a channel axis", found=shapes[0], expected="(num, channels, ...)",
                             help="reshape the bottom")
        one = caffe_pb2.FillerParameter(type="constant", value=1)
        self.add_param(() if self.p.channel_shared else shapes[0][1:2],
                       self.p.scale_filler if self.p.HasField("scale_filler") else one)

    def top_shapes(self, *shapes: Shape) -> Sequence[Shape]:
        if not self.p.channel_shared and shapes[0][1:2] != self.blobs[0].shape:
            self.wrong_shape("the bottom does not fit the scales", found=shapes[0],
                             expected=f"{self.blobs[0].count} channels", help="keep the channel count")
        return shapes

    def compute(self, x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        axes = tuple(range(1, x.dim())) if self.p.across_spatial else (1,)
        norm = (x.square().sum(axes, keepdim=True) + self.p.eps).sqrt()
        return x / norm * scale.reshape(-1, *[1] * (x.dim() - 2))


@register("PriorBox")
class PriorBox(FunctionLayer):
    """The default boxes of a feature map (bottom 0) on the image (bottom 1): (1, 2, height * width * boxes * 4).

    Fork: SSD. Row 0: corners xmin, ymin, xmax, ymax as fractions of the image, row 1: their variances. Around
    ((w + offset) step_w, (h + offset) step_h) and per min_size s (cut to whole pixels, as max_size m): a square
    of s, with max_size one of sqrt(s m), and s sqrt(r) by s / sqrt(r) per aspect_ratio r other than 1, with flip
    1 / r too. The step is image / map unless given, the variance 0.1, given once, or four times. No diffs.
    """

    bottoms = 2
    saves_output = False

    def configure(self, *shapes: Shape) -> None:
        p = self.p
        if not p.min_size or min(p.min_size) <= 0:
            self.fail("needs a positive min_size", found=list(p.min_size), help="complete prior_box_param")
        if p.max_size and (len(p.max_size) != len(p.min_size)
                           or any(b <= a for a, b in zip(p.min_size, p.max_size, strict=True))):
            self.fail("needs a max_size above each min_size, or none", found=list(p.max_size),
                      help="correct prior_box_param")
        if len(p.variance) not in (0, 1, 4) or any(v <= 0 for v in p.variance):
            self.fail("takes one or four positive variances", found=list(p.variance), help="correct prior_box_param")
        if any(r <= 0 for r in p.aspect_ratio):
            self.fail("aspect_ratio must be positive", found=list(p.aspect_ratio), help="correct prior_box_param")
        self.image, self.step = self._pair("img_size", "img_h", "img_w"), self._pair("step", "step_h", "step_w")
        ratios = [1.0]
        for ratio in p.aspect_ratio:
            if all(abs(ratio - r) >= 1e-6 for r in ratios):
                ratios += [ratio, 1 / ratio] if p.flip else [ratio]
        self.sizes: list[tuple[float, float]] = []                  # width and height of each box, in pixels
        for i, size in enumerate(int(s) for s in p.min_size):
            self.sizes.append((size, size))
            if p.max_size:
                self.sizes.append((math.sqrt(size * int(p.max_size[i])),) * 2)
            self.sizes += [(size * math.sqrt(r), size / math.sqrt(r)) for r in ratios[1:]]

    def _pair(self, both: str, h: str, w: str) -> tuple[float, float] | None:
        """(height, width) from `both`, or from `h` and `w`; None when the prototxt gives none."""
        p, given = self.p, [name for name in (both, h, w) if self.p.HasField(name)]
        if not given:
            return None
        if given not in ([both], [h, w]) or any(getattr(p, name) <= 0 for name in given):
            self.fail(f"give {both}, or {h} and {w}, positive", found=given, help="correct prior_box_param")
        return getattr(p, given[0]), getattr(p, given[-1])

    def top_shapes(self, *shapes: Shape) -> Sequence[Shape]:
        if any(len(shape) != 4 for shape in shapes):
            self.wrong_shape("bottoms must have four axes", found=shapes, help="reshape them")
        return [(1, 2, shapes[0][2] * shapes[0][3] * len(self.sizes) * 4)]

    def compute(self, feature: torch.Tensor, data: torch.Tensor) -> torch.Tensor:
        rows, cols = feature.shape[2:]
        height, width = self.image or data.shape[2:]
        step_h, step_w = self.step or (height / rows, width / cols)
        y = (np.arange(rows) + self.p.offset)[:, None, None] * step_h
        x = (np.arange(cols) + self.p.offset)[None, :, None] * step_w
        half = np.array(self.sizes) / 2
        edges = np.broadcast_arrays((x - half[:, 0]) / width, (y - half[:, 1]) / height,
                                    (x + half[:, 0]) / width, (y + half[:, 1]) / height)
        boxes = np.stack(edges, -1).reshape(-1)
        if self.p.clip:
            boxes = boxes.clip(0, 1)
        variance = np.broadcast_to(np.array(self.p.variance or [0.1]), (len(boxes) // 4, 4)).reshape(-1)
        return torch.tensor(np.stack([boxes, variance])[None], dtype=feature.dtype, device=feature.device)
