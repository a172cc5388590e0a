"""The CUDA source of `pairwise_matmul`: a thread for each value of the result, which gathers its own terms."""

# `semiring` counts as SEMIRINGS does: 0 sum_product, 1 min_sum, 2 max_min, 3 max_product, 4 logsumexp_sum
CUDA = r"""
#ifndef INFINITY   // NVRTC has no <math.h>
#define INFINITY __int_as_float(0x7f800000)
#endif

__device__ float product(int semiring, float a, float b) {
    if (semiring == 2) return b < a ? b : a;
    return semiring == 0 || semiring == 3 ? a * b : a + b;
}

// Whether x is minus infinity, for which NVRTC has no name
__device__ bool endless(float x) { return x < -3.402823466e38f; }

// Term d of `out` and what of its gradient goes to a (which = 1) or b
__device__ float slope(int semiring, int which, float a, float b, float out, bool chosen) {
    float share = semiring == 0 || chosen ? 1.0f : 0.0f;
    if (semiring == 4) share = expf(a + b - (endless(out) ? 0.0f : out));
    if (semiring == 2) return (b < a) == (which == 2) ? share : 0.0f;
    return semiring == 0 || semiring == 3 ? share * (which == 1 ? b : a) : share;
}

// The index of cell (i, j) of place (y, x) of picture n
__device__ long long at(int n, int r, int i, int j, int y, int x, int height, int width) {
    return (((long long)n * r * r + i * r + j) * height + y) * width + x;
}

extern "C" __global__ void pairwise_product(
        const float* p1, const float* p2, float* out, int* arg,
        int semiring, int r1, int r2, int r, int s, int crop, int height, int width, int h, int w) {
    int place = blockIdx.x * blockDim.x + threadIdx.x, n = blockIdx.z;
    if (place >= height * width) return;
    int y = place / width, x = place % width, i = blockIdx.y / r, j = blockIdx.y % r;
    float most = 0.0f, total = 0.0f;
    int chosen = -1;
    for (int pass = 0; pass < (semiring == 4 ? 2 : 1); pass++) {
        float from = endless(most) ? 0.0f : most;   // of terms of -inf alone the sum is 0
        for (int i1 = 0; i1 < r1; i1++) for (int j1 = 0; j1 < r1; j1++) {
            int i2 = i + crop - i1, j2 = j + crop - j1, y2 = y + i1 - s, x2 = x + j1 - s;
            if (i2 < 0 || i2 >= r2 || j2 < 0 || j2 >= r2 || y2 < 0 || y2 >= h || x2 < 0 || x2 >= w) continue;
            float term = product(semiring, p1[at(n, r1, i1, j1, y, x, height, width)],
                                 p2[at(n, r2, i2, j2, y2, x2, h, w)]);
            if (semiring == 0) total += term;
            else if (pass == 1) total += expf(term - from);
            else if (chosen < 0 || (semiring == 1 ? term < most : term > most)) most = term, chosen = i1 * r1 + j1;
        }
    }
    long long goal = at(n, r, i, j, y, x, height, width);
    if (semiring == 4 && chosen >= 0) most = (endless(most) ? 0.0f : most) + logf(total);
    out[goal] = semiring == 0 ? total : most;
    arg[goal] = chosen;
}

extern "C" __global__ void pairwise_product_1(
        const float* p1, const float* p2, const float* out, const int* arg, const float* diff, float* result,
        int semiring, int r1, int r2, int r, int s, int crop, int height, int width, int h, int w) {
    int place = blockIdx.x * blockDim.x + threadIdx.x, n = blockIdx.z;
    if (place >= height * width) return;
    int y = place / width, x = place % width, i1 = blockIdx.y / r1, j1 = blockIdx.y % r1;
    int y2 = y + i1 - s, x2 = x + j1 - s;
    long long here = at(n, r1, i1, j1, y, x, height, width);
    float total = 0.0f;
    if (y2 >= 0 && y2 < h && x2 >= 0 && x2 < w)
        for (int i2 = 0; i2 < r2; i2++) for (int j2 = 0; j2 < r2; j2++) {
            int i = i1 + i2 - crop, j = j1 + j2 - crop;
            if (i < 0 || i >= r || j < 0 || j >= r) continue;
            long long goal = at(n, r, i, j, y, x, height, width);
            total += diff[goal] * slope(semiring, 1, p1[here], p2[at(n, r2, i2, j2, y2, x2, h, w)], out[goal],
                                        arg[goal] == i1 * r1 + j1);
        }
    result[here] = total;
}

extern "C" __global__ void pairwise_product_2(
        const float* p1, const float* p2, const float* out, const int* arg, const float* diff, float* result,
        int semiring, int r1, int r2, int r, int s, int crop, int height, int width, int h, int w) {
    int place = blockIdx.x * blockDim.x + threadIdx.x, n = blockIdx.z;
    if (place >= h * w) return;
    int y2 = place / w, x2 = place % w, i2 = blockIdx.y / r2, j2 = blockIdx.y % r2;
    long long here = at(n, r2, i2, j2, y2, x2, h, w);
    float total = 0.0f;
    for (int i1 = 0; i1 < r1; i1++) for (int j1 = 0; j1 < r1; j1++) {
        int i = i1 + i2 - crop, j = j1 + j2 - crop, y = y2 - i1 + s, x = x2 - j1 + s;
        if (i < 0 || i >= r || j < 0 || j >= r || y < 0 || y >= height || x < 0 || x >= width) continue;
        long long goal = at(n, r, i, j, y, x, height, width);
        total += diff[goal] * slope(semiring, 2, p1[at(n, r1, i1, j1, y, x, height, width)], p2[here], out[goal],
                                    arg[goal] == i1 * r1 + j1);
    }
    result[here] = total;
}
"""
