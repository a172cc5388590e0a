"""Labels of random cells become void, so that the loss sees a sample of its terms (thesis 3.2.4, 3.3.8).

The pixel (n, y, x) lies in the cell (rows[y], cols[x]) of picture n. A hash of key, n and cell, the same for all
pixels of the cell, is a number u in [0, 1) of 24 bits; the pixel keeps its label where u is below the probability of
its class, and gets 255 elsewhere. Labels have no gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import backend

VOID = 255
_BITS = 24   # of a probability


def probabilities(p: float, of_class: Mapping[int, float]) -> NDArray[np.uint32]:
    """What `sample` takes as `keep`: for each of the 256 labels the probability p, times that of its class if it is
    in `of_class`, in units of 2^-24."""
    each = np.full(256, p, np.float64)
    for label, factor in of_class.items():
        each[label] *= factor
    return np.rint(each * 2**_BITS).astype(np.uint32)


def key(seed: int, count: int) -> int:
    """The 32 bits that stand for draw number `count` under `seed`; both may have 64."""
    h = np.zeros(1, np.uint32)
    for word in (seed, seed >> 32, count, count >> 32):
        h = _mix(h, np.array([word & 0xFFFFFFFF], np.uint32))
    return int(h[0])


def _mix(h: Any, word: Any, u32: Callable[[int], Any] = int) -> Any:
    """The hash h continued by a word: the bits of MurmurHash3's last step. Arrays of uint32; with `u32`, Halide's."""
    h = (h ^ word) + u32(0x9E3779B9)
    h = (h ^ (h >> u32(16))) * u32(0x85EBCA6B)
    h = (h ^ (h >> u32(13))) * u32(0xC2B2AE35)
    return h ^ (h >> u32(16))


def with_numpy(labels: Any, rows: Any, cols: Any, keep: Any, key: int, out: Any) -> None:
    """The definition. `labels` and `out`: float32, N x H x W; `rows` (H) and `cols` (W): uint32; `keep`: 256 uint32."""
    pictures = _mix(np.array([key], np.uint32), np.arange(len(labels), dtype=np.uint32))
    u = _mix(_mix(pictures[:, None, None], rows[:, None]), cols) >> (32 - _BITS)
    out[...] = np.where(u < keep[np.clip(labels, 0, 255).astype(np.uint8)], labels, np.float32(VOID))


@cache
def _compiled() -> Any:
    """The Halide pipeline; compiling takes about a second, once in a process."""
    import halide as hl

    x, y, n = hl.Var("x"), hl.Var("y"), hl.Var("n")
    labels, rows, cols, keep = (hl.ImageParam(kind, axes, name) for kind, axes, name in (
        (hl.Float(32), 3, "labels"), (hl.UInt(32), 1, "rows"), (hl.UInt(32), 1, "cols"), (hl.UInt(32), 1, "keep")))
    key = hl.Param(hl.UInt(32), "key")

    row, out = hl.Func("row"), hl.Func("out")
    row[y, n] = _mix(_mix(key, hl.u32(n), hl.u32), rows[y], hl.u32)
    label = labels[x, y, n]
    u = _mix(row[y, n], cols[x], hl.u32) >> hl.u32(32 - _BITS)
    out[x, y, n] = hl.select(u < keep[hl.i32(hl.clamp(label, 0.0, 255.0))], label, hl.f32(VOID))
    # One thread: 500 x 500 pixels take a tenth of a millisecond, which starting threads would cost again.
    row.compute_root()
    out.vectorize(x, 16, hl.TailStrategy.GuardWithIf)
    return out.compile_to_callable([labels, rows, cols, keep, key])


def with_halide(labels: Any, rows: Any, cols: Any, keep: Any, key: int, out: Any) -> None:
    """The same on the CPU, by Halide."""
    import halide as hl

    labels = np.require(labels, requirements=["C", "W"])   # a buffer of Halide must be writable, also one that it reads
    _compiled()(*(hl.Buffer(array) for array in (labels, rows, cols, keep)), key, hl.Buffer(out))


CUDA = r"""
__device__ unsigned mix(unsigned h, unsigned word) {
    h = (h ^ word) + 0x9E3779B9u;
    h = (h ^ (h >> 16)) * 0x85EBCA6Bu;
    h = (h ^ (h >> 13)) * 0xC2B2AE35u;
    return h ^ (h >> 16);
}

extern "C" __global__ void loss_sampling(
        const float* labels, const unsigned* rows, const unsigned* cols, const unsigned* keep, unsigned key, float* out,
        int pictures, int height, int width) {
    long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= (long long)pictures * height * width) return;
    int x = i % width, y = i / width % height, n = i / width / height;
    float label = labels[i];
    unsigned u = mix(mix(mix(key, n), rows[y]), cols[x]) >> 8;
    out[i] = u < keep[(int)fminf(fmaxf(label, 0.0f), 255.0f)] ? label : 255.0f;
}
"""


def with_cuda(labels: Any, rows: Any, cols: Any, keep: Any, key: int, out: Any) -> None:
    """The same on a GPU; `labels` and `out` are CuPy arrays."""
    import cupy

    tables = [cupy.asarray(array) for array in (rows, cols, keep)]
    shape = [np.int32(size) for size in labels.shape]
    backend.launch(CUDA, "loss_sampling", (-(-labels.size // backend.THREADS),), labels, *tables, np.uint32(key), out,
                   *shape)


BACKENDS = {"numpy": with_numpy, "halide": with_halide, "cuda": with_cuda}


def sample(labels: Any, rows: Any, cols: Any, keep: Any, key: int, out: Any) -> str:
    """Write the sampled labels into `out`, by the back end for such arrays; returns a sentence that names it."""
    name, sentence = backend.choose(labels)
    BACKENDS[name](labels, rows, cols, keep, key, out)
    return sentence
