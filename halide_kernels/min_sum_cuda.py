"""Min-sum messages (`min_sum`) on a GPU: half a sweep is three launches, for rows, columns and the least."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import backend

CUDA = r"""
#ifndef INFINITY   // NVRTC has no <math.h>
#define INFINITY __int_as_float(0x7f800000)
#endif

// Sender s of a colour in direction d: its node, and the receiver's; false if either is not there.
__device__ bool meet(int s, int d, int colour, int height, int width, int* node, int* other) {
    int pitch = (width + 1) / 2, y = s / pitch, x = 2 * (s % pitch) + (y + colour) % 2;
    int b = y + (d == 0 ? -1 : d == 1), a = x + (d == 2 ? -1 : d == 3);
    *node = y * width + x;
    *other = b * width + a;
    return x < width && b >= 0 && b < height && a >= 0 && a < width;
}

// For each direction, sender, row l and column q: the least over the columns p of h and the way from p to q
extern "C" __global__ void min_sum_rows(
        const float* data, const float* centres, const float* messages, float* rows, float beta,
        int colour, int height, int width, int down, int across, int senders) {
    long long at = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= 4LL * senders * down * across) return;
    int q = at % across, l = at / across % down, s = at / across / down % senders, d = at / across / down / senders;
    int node, other;
    if (!meet(s, d, colour, height, width, &node, &other)) return;
    long long labels = (long long)down * across, row = node * labels + (long long)l * across;
    float offset = centres[2 * node + 1] - centres[2 * other + 1], least = INFINITY;
    for (int p = 0; p < across; p++) {
        float h = data[row + p], way = p - q + offset;
        for (int e = 0; e < 4; e++) if (e != d) h += messages[e * labels * height * width + row + p];
        least = fminf(least, h + beta * way * way);
    }
    rows[at] = least;
}

extern "C" __global__ void min_sum_columns(
        const float* centres, const float* rows, float* messages, float beta,
        int colour, int height, int width, int down, int across, int senders) {
    long long at = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= 4LL * senders * down * across) return;
    int x = at % across, q = at / across % down, s = at / across / down % senders, d = at / across / down / senders;
    int node, other;
    if (!meet(s, d, colour, height, width, &node, &other)) return;
    long long labels = (long long)down * across, column = at - (long long)q * across;
    float offset = centres[2 * node] - centres[2 * other], least = INFINITY;
    for (int p = 0; p < down; p++) {
        float way = p - q + offset;
        least = fminf(least, rows[column + (long long)p * across] + beta * way * way);
    }
    messages[((d ^ 1) * (long long)height * width + other) * labels + q * across + x] = least;
}

// A thread takes the least of a message from it
extern "C" __global__ void min_sum_least(
        float* messages, int colour, int height, int width, int labels, int senders) {
    int at = blockIdx.x * blockDim.x + threadIdx.x, node, other;
    if (at >= 4 * senders || !meet(at % senders, at / senders, colour, height, width, &node, &other)) return;
    float* message = messages + ((at / senders ^ 1) * (long long)height * width + other) * labels;
    float least = INFINITY;
    for (int i = 0; i < labels; i++) least = fminf(least, message[i]);
    for (int i = 0; i < labels; i++) message[i] -= least;
}
"""


def with_cuda(data: Any, centres: Any, beta: float, messages: Any, sweeps: int) -> None:
    """The same on a GPU; arrays are CuPy's."""
    height, width, *labels = data.shape
    senders = height * -(-width // 2)
    rows = np.empty_like(data, shape=(4, senders, *labels))   # on the GPU too
    grid, each = (-(-rows.size // backend.THREADS),), (-(-4 * senders // backend.THREADS),)
    for half in range(2 * sweeps):
        shape = [np.int32(size) for size in (half % 2, height, width, *labels, senders)]
        backend.launch(CUDA, "min_sum_rows", grid, data, centres, messages, rows, np.float32(beta), *shape)
        backend.launch(CUDA, "min_sum_columns", grid, centres, rows, messages, np.float32(beta), *shape)
        whole = [*shape[:3], np.int32(labels[0] * labels[1]), shape[5]]
        backend.launch(CUDA, "min_sum_least", each, messages, *whole)
