"""Logistic loss of coarse regions against instances at full resolution, upsampled on the fly (thesis 4.3.6, 4.4.1).

A region has R x R scores (logits) and a window of R*s x R*s pixels; pixel v of the window lies at (v + 1/2) / s - 1/2
in cells. Its score is the tent 1 - |distance| on the cells around it: what a Deconvolution of stride s with the fixed
bilinear kernel of 2s - s % 2 pixels and pad s // 2 gives, so towards the window's edge scores fade to 0. A pixel of
the region's instance is positive, of others negative; pixels below 0 do not count. Loss and gradient come from one
pass, which holds some rows of a few windows at a time.

Arrays of the back ends, for K regions of one picture: `cells` and `grad`: float32, R x R x K; `labels`: float32,
h x w, large enough for every window; `tops`, `lefts` (int32, K): a window's first pixel; `ids` and `loss`: float32, K.
Sums, not means: `loss` of a region over its pixels, and its derivative by `cells` in `grad`.
"""

from __future__ import annotations

from functools import cache
from math import isqrt
from typing import Any

import numpy as np

from . import backend

_CHUNK = 4096   # regions at a time: the working arrays stay small beside what they come from
_LANES = 16     # regions in a vector


def weights(cells: int, s: int) -> Any:
    """cells*s x cells: how much of each cell goes into each pixel along one axis of a window (float64)."""
    distance = (np.arange(cells * s)[:, None] + 0.5) / s - 0.5 - np.arange(cells)
    return np.maximum(0, 1 - abs(distance))


def with_numpy(cells: Any, labels: Any, tops: Any, lefts: Any, ids: Any, s: int, loss: Any, grad: Any) -> None:
    """The definition, a region after another; any precision."""
    up = weights(len(cells), s).astype(cells.dtype)
    for k, (top, left) in enumerate(zip(tops, lefts, strict=True)):
        window = labels[top : top + len(up), left : left + len(up)]
        counts, positive = window >= 0, window == ids[k]
        score = up @ cells[:, :, k] @ up.T
        tail = np.exp(-abs(score))   # at most 1, so nothing overflows
        loss[k] = np.sum(counts * (np.maximum(score, 0) - positive * score + np.log1p(tail)))
        grad[:, :, k] = up.T @ (counts * (np.where(score >= 0, 1, tail) / (1 + tail) - positive)) @ up


