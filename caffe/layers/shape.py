"""Layers that change only the shape or the extent of a blob: Reshape, Flatten, Crop."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from ..function import FunctionLayer, Shape
from ..layer import register


class _SameMemory(FunctionLayer):
    """The top is the bottom's memory in another shape."""

    shares_data = True

    def configure(self, *shapes: Shape) -> None:
        if self.layer_param.bottom[0] == self.layer_param.top[0]:
            self.fail("cannot work in place", help="give its top another name")

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        return x.view(self.top_shapes(tuple(x.shape))[0])


@register("Reshape")
class Reshape(_SameMemory):
    """Replaces `num_axes` axes from `axis` on (default all) by `shape`; 0 keeps an axis, one -1 is inferred.

    A negative `axis` counts from one past the end: -1 appends.
    """

    def top_shapes(self, *shapes: Shape) -> Sequence[Shape]:
        shape, dims = shapes[0], list(self.p.shape.dim)
        start = self.p.axis if self.p.axis >= 0 else len(shape) + self.p.axis + 1
        if not 0 <= start <= len(shape):
            self.wrong_shape(f"axis {self.p.axis} is out of range", found=shape,
                             expected=f"-{len(shape) + 1} <= axis <= {len(shape)}",
                             help="correct axis in reshape_param")
        end = len(shape) if self.p.num_axes == -1 else start + self.p.num_axes
        if not start <= end <= len(shape):
            self.wrong_shape("axis + num_axes is out of range", found=f"{start} + {self.p.num_axes} of {shape}",
                             expected=f"at most {len(shape)}", help="num_axes: -1 takes all axes that follow")
        if dims.count(-1) > 1 or min(dims, default=0) < -1:
            self.fail("shape may have one -1 and no other negative", found=dims, help="correct reshape_param")
        for i, dim in enumerate(dims):
            if dim == 0:
                if start + i >= len(shape):
                    self.wrong_shape("a 0 in shape has no axis of the bottom to copy", found=dims, expected=shape,
                                     help="give the number instead")
                dims[i] = shape[start + i]
        new = [*shape[:start], *dims, *shape[end:]]
        if -1 in dims:
            rest = math.prod(d for d in new if d != -1)
            if not rest or math.prod(shape) % rest:
                self.wrong_shape("the -1 cannot be inferred", found=f"{shape} to {dims}",
                                 expected=f"a count that {rest} divides", help="correct reshape_param")
            new[start + dims.index(-1)] = math.prod(shape) // rest
        if math.prod(new) != math.prod(shape):
            self.wrong_shape("the count would change", found=f"{shape} to {tuple(new)}",
                             expected=f"{math.prod(shape)} elements", help="correct reshape_param")
        return [tuple(new)]


@register("Flatten")
class Flatten(_SameMemory):
    """Joins the axes from `axis` to `end_axis` (inclusive) into one."""

    def top_shapes(self, *shapes: Shape) -> Sequence[Shape]:
        shape = shapes[0]
        start, end = self.axis(self.p.axis, shape), self.axis(self.p.end_axis, shape, "end_axis")
        if start > end:
            self.fail("axis is behind end_axis", found=f"{start} > {end}", help="correct flatten_param")
        return [(*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :])]


@register("Crop")
class Crop(FunctionLayer):
    """Bottom 0 cut to the size of bottom 1 on all axes from `axis` on, starting at `offset`(s).

    Bottom 1 gives its shape only and never gets a diff.
    """

    bottoms = 2
    saves_output = False

    def top_shapes(self, *shapes: Shape) -> Sequence[Shape]:
        shape, size = shapes
        first = self.axis(self.p.axis, shape)
        offsets = list(self.p.offset)
        if len(offsets) > 1 and len(offsets) != len(shape) - first:
            self.fail("offset must be given once, or once per cropped axis", found=len(offsets),
                      expected=f"1 or {len(shape) - first}", help="correct crop_param")
        if len(size) < len(shape):
            self.wrong_shape("bottom 1 has fewer axes than bottom 0", found=size, expected=f"{len(shape)} axes",
                             help="reshape it, or lower axis")
        if len(offsets) <= 1:
            offsets = (offsets or [0]) * (len(shape) - first)
        self.window = [slice(None)] * first
        for i, offset in enumerate(offsets, first):
            if shape[i] - offset < size[i]:
                self.wrong_shape(f"the crop leaves bottom 0 on axis {i}",
                                 found=f"offset {offset} + size {size[i]} of bottom 1", expected=f"at most {shape[i]}",
                                 help="use a smaller offset (caffe.coord_map.crop computes it), or more padding")
            self.window.append(slice(offset, offset + size[i]))
        return [(*shape[:first], *size[first : len(shape)])]

    def compute(self, x: torch.Tensor, size: torch.Tensor) -> torch.Tensor:
        return x[tuple(self.window)]
