"""FunctionLayer: a layer that is a pure torch function of (bottoms, parameters) plus a shape rule.

The base class derives Caffe's forward and backward from it: gradients by autograd, diffs of parameters accumulated,
`propagate_down` obeyed, in-place tops safe, on whatever device the mode says.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import torch

from . import fillers
from .blob import Blob
from .errors import DataError, LayerError, ShapeError
from .layer import Count, Layer
from .proto import proto_fields

Shape = tuple[int, ...]


class FunctionLayer(Layer):
    """Subclasses give `compute`, and where they differ from the defaults `configure` and `top_shapes`."""

    bottoms: Count = 1
    tops: Count = 1
    differentiable = True       # False: backward is refused (as Caffe's NOT_IMPLEMENTED)
    saves_output = True         # autograd keeps the output for backward, so that it must not be overwritten
    shares_data = False         # the tops are the bottom's memory in another shape, as Caffe's ShareData

    def __init__(self, layer_param: Any) -> None:
        super().__init__(layer_param)
        # p: this type's own parameter message (`convolution_param`, ...), None for types without one
        self.p = proto_fields.own_param(layer_param)
        self._record: tuple[list[torch.Tensor], list[torch.Tensor]] | None = None

    # ------------------------------------------------------------------ what a layer type writes
    def configure(self, *shapes: Shape) -> None:
        """Check the parameters against the bottoms' shapes and `add_param`; once."""

    def top_shapes(self, *shapes: Shape) -> Sequence[Shape]:
        """One shape per top; by default each is that of bottom 0. Check here what may change between passes."""
        return [shapes[0]] * max(1, len(self.layer_param.top))

    def compute(self, *args: Any, **kwargs: Any) -> torch.Tensor | Sequence[torch.Tensor]:
        """The layer's function: bottoms first, then parameters, to one tensor or one per top."""
        raise LayerError(f"{self.type} defines no compute", layer=self.name, help="write `compute` in its class")

    # ------------------------------------------------------------------ helpers for subclasses
    def add_param(self, shape: Sequence[int], filler: Any) -> None:
        """Make the next parameter blob, filled by a FillerParameter or with a number."""
        blob = Blob(shape, name=f"{self.name}[{len(self.blobs)}]")
        fillers.fill(blob, filler, layer=self.name, where=self.defined_at)
        self.blobs.append(blob)

    def axis(self, axis: int, shape: Shape, what: str = "axis") -> int:
        """`axis` counted from the front (-1 is the last); refused when the shape has no such axis."""
        if not -len(shape) <= axis < len(shape):
            self.wrong_shape(f"{what} {axis} is out of range", found=shape,
                             expected=f"-{len(shape)} <= {what} < {len(shape)}",
                             help="correct it, or the shape of the bottom")
        return axis % len(shape)

    def positive(self, *fields: str) -> None:
        """LayerError unless each of these fields of the layer's own message is at least 1."""
        values = {field: getattr(self.p, field) for field in fields}
        if min(values.values()) < 1:
            self.fail(f"{' and '.join(fields)} must be positive", help="give it, or correct it",
                      found=", ".join(f"{field} {value}" for field, value in values.items()))

    def once_or_each(self, field: str, values: Sequence[Any], n: int, what: str) -> list[Any]:
        """The `values` of a field for each of n things (`what`); a single one stands for all. LayerError otherwise."""
        if len(values) not in (1, n):
            self.fail(f"{field} must be given once, or once per {what}", found=f"{len(values)} times",
                      expected=f"1 or {n}", help=f"correct the {field} fields")
        return list(values) * n if len(values) == 1 else list(values)

    def plane(self, shape: Shape) -> tuple[int, int]:
        """(height, width) of a batch of images; ShapeError for a bottom without four axes."""
        if len(shape) != 4:
            self.wrong_shape("the bottom must have four axes", found=shape, expected="(num, channels, height, width)",
                             help="reshape it")
        return shape[2], shape[3]

    def not_empty(self, sizes: Shape, out: Shape, kernel: object) -> None:
        """ShapeError when windows of `kernel` over a bottom of `sizes` leave nothing of `out` on some axis."""
        if min(out, default=1) < 1:
            self.wrong_shape("the output would be empty", found=f"input {sizes} makes {out}",
                             expected=f"room for kernel {kernel}",
                             help="use a larger input, more pad or a smaller kernel")

    def in_range(self, index: torch.Tensor, count: int, help: str) -> None:
        """DataError unless all elements of a bottom of indices are in 0..count - 1."""
        if index.numel() and not 0 <= int(index.min()) <= int(index.max()) < count:
            self.fail("an index is out of range", found=f"{int(index.min())} to {int(index.max())}",
                      expected=f"0 to {count - 1}", help=help, error=DataError)

    def refuse_diffs(self, propagate_down: Sequence[bool]) -> None:
        """LayerError when a diff is asked for a bottom that never gets one."""
        for i in self.no_diff_to:
            if i < len(propagate_down) and propagate_down[i]:
                self.fail(f"cannot propagate a diff to bottom {i} ('{self.layer_param.bottom[i]}')",
                          help="labels must not depend on learned parameters; set propagate_down: false for it")

    def wrong_shape(self, message: str, *, found: object = None, expected: object = None,
                    help: str | None = None) -> NoReturn:
        self.fail(message, found=found, expected=expected, help=help, error=ShapeError)

    # ------------------------------------------------------------------ Caffe's four steps, derived
    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        self.configure(*(b.shape for b in bottom))

    def reshape(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        for blob, shape in zip(top, self.top_shapes(*(b.shape for b in bottom)), strict=True):
            if blob.shape != tuple(shape):
                blob.reshape(*shape)

    def _run(self, bottom: Sequence[Blob], top: Sequence[Blob], wanted: Sequence[bool]) -> list[torch.Tensor]:
        """Call `compute`; remember the graph when something is wanted. `wanted`: bottoms, then parameters."""
        args = [b.tensor().detach() for b in bottom] + [b.tensor().detach() for b in self.blobs]
        for i, blob in enumerate(bottom):
            if blob in top and blob.viewed and any(wanted):
                args[i] = args[i].clone()  # the result goes into the viewed memory, the graph needs the input
        self._record = None   # frees the graph of the pass before
        for arg, want in zip(args, wanted, strict=True):
            arg.requires_grad_(want)
        with torch.set_grad_enabled(any(wanted)):
            out = self.compute(*args)
        outs = [out] if isinstance(out, torch.Tensor) else list(out)
        if any(wanted):
            self._record = (outs, args)
        return outs

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        wanted = [self.records_graph and i not in self.no_diff_to for i in range(len(bottom))]
        wanted += [self.records_graph and p for p in self.param_propagate_down or [False] * len(self.blobs)]
        outs = self._run(bottom, top, wanted if self.differentiable else [False] * len(wanted))
        if len(outs) != len(top):
            self.fail("computed another number of tops", found=len(outs), expected=len(top),
                      help="return one tensor per top")
        for blob, out in zip(top, outs, strict=True):
            if not self.shares_data and any(b is not blob and _same_memory(b.tensor(), out) for b in bottom):
                out = out.clone()  # else writing to the top would change the bottom
            blob.put(out)
            blob.held_by_graph = self.saves_output or self.shares_data

    def backward(self, top: Sequence[Blob], propagate_down: Sequence[bool], bottom: Sequence[Blob]) -> None:
        if not self.differentiable:
            if any(propagate_down):
                self.fail("has no backward pass", help="set propagate_down: false for it, or take it out of the path "
                                                       "from the loss to the weights")
            return
        self.refuse_diffs(propagate_down)
        params = self.param_propagate_down or [False] * len(self.blobs)
        wanted = [*propagate_down, *params]
        if self._record is None:  # backward without a forward before: Caffe works on whatever the blobs hold
            self._run(bottom, top, wanted)
        if self._record is None:
            return
        outs, args = self._record
        leaves = [i for i, (a, want) in enumerate(zip(args, wanted, strict=True)) if want and a.requires_grad]
        pairs = [(out, blob.diff_tensor()) for out, blob in zip(outs, top, strict=True) if out.requires_grad]
        grads: dict[int, torch.Tensor | None] = {}
        if pairs and leaves:
            found = torch.autograd.grad([out for out, _ in pairs], [args[i] for i in leaves], [d for _, d in pairs],
                                        retain_graph=True, allow_unused=True)
            grads = dict(zip(leaves, found, strict=True))
        for i, blob in enumerate([*bottom, *self.blobs]):
            grad = grads.get(i)
            if grad is None:
                if i < len(bottom) and propagate_down[i]:
                    blob.zero_diff()
            elif i < len(bottom):
                blob.put_diff(self._own(grad, pairs))
            else:
                blob.add_diff(self._own(grad, pairs))

    def _own(self, grad: torch.Tensor, pairs: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
        """Autograd may hand a top's diff back as it is; a blob's memory is its own."""
        if not self.shares_data and any(_same_memory(diff, grad) for _, diff in pairs):
            return grad.clone()
        return grad

    def forget(self) -> None:
        """Drop what forward recorded (its memory is free as soon as no blob holds it)."""
        self._record = None


def _same_memory(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr() and a.numel() > 0
