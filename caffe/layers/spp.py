"""SPP: spatial pyramid pooling."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..function import FunctionLayer, Shape
from ..layer import register
from .pooling import AVE, STOCHASTIC, Pair, ave_pool, max_pool, stochastic_pool


@register("SPP")
class SPP(FunctionLayer):
    """The plane pooled into 2^i x 2^i bins for each level i < pyramid_height, flattened and joined.

    With pyramid_height 1 the top keeps four axes. He et al. 2014.
    """

    saves_output = False

    def _level(self, i: int, size: Pair) -> tuple[Pair, Pair]:
        """Kernel (= stride) and pad that cover the plane with 2^i bins along each axis."""
        bins = 2**i
        kernel = (-(-size[0] // bins), -(-size[1] // bins))
        pad = ((kernel[0] * bins - size[0] + 1) // 2, (kernel[1] * bins - size[1] + 1) // 2)
        return kernel, pad

    def configure(self, *shapes: Shape) -> None:
        self.positive("pyramid_height")

    def top_shapes(self, *shapes: Shape) -> Sequence[Shape]:
        shape, size = shapes[0], self.plane(shapes[0])
        for i in range(self.p.pyramid_height):
            kernel, pad = self._level(i, size)
            if pad[0] >= kernel[0] or pad[1] >= kernel[1]:
                self.wrong_shape(f"the plane is too small for {2**i} bins", found=size,
                                 help="use a larger input or a smaller pyramid_height")
            if self.p.pool == STOCHASTIC and any(pad):
                self.wrong_shape(f"STOCHASTIC pooling has no padding, which {2**i} bins need", found=size,
                                 help="use MAX or AVE, or sizes that divide evenly")
        if self.p.pyramid_height == 1:
            return [(*shape[:2], 1, 1)]
        return [(shape[0], shape[1] * sum(4**i for i in range(self.p.pyramid_height)))]

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        levels = []
        for i in range(self.p.pyramid_height):
            kernel, pad = self._level(i, (x.shape[2], x.shape[3]))
            if self.p.pool == STOCHASTIC:
                levels.append(stochastic_pool(x, kernel, kernel, self.phase == 0))
            else:
                levels.append((ave_pool if self.p.pool == AVE else max_pool)(x, kernel, kernel, pad))
        if len(levels) == 1:
            return levels[0]
        return torch.cat([level.flatten(1) for level in levels], 1)
