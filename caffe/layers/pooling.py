"""Pooling: MAX, AVE and STOCHASTIC windows with Caffe's output size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from .. import state
from ..function import FunctionLayer, Shape
from ..layer import register

Pair = tuple[int, int]
MAX, AVE, STOCHASTIC = 0, 1, 2
_LOWEST = torch.finfo(torch.float32).min


def pooled_size(size: int, kernel: int, stride: int, pad: int, ceil: bool = True) -> int:
    """Caffe's number of windows: rounded up by default; with padding the last one must start inside."""
    span = size + 2 * pad - kernel
    out = (-(-span // stride) if ceil else span // stride) + 1
    if pad and (out - 1) * stride >= size + pad:
        out -= 1
    return out


def windows(size: Pair, kernel: Pair, stride: Pair, pad: Pair, ceil: bool) -> Pair:
    """How many windows along each axis."""
    h, w = (pooled_size(*args, ceil=ceil) for args in zip(size, kernel, stride, pad, strict=True))
    return h, w


def torch_does(size: Pair, out: Pair, kernel: Pair, stride: Pair, pad: Pair, ceil: bool) -> bool:
    """Whether torch's own pooling, with ceil_mode as given, makes these windows."""
    for n, o, k, s, p in zip(size, out, kernel, stride, pad, strict=True):
        theirs = (n + 2 * p - k + (s - 1 if ceil else 0)) // s + 1
        if ceil and (theirs - 1) * s >= n + p:
            if torch.compiler.is_exporting():
                return False   # ONNX would make this window
            theirs -= 1
        if theirs != o or 2 * p > k:
            return False
    return True


def pad_to_windows(x: torch.Tensor, out: Pair, kernel: Pair, stride: Pair, pad: Pair, value: float) -> torch.Tensor:
    """x padded in front by `pad` and behind, or cut there, so that exactly `out` windows fill it."""
    sides: list[int] = []
    for i in (1, 0):
        behind = (out[i] - 1) * stride[i] + kernel[i] - pad[i] - x.shape[2 + i]
        sides += [pad[i], behind]
    return F.pad(x, sides, value=value)


def windows_out(x: torch.Tensor, kernel: Pair, stride: Pair, pad: Pair, ceil: bool) -> tuple[Pair, bool]:
    """How many windows along each axis, and whether torch's pooling makes the same ones."""
    size = (x.shape[2], x.shape[3])
    out = windows(size, kernel, stride, pad, ceil)
    return out, torch_does(size, out, kernel, stride, pad, ceil)


def max_pool(x: torch.Tensor, kernel: Pair, stride: Pair, pad: Pair, ceil: bool = True) -> torch.Tensor:
    """Largest element of each window; in windows that lie outside the plane the lowest float."""
    out, direct = windows_out(x, kernel, stride, pad, ceil)
    if direct:
        return F.max_pool2d(x, kernel, stride, pad, ceil_mode=ceil)
    return F.max_pool2d(pad_to_windows(x, out, kernel, stride, pad, _LOWEST), kernel, stride)


def max_pool_with_mask(x: torch.Tensor, kernel: Pair, stride: Pair, pad: Pair,
                       ceil: bool = True) -> tuple[torch.Tensor, torch.Tensor]:
    """`max_pool` and where in the plane each maximum is: y * width + x, -1 in windows outside."""
    out, direct = windows_out(x, kernel, stride, pad, ceil)
    if direct:
        y, index = F.max_pool2d(x, kernel, stride, pad, ceil_mode=ceil, return_indices=True)
        return y, index.float()
    (height, width), padded = x.shape[2:], pad_to_windows(x, out, kernel, stride, pad, _LOWEST)
    y, index = F.max_pool2d(padded, kernel, stride, return_indices=True)
    row, col = index // padded.shape[3] - pad[0], index % padded.shape[3] - pad[1]
    inside = (row >= 0) & (row < height) & (col >= 0) & (col < width)
    return y, torch.where(inside, row * width + col, -1).float()


def ave_pool(x: torch.Tensor, kernel: Pair, stride: Pair, pad: Pair, ceil: bool = True) -> torch.Tensor:
    """Sum of each window over its size, padding counted, bounded by size + pad."""
    out, direct = windows_out(x, kernel, stride, pad, ceil)
    if ceil and torch.compiler.is_exporting():  # readers of ONNX differ over windows that hang over the end
        ceil, direct = False, torch_does((x.shape[2], x.shape[3]), out, kernel, stride, pad, False)
    if direct:
        return F.avg_pool2d(x, kernel, stride, pad, ceil_mode=ceil)
    # not by divisor_override=1, which ONNX has no word for
    sums = F.avg_pool2d(pad_to_windows(x, out, kernel, stride, pad, 0), kernel, stride) * (kernel[0] * kernel[1])
    start = [torch.arange(out[i], device=x.device) * stride[i] - pad[i] for i in (0, 1)]
    ends = [(start[i] + kernel[i]).clamp(max=x.shape[2 + i] + pad[i]) for i in (0, 1)]
    rows, cols = ((ends[i] - start[i]).clamp(min=1) for i in (0, 1))  # a window of nothing gives 0
    return sums / (rows[:, None] * cols)


def stochastic_pool(x: torch.Tensor, kernel: Pair, stride: Pair, train: bool, ceil: bool = True) -> torch.Tensor:
    """In training one element per window, drawn in proportion to its value; in testing the expected value."""
    out, _ = windows_out(x, kernel, stride, (0, 0), ceil)
    padded = pad_to_windows(x, out, kernel, stride, (0, 0), 0)
    cells = padded.unfold(2, kernel[0], stride[0]).unfold(3, kernel[1], stride[1]).flatten(4)
    if not train:
        total = cells.sum(4)
        mean = (cells * cells).sum(4) / torch.where(total > 0, total, 1)
        return torch.where(total > 0, mean, 0)
    running = cells.detach().cumsum(4)
    draw = torch.rand(running.shape[:4], device=x.device, generator=state.generator(x.device))
    chosen = (running >= (draw * running[..., -1])[..., None]).to(torch.int8).argmax(4, keepdim=True)
    return cells.gather(4, chosen).squeeze(4)


@register("Pooling")
class Pooling(FunctionLayer):
    """Windows of kernel_size (or the whole plane with global_pooling), stride 1 and pad 0 by default.

    MAX: the first of equal elements wins; a second top receives its index y * width + x. AVE: divides by the
    window's size with padding, bounded by size + pad. STOCHASTIC: in training one element drawn with
    probability proportional to its value, in testing the mean weighted by value; not with padding.
    Forks' `ceil_mode: false` and `torch_pooling: true` are round_mode: FLOOR.
    """

    saves_output = False

    def __init__(self, layer_param: Any) -> None:
        super().__init__(layer_param)
        self.tops = (1, 2) if self.p.pool == MAX else 1
        self.ceil = self.p.round_mode == 0 and self.p.ceil_mode and not self.p.torch_pooling

    def configure(self, *shapes: Shape) -> None:
        p = self.p
        for stem, name in (("kernel", "kernel_size"), ("pad", "pad"), ("stride", "stride")):
            h, w = p.HasField(f"{stem}_h"), p.HasField(f"{stem}_w")
            if h != w or (h and p.HasField(name)):
                self.fail(f"give {name}, or {stem}_h and {stem}_w", found="one of them only" if h != w else "both",
                          help=f"correct the {stem} fields of pooling_param")
        self.stride = (p.stride_h, p.stride_w) if p.HasField("stride_h") else (p.stride, p.stride)
        self.pad = (p.pad_h, p.pad_w) if p.HasField("pad_h") else (p.pad, p.pad)
        self.fixed = (p.kernel_h, p.kernel_w) if p.HasField("kernel_h") else (p.kernel_size, p.kernel_size)
        if p.global_pooling:
            if any(self.fixed) or any(self.pad) or self.stride != (1, 1):
                self.fail("global_pooling leaves no choice of kernel, pad and stride",
                          help="remove kernel, pad and stride, or global_pooling")
        elif 0 in self.fixed:
            self.fail("needs a kernel", found=self.fixed, expected="kernel_size, or kernel_h and kernel_w",
                      help="complete pooling_param")
        elif any(pad >= k for pad, k in zip(self.pad, self.fixed, strict=True)):
            self.fail("pad must be smaller than the kernel", found=self.pad, expected=f"below {self.fixed}",
                      help="use less pad")
        if p.HasField("ceil_mode") and p.HasField("round_mode") and p.ceil_mode != (p.round_mode == 0):
            self.fail("round_mode and ceil_mode contradict each other", help="give one of them")
        if 0 in self.stride:
            self.fail("stride must be positive", found=self.stride, help="correct stride")
        if p.pool == STOCHASTIC and any(self.pad):
            self.fail("STOCHASTIC pooling has no padding", found=self.pad, expected=0, help="remove pad")

    def _kernel(self, size: Pair) -> Pair:
        return size if self.p.global_pooling else self.fixed

    def top_shapes(self, *shapes: Shape) -> Sequence[Shape]:
        size = self.plane(shapes[0])
        out = windows(size, self._kernel(size), self.stride, self.pad, self.ceil)
        self.not_empty(size, out, self.fixed)
        return [(*shapes[0][:2], *out)] * len(self.layer_param.top)

    def compute(self, x: torch.Tensor) -> torch.Tensor | Sequence[torch.Tensor]:
        kernel, ceil = self._kernel((x.shape[2], x.shape[3])), self.ceil
        if self.p.pool == STOCHASTIC:
            return stochastic_pool(x, kernel, self.stride, self.phase == 0, ceil)
        if self.p.pool == AVE:
            return ave_pool(x, kernel, self.stride, self.pad, ceil)
        pool = max_pool_with_mask if len(self.layer_param.top) > 1 else max_pool
        return pool(x, kernel, self.stride, self.pad, ceil)
