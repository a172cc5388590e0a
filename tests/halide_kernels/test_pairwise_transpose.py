"""Pairwise transpose: all back ends agree, it moves pairs where their pixels are, and its inverse brings them back."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from halide_kernels import backend
from halide_kernels import pairwise_transpose as kernel

pytestmark = pytest.mark.unit


@pytest.fixture
def other(back_end):
    return back_end(kernel.BACKENDS)


def transposed(p, more=0, run=kernel.with_numpy):
    n, channels, height, width = p.shape
    out = np.full((n, channels, height + more, width + more), np.nan, p.dtype)
    run(p, out)
    return out


def blob(n, r, height, width, dtype=np.float32):
    return np.random.default_rng(0).standard_normal((n, r * r, height, width)).astype(dtype)


def naive(p, r, first, goal, sizes):
    """Pair by pair, by coordinates: p's first place is at `first`, the result's at `goal`; `sizes` (height, width)."""
    c = (r - 1) / 2
    places = {(y, x): p[0, :, y, x] for y in range(p.shape[2]) for x in range(p.shape[3])}
    out = np.zeros((1, r * r, *sizes), p.dtype)
    for y, x, i, j in itertools.product(range(sizes[0]), range(sizes[1]), range(r), range(r)):
        there = goal + y + i - c - first, goal + x + j - c - first
        if there in places:
            out[0, i * r + j, y, x] = places[there][int(c - (i - c)) * r + int(c - (j - c))]
    return out


@pytest.mark.parametrize("r, more", [(1, 0), (3, 0), (5, 0), (2, 1), (2, -1), (4, 1), (4, -1), (14, 1), (14, -1)])
@pytest.mark.parametrize("height, width", [(2, 2), (7, 5), (9, 40)])
def test_the_definition_and_all_back_ends(other, r, more, height, width):
    p = blob(1, r, height, width)
    first, goal = (-0.5, 0) if more == -1 else (0, -0.5 * more)
    out = transposed(p, more)
    np.testing.assert_array_equal(out, naive(p, r, first, goal, (height + more, width + more)))
    np.testing.assert_array_equal(transposed(p, more, other), out)


@pytest.mark.skipif(backend.find("halide")[0] is None, reason="Halide is missing")
@given(n=st.integers(1, 3), r=st.integers(1, 9), height=st.integers(1, 12), width=st.integers(1, 20))
def test_any_shape(n, r, height, width):
    p, more = blob(n, r, height, width), int(r % 2 == 0)
    out = transposed(p, more)
    np.testing.assert_array_equal(transposed(p, more, kernel.with_halide), out)
    np.testing.assert_array_equal(transposed(out, -more, kernel.with_halide), transposed(out, -more))


@pytest.mark.tiny
@pytest.mark.parametrize("r", [1, 2, 3, 4, 5, 6, 14])
@pytest.mark.parametrize("height, width", [(1, 1), (7, 5), (20, 17)])
def test_there_and_back_is_the_identity_inside_the_border(r, height, width):
    """Exactly the cells whose place is in the (dual) map come back; the others are 0, unknown."""
    p, more = blob(2, r, height, width), int(r % 2 == 0)
    back = transposed(transposed(p, more), -more)
    offset = np.arange(r) - (r - 1) / 2
    inside = [(place >= -more / 2) & (place <= size - 1 + more / 2)
              for size in (height, width) for place in [np.arange(size) + offset[:, None]]]
    known = (inside[0][:, None, :, None] & inside[1][None, :, None]).reshape(r * r, height, width)
    np.testing.assert_array_equal(back, np.where(known, p, 0))


@pytest.mark.parametrize("r", [3, 5, 4, 14])
@pytest.mark.parametrize("first, stride", [(0.5, 2), (7.5, 16), (-3, 8), (31, 32)])
def test_pairs_keep_their_pixels(r, first, stride):
    """A value that tells the pixels of its pair, exactly, tells the same pair reversed at the transposed place."""
    def pixels(start, size):   # of the cells of each centre, cell x centre
        centre = start + stride * np.arange(size)
        return centre + stride * (np.arange(r) - (r - 1) / 2)[:, None], np.broadcast_to(centre, (r, size))

    size, more = 32, int(r % 2 == 0)
    cell, centre = pixels(first, size)
    for rows in (True, False):
        shape = (1, r * r, size, size)
        value = (4096 * centre + cell).astype(np.float64)   # half pixels and up to 4096: exact
        axes = value[:, None, :, None] if rows else value[None, :, None, :]
        out = transposed(np.broadcast_to(axes, (r, r, size, size)).reshape(shape), more)
        there, here = pixels(first - stride * more / 2, size + more)
        value = 4096 * there + here
        axes = value[:, None, :, None] if rows else value[None, :, None, :]
        known = out != 0
        np.testing.assert_array_equal(
            out[known], np.broadcast_to(axes, (r, r, *out.shape[2:])).reshape(out.shape)[known])
        assert known[:, :, r // 2:-r // 2, r // 2:-r // 2].all()


@pytest.mark.parametrize("r, more", [(3, 0), (4, 1), (4, -1)])
def test_the_gradient_is_the_transpose_with_the_arrays_exchanged(r, more):
    """Finite differences in float64, exact for a linear map, and autograd of PyTorch's gather."""
    p = blob(1, r, 5, 6, np.float64)
    diff = np.random.default_rng(1).standard_normal(transposed(p, more).shape)
    gradient = transposed(diff, -more)
    numeric = np.empty_like(p)
    for at in np.ndindex(p.shape):
        moved = p.copy()
        moved[at] += 1
        numeric[at] = ((transposed(moved, more) - transposed(p, more)) * diff).sum()
    np.testing.assert_allclose(gradient, numeric, atol=1e-12)
    index = transposed(np.arange(1.0, p.size + 1).reshape(p.shape), more).astype(np.int64)   # 0: unknown
    leaf = torch.tensor(p, requires_grad=True)
    out = torch.cat([leaf.new_zeros(1), leaf.flatten()])[torch.from_numpy(index)]
    out.backward(torch.from_numpy(diff))
    np.testing.assert_array_equal(out.detach().numpy(), transposed(p, more))
    np.testing.assert_array_equal(leaf.grad.numpy(), gradient)


def test_the_back_end_is_named():
    p = blob(1, 3, 4, 4)
    out = np.empty_like(p)
    assert kernel.transpose(p, out).split()[0].strip(",") in ("Halide", "NumPy")
    np.testing.assert_array_equal(out, transposed(p))
