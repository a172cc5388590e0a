"""Layers on pairwise blobs: the transpose and the matrix product of values on pairs of places (thesis 4.3.2, 4.3.3).

    layer {
      name: "transpose"  type: "Python"  bottom: "pairs"  top: "transposed"
      python_param { module: "layers.pairwise"  layer: "PairwiseTranspose" }
    }

A pairwise blob is N x (R*R) x H x W: for each place of the grid a value for each of R x R cells around it, cell i at
i - (R - 1) / 2 grid steps. For even R a transpose leads to the dual grid (`halide_kernels.pairwise_transpose`).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt
from typing import Any

import numpy as np

import caffe
from halide_kernels import backend, pairwise_matmul, pairwise_transpose
from layers.errors import LayerError
from layers.parameters import Reader, read_params


class _Pairwise(caffe.Layer):
    """What the layers share: their name, their windows, and saying once what they run on."""

    def read(self, keys: tuple[str, ...], bottom: Sequence[Any], top: Sequence[Any], bottoms: int) -> Reader:
        self.title = getattr(self, "name", "") or type(self).__name__   # BVLC Caffe's Python layers do not know theirs
        self._said = False
        if (len(bottom), len(top)) != (bottoms, 1):
            self.refuse("wrong number of blobs", f"{len(bottom)} bottoms, {len(top)} tops", f"{bottoms} and 1",
                      "correct the bottom and top fields")
        return Reader(read_params(self.param_str, self.title, keys), self.title)

    def refuse(self, what: str, found: Any, expected: str, help: str) -> None:
        raise LayerError(what, layer=self.title, found=str(found), expected=expected, help=help)

    def window(self, bottom: Any) -> int:
        """R of a bottom; LayerError when it is not N x R*R x H x W."""
        shape = tuple(bottom.data.shape)
        if len(shape) != 4 or isqrt(shape[1]) ** 2 != shape[1]:
            self.refuse("the bottom is no pairwise blob", shape, "N x R*R x H x W",
                      "give the convolution before it a num_output that is a square")
        return isqrt(shape[1])

    def say(self, sentence: str) -> None:
        if not self._said:
            getattr(caffe, "log", print)(f"{self.title} runs on {sentence}")
            self._said = True


class PairwiseTranspose(_Pairwise):
    """p(x + D, -D) for each place x and cell D, and 0, unknown, where x + D is outside the map.

    Bottom N x R*R x H x W. Top of the same shape for odd R; for even R on the dual grid, H + 1 and W + 1, whose first
    place is half a step before the grid's. Key of param_str: `inverse` (False), for even R from the dual grid back,
    to H - 1 and W - 1; for odd R the transpose is its own inverse.
    """

    def setup(self, bottom: Sequence[Any], top: Sequence[Any]) -> None:
        self.inverse = self.read(("inverse",), bottom, top, 1).flag("inverse", False)

    def reshape(self, bottom: Sequence[Any], top: Sequence[Any]) -> None:
        even = self.window(bottom[0]) % 2 == 0
        n, channels, height, width = bottom[0].data.shape
        if even and self.inverse and min(height, width) < 2:
            self.refuse("the inverse has an empty top", (height, width), "at least 2 x 2 places of the dual grid",
                      "feed a larger image")
        more = (-1 if self.inverse else 1) if even else 0
        top[0].reshape(n, channels, height + more, width + more)

    def forward(self, bottom: Sequence[Any], top: Sequence[Any]) -> None:
        self.say(pairwise_transpose.transpose(*backend.arrays(bottom[0], top[0])))

    def backward(self, top: Sequence[Any], propagate_down: Sequence[bool], bottom: Sequence[Any]) -> None:
        """The kernel from the top diff to the bottom diff: no two cells of the top are one value of the bottom."""
        if propagate_down[0]:
            pairwise_transpose.transpose(*backend.arrays(top[0], bottom[0], of="diff"))


class PairwiseMatMul(_Pairwise):
    """The matrix product of bottoms 0 and 1: at (x, D) the sum over d of p1(x, d) times p2(x + d, D - d).

    Bottoms N x R1*R1 x H x W and N x R2*R2 x H x W; for even R1 the second is on the dual grid of the first, with
    H + 1 and W + 1 places (or the first is, and it has H - 1 and W - 1). Top N x R*R x H x W.
    Keys of param_str: `semiring`, what sum and times are: sum_product (default), min_sum, max_min, max_product or
    logsumexp_sum; `R`, the top's window (default R1 + R2 - 1; of the same parity and not larger).
    """

    def setup(self, bottom: Sequence[Any], top: Sequence[Any]) -> None:
        read = self.read(("semiring", "R"), bottom, top, 2)
        self.semiring, self.r = read.text("semiring", "sum_product"), read.whole_or_none("R", 1)
        if self.semiring not in pairwise_matmul.SEMIRINGS:
            self.refuse("param_str: 'semiring' is not known", repr(self.semiring), ", ".join(pairwise_matmul.SEMIRINGS),
                        "write one of these")

    def reshape(self, bottom: Sequence[Any], top: Sequence[Any]) -> None:
        r1, r2 = self.window(bottom[0]), self.window(bottom[1])
        one, two = bottom[0].data.shape, bottom[1].data.shape
        r = r1 + r2 - 1 if self.r is None else self.r
        if r > r1 + r2 - 1 or (r1 + r2 - 1 - r) % 2:
            self.refuse("param_str: 'R' has no middle cells of the product", r,
                        f"{r1 + r2 - 1}, or less by an even number", "correct 'R' in param_str")
        more = two[2] - one[2], two[3] - one[3]
        if two[0] != one[0] or more not in ([(0, 0)] if r1 % 2 else [(1, 1), (-1, -1)]):
            self.refuse("the second bottom is not on the places of the first one's cells", f"{one} and {two}",
                        "the same N, and the same grid" if r1 % 2 else "the same N, and the dual grid, 1 more or less",
                        "for even windows a PairwiseTranspose leads to the dual grid")
        top[0].reshape(one[0], r * r, *one[2:])

    def forward(self, bottom: Sequence[Any], top: Sequence[Any]) -> None:
        p1, p2, out = backend.arrays(bottom[0], bottom[1], top[0])
        self._arg = np.empty_like(out, np.int32)   # of CuPy for an array of CuPy
        self.say(pairwise_matmul.product(self.semiring, p1, p2, out, self._arg))

    def backward(self, top: Sequence[Any], propagate_down: Sequence[bool], bottom: Sequence[Any]) -> None:
        """Gradients by the chosen terms in semirings of min and max, by each term's share in the others."""
        if any(propagate_down):
            blobs = backend.arrays(bottom[0], bottom[1], top[0])
            diff, *diffs = backend.arrays(top[0], bottom[0], bottom[1], of="diff")
            wanted = [d if down else np.empty_like(d) for d, down in zip(diffs, propagate_down, strict=True)]
            pairwise_matmul.backward(self.semiring, *blobs, self._arg, diff, *wanted)
