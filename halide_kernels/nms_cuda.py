"""Non-max suppression on a GPU: which windows' regions a chunk of regions would remove (`nms`)."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import backend
from .nms_grids import Meeting, Packed

CUDA = r"""
enum { TOP, LEFT, STRIDE, CELL, SIDE, WORDS, HEIGHT, WIDTH, REGION, WORD };   // columns of a pathway's table

__device__ int floored(int a, int b) { return a / b - (a % b < 0); }
__device__ int overlap(int one, int size, int two, int other) { return min(one + size, two + other) - max(one, two); }

// The words of a row of cells of the region at a place of the grid lie WIDTH apart
__device__ const unsigned long long* row(const unsigned long long* words, const int* path, int place, int k) {
    int y = place / path[WIDTH], x = place % path[WIDTH];
    return words + path[WORD] + (long long)(y * path[SIDE] + k) * path[WORDS] * path[WIDTH] + x;
}

extern "C" __global__ void nms(
        const int* own, const int* path, const int* members, const unsigned char* alive, const int* area,
        const int* rank, const unsigned long long* words, int unit, int rows, double threshold, unsigned char* out,
        int count, int near) {
    int index = blockIdx.x * blockDim.x + threadIdx.x;
    if (index >= count * near * near) return;
    out[index] = 0;
    int one = members[index / near / near], place = one - own[REGION];
    int top = own[TOP] + own[STRIDE] * (place / own[WIDTH]), left = own[LEFT] + own[STRIDE] * (place % own[WIDTH]);
    int window = own[SIDE] * own[CELL], other_window = path[SIDE] * path[CELL];
    int y = floored(top - other_window - path[TOP], path[STRIDE]) + 1 + index / near % near;
    int x = floored(left - other_window - path[LEFT], path[STRIDE]) + 1 + index % near;
    if (y < 0 || y >= path[HEIGHT] || x < 0 || x >= path[WIDTH]) return;
    int other = path[REGION] + y * path[WIDTH] + x;
    if (!alive[other] || rank[other] <= rank[one]) return;
    int other_top = path[TOP] + path[STRIDE] * y, other_left = path[LEFT] + path[STRIDE] * x;
    int windows = overlap(top, window, other_top, other_window) * overlap(left, window, other_left, other_window);
    int most = min(min(area[one], area[other]), windows);   // that they can share
    if (!(most > threshold * (area[one] + area[other] - most))) return;

    bool fine_first = own[CELL] <= path[CELL];
    const int *fine = fine_first ? own : path, *coarse = fine_first ? path : own;
    int f = (fine_first ? one : other) - fine[REGION], c = (fine_first ? other : one) - coarse[REGION];
    int down = fine_first ? top - other_top : other_top - top;
    int start = (fine_first ? left - other_left : other_left - left) / unit;   // exact
    int both = 0;
    for (int k = 0; k < fine[SIDE]; k++, down += fine[CELL]) {
        for (int e = 0, i = floored(down, coarse[CELL]); e < rows; e++, i++) {
            int height = overlap(down, fine[CELL], i * coarse[CELL], coarse[CELL]);
            if (i < 0 || i >= coarse[SIDE] || height <= 0) continue;
            const unsigned long long *f_row = row(words, fine, f, k), *c_row = row(words, coarse, c, i);
            for (int w = 0; w < fine[WORDS]; w++) {
                int at = floored(start, 64) + w, shift = start - 64 * floored(start, 64);
                unsigned long long bits = 0;
                if (at >= 0 && at < coarse[WORDS]) bits = c_row[at * coarse[WIDTH]] >> shift;
                if (at + 1 >= 0 && at + 1 < coarse[WORDS]) bits |= c_row[(at + 1) * coarse[WIDTH]] << 1 << (63 - shift);
                both += height * __popcll(bits & f_row[w * fine[WIDTH]]);
            }
        }
    }
    both *= unit;
    out[index] = both > threshold * (area[one] + area[other] - both);
}
"""


def with_cuda(packed: Packed, meet: Meeting, members: Any, alive: Any, threshold: float, out: Any) -> None:
    """The same on a GPU: `packed` holds CuPy arrays in `area`, `rank` and `words`; the others are the host's."""
    import cupy

    tables = [cupy.asarray(table) for table in (meet.own, meet.path, members, alive, packed.area, packed.rank)]
    found = cupy.empty(out.shape, np.uint8)
    backend.launch(
        CUDA, "nms", (-(-out.size // backend.THREADS),), *tables, cupy.asarray(packed.words), np.int32(packed.unit),
        np.int32(meet.rows), np.float64(threshold), found, np.int32(len(members)), np.int32(meet.near))
    out[...] = cupy.asnumpy(found)
