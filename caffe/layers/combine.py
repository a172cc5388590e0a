"""Layers that join, divide or pass on whole blobs: Concat, Slice, Eltwise, Split, Silence."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence

import torch

from ..blob import Blob
from ..function import FunctionLayer, Shape
from ..layer import register

_PROD, _SUM, _MAX = 0, 1, 2


class _AlongAxis(FunctionLayer):
    """`axis`, or its old unsigned name."""

    saves_output = False
    old_name = ""

    def find_axis(self, shape: Shape) -> int:
        if self.p.HasField(self.old_name):
            if self.p.HasField("axis"):
                self.fail(f"has axis and {self.old_name}", help="give axis alone")
            return self.axis(getattr(self.p, self.old_name), shape, self.old_name)
        return self.axis(self.p.axis, shape)


@register("Concat")
class Concat(_AlongAxis):
    """The bottoms one after another along `axis`; a single bottom shares its memory with the top."""

    bottoms = (1, None)
    old_name = "concat_dim"

    def top_shapes(self, *shapes: Shape) -> Sequence[Shape]:
        self.shares_data = len(shapes) == 1
        self.at = at = self.find_axis(shapes[0])
        for i, shape in enumerate(shapes):
            if len(shape) != len(shapes[0]) or shape[:at] + shape[at + 1 :] != shapes[0][:at] + shapes[0][at + 1 :]:
                self.wrong_shape(f"bottom {i} does not fit bottom 0", found=shape,
                                 expected=f"{shapes[0]} except on axis {at}", help="crop or reshape it")
        return [(*shapes[0][:at], sum(s[at] for s in shapes), *shapes[0][at + 1 :])]

    def compute(self, *args: torch.Tensor) -> torch.Tensor:
        return torch.cat(args, self.at) if len(args) > 1 else args[0].view_as(args[0])


@register("Slice")
class Slice(_AlongAxis):
    """The bottom cut along `axis` at `slice_point`s, or into equal parts; a single top shares its memory."""

    tops = (1, None)
    old_name = "slice_dim"

    def top_shapes(self, *shapes: Shape) -> Sequence[Shape]:
        shape, n, points = shapes[0], len(self.layer_param.top), list(self.p.slice_point)
        self.shares_data = n == 1
        self.at = at = self.find_axis(shape)
        if not points:
            if shape[at] % n:
                self.wrong_shape(f"axis {at} does not divide evenly", found=f"{shape[at]} into {n} tops",
                                 help="give slice_point")
            points = [shape[at] // n * i for i in range(1, n)]
        elif len(points) != n - 1:
            self.fail("needs one slice_point less than tops", found=len(points), expected=n - 1,
                      help="correct the slice_point lines")
        edges = [0, *points, shape[at]]
        self.sizes = [b - a for a, b in itertools.pairwise(edges)]
        if min(self.sizes) < 1:
            self.fail("slice points must grow and lie inside the axis", found=points,
                      expected=f"growing, from 1 to {shape[at] - 1}", help="correct the slice_point lines")
        return [(*shape[:at], size, *shape[at + 1 :]) for size in self.sizes]

    def compute(self, x: torch.Tensor) -> Sequence[torch.Tensor]:
        return torch.split(x, self.sizes, self.at)


@register("Eltwise")
class Eltwise(FunctionLayer):
    """Elementwise SUM (with `coeff`), PROD or MAX of two or more bottoms.

    MAX: where the first two are equal the whole gradient goes to the second; a later bottom wins only if
    strictly greater. PROD: the gradient is the product of the other bottoms. `stable_prod_grad: false` asks
    Caffe for y / x instead, which is the same but for its rounding and its NaN at x = 0; here it changes
    nothing.
    """

    bottoms = (2, None)
    saves_output = False

    def configure(self, *shapes: Shape) -> None:
        coeff = list(self.p.coeff)
        if coeff and self.p.operation != _SUM:
            self.fail("coeff is for SUM only", help="remove coeff, or use operation: SUM")
        if coeff and len(coeff) != len(shapes):
            self.fail("coeff must be given once per bottom", found=len(coeff), expected=len(shapes),
                      help="correct the coeff lines")
        self.coeff = coeff or [1.0] * len(shapes)

    def top_shapes(self, *shapes: Shape) -> Sequence[Shape]:
        for i, shape in enumerate(shapes):
            if shape != shapes[0]:
                self.wrong_shape(f"bottom {i} differs from bottom 0", found=shape, expected=shapes[0],
                                 help="crop or reshape it")
        return shapes[:1]

    def compute(self, *args: torch.Tensor) -> torch.Tensor:
        if self.p.operation == _PROD:
            return functools.reduce(torch.mul, args)
        if self.p.operation == _MAX:
            best = torch.where(args[0] > args[1], args[0], args[1])
            for x in args[2:]:
                best = torch.where(x > best, x, best)
            return best
        total = args[0] * self.coeff[0] if self.coeff[0] != 1 else args[0]
        for x, c in zip(args[1:], self.coeff[1:], strict=True):
            total = torch.add(total, x, alpha=c)
        return total


@register("Split")
class Split(FunctionLayer):
    """The bottom under several names: one memory; backward sums the tops' diffs."""

    tops = (1, None)
    shares_data = True

    def configure(self, *shapes: Shape) -> None:
        if self.layer_param.bottom[0] in self.layer_param.top:
            self.fail("cannot work in place", help="give its tops other names")

    def compute(self, x: torch.Tensor) -> Sequence[torch.Tensor]:
        return [x.view_as(x) for _ in self.layer_param.top]

    def backward(self, top: Sequence[Blob], propagate_down: Sequence[bool], bottom: Sequence[Blob]) -> None:
        if not propagate_down[0]:
            return
        diffs = [blob.diff_tensor() for blob in top if not blob.diff_is_zero()]  # nobody wrote the others
        if not diffs:
            bottom[0].zero_diff()
        elif len(diffs) == 1:
            bottom[0].put_diff(diffs[0].clone())
        else:
            total = diffs[0] + diffs[1]
            for diff in diffs[2:]:
                total += diff
            bottom[0].put_diff(total)


@register("Silence")
class Silence(FunctionLayer):
    """Takes blobs that nobody reads, so that they are no outputs of the net; their diff is zero."""

    bottoms = (1, None)
    tops = 0

    def top_shapes(self, *shapes: Shape) -> Sequence[Shape]:
        return []

    def compute(self, *args: torch.Tensor) -> Sequence[torch.Tensor]:
        return []
