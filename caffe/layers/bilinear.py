"""Deconvolution with one separable kernel on the channels' diagonal, as bilinear upsampling is written in FCNs.

Such a weight is C x C x k x k with zeros off the diagonal (or C x 1 x k x k with group C), and each k x k of it the
same outer(u, v). Columns and rows are then upsampled one after the other, each channel by itself. On one core,
21 channels, k 64, stride 32, 16 x 16 to 544 x 544: 8 ms where the dense product takes 94
(benchmarks/deconvolution.py, torch 2.13.0, November 2026).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

# outer(u, v) may differ from the kernel by this part of its largest number: the rounding of float32 fillers
_ROUNDING = 1e-6
_SMALL = 64   # kernels up to 8 x 8: two passes cost more than they save


def factors(weight: torch.Tensor, group: int) -> tuple[torch.Tensor, torch.Tensor] | None:
    """u and v (k_h and k_w numbers) of a weight as above; None for any other. Nothing is remembered: weights may change
    between passes through `blob.data`, and reading them once costs a hundredth of the dense product."""
    channels, per_group, _, width = weight.shape
    if channels != per_group * group or min(per_group, group) > 1:
        return None
    kernel = weight[0, 0]
    if per_group == 1:
        own, alone = weight[:, 0], True
    else:
        own = weight.diagonal().permute(2, 0, 1)
        alone = not weight[0, 1].any() and bool(weight.count_nonzero() == channels * kernel.count_nonzero())
    if not alone or not bool((own == kernel).all()):
        return None
    row, column = divmod(int(kernel.abs().argmax()), width)
    peak = kernel[row, column]
    if peak == 0:
        return None
    u, v = kernel[:, column], kernel[row] / peak
    return (u, v) if bool(((torch.outer(u, v) - kernel).abs() <= _ROUNDING * peak.abs()).all()) else None


def upsample(x: torch.Tensor, u: torch.Tensor, v: torch.Tensor, stride: tuple[int, ...],
             pad: tuple[int, ...]) -> torch.Tensor:
    """Deconvolve every channel of x (N x C x H x W) with outer(u, v)."""
    if len(u) * len(v) <= _SMALL:
        kernel = torch.outer(u, v).expand(x.shape[1], 1, -1, -1)
        return F.conv_transpose2d(x, kernel, stride=stride, padding=pad, groups=x.shape[1])
    y = _last_axis(x.transpose(2, 3), u, stride[0], pad[0]).transpose(2, 3)
    return _last_axis(y, v, stride[1], pad[1])


def _last_axis(x: torch.Tensor, kernel: torch.Tensor, stride: int, pad: int) -> torch.Tensor:
    """y[i stride + p] = sum_t kernel[t stride + p] x[i - t]: for each i one product of `taps` inputs with a matrix."""
    size = stride * (x.shape[-1] - 1) + len(kernel)
    taps = -(-len(kernel) // stride)
    matrix = F.pad(kernel, (0, taps * stride - len(kernel))).view(taps, stride).flip(0)
    inputs = F.pad(x, (taps - 1, taps - 1)).unfold(-1, taps, 1)
    y = (inputs.reshape(-1, taps) @ matrix).view(*x.shape[:-1], inputs.shape[-2] * stride)
    return y[..., pad : size - pad]