@cache
def _compiled() -> Any:
    """The Halide pipeline; compiling takes a second or two, once in a process."""
    import halide as hl

    k, j, i, u, v, ko, ki = (hl.Var(name) for name in ("k", "j", "i", "u", "v", "ko", "ki"))
    cells = hl.ImageParam(hl.Float(32), 3, "cells")
    labels = hl.ImageParam(hl.Float(32), 1, "labels")
    first = hl.ImageParam(hl.Int(32), 1, "first")
    ids = hl.ImageParam(hl.Float(32), 1, "ids")
    s, pitch = hl.Param(hl.Int(32), "s"), hl.Param(hl.Int(32), "pitch")
    low, part, tap, tall, pixel, wide, both, out = (
        hl.Func(name) for name in ("low", "part", "tap", "tall", "pixel", "wide", "both", "out"))
    size = cells.dim(1).extent()

    # the cell left of a pixel (above it), and the share of the next one
    low[u] = hl.clamp((2 * u + 1 - s) // (2 * s), -1, size - 1)
    part[u] = hl.f32((2 * u + 1 - s) % (2 * s)) / hl.f32(2 * s)
    tap[u] = 1.0 - hl.abs(hl.f32(2 * (u - s // 2) + 1 - s)) / hl.f32(2 * s)

    def cell(i: Any) -> Any:
        inside = (i >= 0) & (i < size) & (j >= 0) & (j < size)
        return hl.select(inside, cells[k, hl.clamp(j, 0, size - 1), hl.clamp(i, 0, size - 1)], 0.0)

    tall[k, j, v] = cell(low[v]) * (1.0 - part[v]) + cell(low[v] + 1) * part[v]
    score = tall[k, low[u], v] * (1.0 - part[u]) + tall[k, low[u] + 1, v] * part[u]
    label = labels[hl.unsafe_promise_clamped(first[k] + v * pitch + u, 0, labels.dim(0).extent() - 1)]
    counts, positive = label >= 0.0, label == ids[k]
    tail = hl.exp(-hl.abs(score))
    pixel[k, u, v] = (
        hl.select(counts, hl.select(score >= 0.0, 1.0, tail) / (1.0 + tail) - hl.select(positive, 1.0, 0.0), 0.0),
        hl.select(counts, hl.max(score, 0.0) - hl.select(positive, score, 0.0) + hl.log(1.0 + tail), 0.0))

    def gathered(func: Any, at: Any, name: str) -> tuple[Any, Any, Any, Any]:
        """The taps of cell `at` along one axis, the pixel of each, its weight, and whether it is the cell's own."""
        taps = hl.RDom([(0, 2 * s)], name)
        place = at * s - s // 2 + taps.x
        taps.where((place >= 0) & (place < size * s))
        return taps, place, tap[taps.x], (taps.x >= s // 2) & (taps.x < s // 2 + s)

    across, place, weight, own = gathered(pixel, j, "across")
    wide[k, j, v] = (0.0, 0.0)
    here = pixel[k, place, v]
    wide[k, j, v] = (wide[k, j, v][0] + weight * here[0], wide[k, j, v][1] + hl.select(own, here[1], 0.0))
    down, place, weight, own = gathered(wide, i, "down")
    both[k, j, i] = (0.0, 0.0)
    here = wide[k, j, place]
    both[k, j, i] = (both[k, j, i][0] + weight * here[0], both[k, j, i][1] + hl.select(own, here[1], 0.0))
    out[k, j, i] = (both[k, j, i][0], both[k, j, i][1])

    # A vector is 16 regions at the same pixel: weights are scalars, and no lane is idle for any R and s. 19200 regions
    # of 56 x 56 pixels (conv3_3 on 640 x 480) take 0.12 s on a core with AVX-512; with 8 lanes 0.18 s, with 32 0.11 s.
    for table in (low, part, tap):
        table.compute_root()
    out.split(k, ko, ki, _LANES, hl.TailStrategy.RoundUp).reorder(ki, j, i, ko).vectorize(ki).parallel(ko)
    both.compute_at(out, ko).vectorize(k, _LANES).update().reorder(k, down.x, j, i).vectorize(k, _LANES)
    wide.compute_at(out, ko).vectorize(k, _LANES).update().reorder(k, across.x, j, v).vectorize(k, _LANES)
    for func in (pixel, tall):
        func.compute_at(wide, v).vectorize(k, _LANES)
    return out.compile_to_callable([cells, labels, first, ids, s, pitch])


def with_halide(cells: Any, labels: Any, tops: Any, lefts: Any, ids: Any, s: int, loss: Any, grad: Any) -> None:
    """The same on the CPU, by Halide."""
    import halide as hl

    count, spare = len(ids), -len(ids) % _LANES   # whole vectors: the last region again
    width = labels.shape[1]
    padded = [np.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, spare)], mode="edge") if spare else
              np.require(array, requirements=["C", "W"])
              for array in (cells, (tops * width + lefts).astype(np.int32), ids)]
    outs = [np.empty_like(padded[0]) for _ in range(2)]
    flat = np.require(labels, requirements=["C", "W"]).reshape(-1)
    _compiled()(*(hl.Buffer(array) for array in (padded[0], flat, *padded[1:])), s, width, *map(hl.Buffer, outs))
    grad[...] = outs[0][:, :, :count]
    loss[...] = outs[1].sum((0, 1))[:count]


CUDA = r"""
// A thread computes a cell of a region: the pixels under its tent (each pixel is under four), and the loss of its own.
extern "C" __global__ void bilinear_loss(
        const float* cells, const float* labels, const int* first, const float* ids, int s, int size, int regions,
        int pitch, float* loss, float* grad) {
    long long at = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= (long long)size * size * regions) return;
    int k = at % regions, j = at / regions % size, i = at / regions / size, side = size * s;
    float sum = 0.0f, slope = 0.0f;
    for (int v = i * s - s / 2; v < i * s - s / 2 + 2 * s; v++) {
        if (v < 0 || v >= side) continue;
        int iv = (2 * v + 1 + s) / (2 * s) - 1;
        float fv = (float)((2 * v + 1 + s) % (2 * s)) / (2 * s);
        float wv = i == iv ? 1.0f - fv : i == iv + 1 ? fv : 0.0f;
        for (int u = j * s - s / 2; u < j * s - s / 2 + 2 * s; u++) {
            if (u < 0 || u >= side) continue;
            float label = labels[first[k] + v * pitch + u];
            if (label < 0.0f) continue;
            int ju = (2 * u + 1 + s) / (2 * s) - 1;
            float fu = (float)((2 * u + 1 + s) % (2 * s)) / (2 * s), score = 0.0f;
            for (int a = 0; a < 2; a++)
                for (int b = 0; b < 2; b++)
                    if (iv + a >= 0 && iv + a < size && ju + b >= 0 && ju + b < size)
                        score += (a ? fv : 1.0f - fv) * (b ? fu : 1.0f - fu)
                               * cells[((long long)(iv + a) * size + ju + b) * regions + k];
            float tail = expf(-fabsf(score)), positive = label == ids[k] ? 1.0f : 0.0f;
            float wu = j == ju ? 1.0f - fu : j == ju + 1 ? fu : 0.0f;
            slope += wv * wu * ((score >= 0.0f ? 1.0f : tail) / (1.0f + tail) - positive);
            if (v / s == i && u / s == j) sum += fmaxf(score, 0.0f) - positive * score + log1pf(tail);
        }
    }
    loss[at] = sum;
    grad[at] = slope;
}
"""


def with_cuda(cells: Any, labels: Any, tops: Any, lefts: Any, ids: Any, s: int, loss: Any, grad: Any) -> None:
    """The same on a GPU; arrays are CuPy's."""
    parts = np.empty_like(cells)   # on the GPU too
    first = (tops * labels.shape[1] + lefts).astype(np.int32)
    shape = [np.int32(number) for number in (s, len(cells), len(ids), labels.shape[1])]
    backend.launch(CUDA, "bilinear_loss", (-(-cells.size // backend.THREADS),), cells, labels, first, ids, *shape,
                   parts, grad)
    loss[...] = parts.sum((0, 1))


BACKENDS = {"numpy": with_numpy, "halide": with_halide, "cuda": with_cuda}


def mean_loss(scores: Any, labels: Any, regions: Any, s: int, background: bool, void: int,
              stride: int, first: int) -> tuple[float, Any, str]:
    """The loss of the regions that count, its gradient, and the sentence that names the back end.

    `scores`: float32, N x R*R x H x W; `labels`: float32, N x h x w, 0 for background, `void` for pixels that do not
    count; `regions`: K x 4 whole numbers on the host, sorted by the first: picture, row and column on the grid, and
    instance. The window of row y begins at pixel y * stride + first, columns alike; what hangs over the border does not
    count, nor does background unless `background` says that it is negative. The loss is the mean over regions of
    the mean over a region's pixels that count. The gradient, in order of `regions`, is R*R x K; 0 regions: loss 0.
    """
    name, sentence = backend.choose(scores)
    xp = backend.find("cupy")[0] if name == "cuda" else np
    size = isqrt(scores.shape[1])
    side, (height, width) = size * s, labels.shape[1:]
    gradient, total = xp.empty((scores.shape[1], len(regions)), np.float32), 0.0
    for picture in np.unique(regions[:, 0]):
        ignored = (labels[picture] == void) | ((labels[picture] == 0) & (not background))
        image = xp.where(ignored, np.float32(-1), labels[picture])
        inside = xp.zeros((height + 1, width + 1), np.int32)   # how many pixels above and to the left count
        inside[1:, 1:] = (image >= 0).cumsum(0, dtype=np.int32).cumsum(1, dtype=np.int32)
        image = xp.pad(image, side, constant_values=-1)
        flat = scores[picture].reshape(size * size, -1)
        begin, end = np.searchsorted(regions[:, 0], [picture, picture + 1])
        for start in range(begin, end, _CHUNK):
            part = slice(start, min(start + _CHUNK, end))
            _, y, x, instances = xp.asarray(regions[part]).T
            top, left = (xp.clip(at * stride + first, -side, most) for at, most in ((y, height), (x, width)))
            cells = flat[:, y * scores.shape[3] + x].reshape(size, size, -1)
            loss, grad = xp.empty(len(y), np.float32), xp.empty_like(cells)
            BACKENDS[name](cells, image, top + side, left + side, instances.astype(np.float32), s, loss, grad)
            above, before = xp.maximum(top, 0), xp.maximum(left, 0)
            below, after = xp.minimum(top + side, height), xp.minimum(left + side, width)
            pixels = inside[below, after] - inside[above, after] - inside[below, before] + inside[above, before]
            share = 1 / (xp.maximum(pixels, 1) * len(regions))
            total += float((loss * share).sum())
            gradient[:, part] = grad.reshape(size * size, -1) * share
    return total, gradient, sentence
