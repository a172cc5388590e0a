"""Pairwise product: all back ends agree with the definition, that with autograd; and what section 4.3.2 says of it."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csgraph

from halide_kernels import backend, pairwise_transpose
from halide_kernels import pairwise_matmul as kernel

pytestmark = pytest.mark.unit
needs_halide = pytest.mark.skipif(backend.find("halide")[0] is None, reason="Halide is missing")
semirings = pytest.mark.parametrize("semiring", kernel.SEMIRINGS)
# r1, r2, r, how many places more p2's map has
WINDOWS = [(1, 1, 1, 0), (3, 3, 5, 0), (3, 5, 3, 0), (5, 2, 6, 0), (2, 3, 4, 1), (4, 4, 7, 1), (4, 4, 5, -1)]


@pytest.fixture
def other(back_end):
    """(forward, backward) of a back end, on NumPy arrays."""
    return back_end(kernel.BACKENDS)


def blobs(windows, height, width, n=1, dtype=np.float32, seed=0):
    r1, r2, _, more = windows
    draw = np.random.default_rng(seed)
    return (draw.standard_normal((n, r1 * r1, height, width)).astype(dtype),
            draw.standard_normal((n, r2 * r2, height + more, width + more)).astype(dtype))


def product(semiring, p1, p2, r, run=kernel.with_numpy):
    out = np.full((len(p1), r * r, *p1.shape[2:]), np.nan, p1.dtype)
    arg = np.full(out.shape, -7, np.int32)
    run(semiring, p1, p2, out, arg)
    return out, arg


def gradients(semiring, p1, p2, out, arg, diff, run=kernel.backward_with_numpy):
    diffs = np.full_like(p1, np.nan), np.full_like(p2, np.nan)
    run(semiring, p1, p2, out, arg, diff, *diffs)
    return diffs


def agree(semiring, windows, height, width, n, forward, backward):
    p1, p2 = blobs(windows, height, width, n)
    p1, p2 = np.round(2 * p1) / 2, np.round(2 * p2) / 2   # many ties
    out, arg = product(semiring, p1, p2, windows[2])
    found, found_arg = product(semiring, p1, p2, windows[2], forward)
    np.testing.assert_allclose(found, out, rtol=1e-5, atol=1e-5)
    if semiring.startswith("m"):
        np.testing.assert_array_equal(found_arg, arg)
    diff = np.random.default_rng(1).standard_normal(out.shape).astype(np.float32)
    expected = gradients(semiring, p1, p2, out, arg, diff)
    for one, two in zip(gradients(semiring, p1, p2, found, found_arg, diff, backward), expected, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-5)


@semirings
@pytest.mark.parametrize("windows", WINDOWS)
@pytest.mark.parametrize("height, width", [(2, 2), (6, 19)])
def test_all_back_ends_agree(other, semiring, windows, height, width):
    agree(semiring, windows, height, width, 2, *other)


@needs_halide
@given(semiring=st.sampled_from(kernel.SEMIRINGS), r1=st.integers(1, 4), r2=st.integers(1, 4), less=st.integers(0, 2),
       height=st.integers(1, 7), width=st.integers(1, 11))
def test_any_shape(semiring, r1, r2, less, height, width):
    r = max(r1 + r2 - 1 - 2 * less, 2 - (r1 + r2) % 2 if r1 + r2 > 2 else 1)
    if (r1 + r2 - 1 - r) % 2:
        r = r1 + r2 - 1
    agree(semiring, (r1, r2, r, int(r1 % 2 == 0)), height, width, 1, *kernel.BACKENDS["halide"])


def naive(semiring, p1, p2, r):
    """The definition in PyTorch, in whole maps: pad p2, shift it, reduce a stack of terms."""
    (r1, r2), (height, width) = (int(p.shape[1] ** 0.5) for p in (p1, p2)), p1.shape[2:]
    place = (r1 - 1) / 2 - (p2.shape[2] - height) / 2   # cell i1 of place y is place y + i1 - place of p2
    assert place == int(place)
    pad = r1 + 1
    p2, valid = F.pad(p2, [pad] * 4), F.pad(torch.ones_like(p2[:, :1]), [pad] * 4)
    crop = (r1 + r2 - 1 - r) // 2
    planes = []
    for i, j in np.ndindex(r, r):
        terms, exist = [], []
        for i1, j1 in np.ndindex(r1, r1):
            i2, j2 = i + crop - i1, j + crop - j1
            if 0 <= i2 < r2 and 0 <= j2 < r2:
                y, x = pad + i1 - int(place), pad + j1 - int(place)
                a, b = p1[:, i1 * r1 + j1], p2[:, i2 * r2 + j2, y:y + height, x:x + width]
                terms.append(torch.minimum(a, b) if semiring == "max_min" else
                             a * b if semiring.endswith("product") else a + b)
                exist.append(valid[:, 0, y:y + height, x:x + width] > 0)
        t, e = torch.stack(terms), torch.stack(exist)
        none = {"sum_product": 0.0, "min_sum": np.inf}.get(semiring, -np.inf)
        t = torch.where(e | ~e.any(0), t, none)   # where no term exists the value is overwritten below
        plane = {"sum": t.sum, "min": t.amin, "max": t.amax, "log": t.logsumexp}[semiring[:3]](0)
        planes.append(torch.where(e.any(0), plane, 0))
    return torch.stack(planes, 1)


@semirings
@pytest.mark.parametrize("windows", WINDOWS)
def test_the_definition_is_that_of_autograd(semiring, windows):
    p1, p2 = blobs(windows, 4, 5, 2, np.float64)
    leaves = [torch.tensor(p, requires_grad=True) for p in (p1, p2)]
    expected = naive(semiring, *leaves, windows[2])
    out, arg = product(semiring, p1, p2, windows[2])
    np.testing.assert_allclose(out, expected.detach().numpy(), atol=1e-12)
    diff = np.random.default_rng(1).standard_normal(out.shape)
    expected.backward(torch.from_numpy(diff))
    for found, leaf in zip(gradients(semiring, p1, p2, out, arg, diff), leaves, strict=True):
        np.testing.assert_allclose(found, leaf.grad.numpy(), atol=1e-12)


@semirings
@pytest.mark.parametrize("windows", [(3, 3, 5, 0), (2, 2, 3, 1)])
def test_finite_differences(semiring, windows):
    p = blobs(windows, 3, 3, 1, np.float64)
    out, arg = product(semiring, *p, windows[2])
    diff = np.random.default_rng(1).standard_normal(out.shape)
    for blob, gradient in zip(p, gradients(semiring, *p, out, arg, diff), strict=True):
        for at in np.ndindex(blob.shape):
            value, results = blob[at], []
            for blob[at] in (value + 1e-6, value - 1e-6):
                results.append((product(semiring, *p, windows[2])[0] * diff).sum())
            blob[at] = value
            assert gradient[at] == pytest.approx((results[0] - results[1]) / 2e-6, abs=1e-7)


@pytest.mark.parametrize("semiring", ["min_sum", "max_min", "max_product"])
def test_of_equal_terms_the_lowest_index_gets_the_gradient(other, semiring):
    p = np.ones((1, 9, 5, 5), np.float32)
    out, arg = product(semiring, p, p, 3, other[0])
    # cell (1, 1): all nine d have a partner; inside the map the first is d = 0, at the upper left place d = (1, 1)
    assert arg[0, 4, 2, 2] == 0 and arg[0, 4, 0, 0] == 4
    diff = np.zeros_like(out)
    diff[0, 4, 2, 2] = 3
    diff1, diff2 = gradients(semiring, p, p, out, arg, diff, other[1])
    assert diff1[0, 0, 2, 2] == 3 and np.abs(diff1).sum() == 3
    if semiring == "max_min":   # and of equal factors the first
        assert not diff2.any()
    else:
        assert diff2[0, 8, 1, 1] == 3 and np.abs(diff2).sum() == 3


def test_infinities_say_that_there_is_no_path(other):
    for semiring, none in (("min_sum", np.inf), ("logsumexp_sum", -np.inf)):
        p = np.full((1, 9, 4, 4), none, np.float32)
        p[0, 5] = 1   # one step to the right
        out, arg = product(semiring, p, p, 5, other[0])
        expected = np.full((4, 4, 5, 5), none)
        expected[:, :2, 2, 4] = 2
        np.testing.assert_array_equal(known(out), known(expected.transpose(2, 3, 0, 1).reshape(1, 25, 4, 4)))
        assert not any(np.isnan(d).any() for d in gradients(semiring, p, p, out, arg, np.ones_like(out), other[1]))


# ------------------------------------------------------------------ the observations of 4.3.2
def known(p):
    """Index pairs of the graph on the map's places: dense[x, z] of p(x, z - x), for odd R; NaN where p has no cell."""
    r, (height, width) = int(p.shape[1] ** 0.5), p.shape[2:]
    dense = np.full((height, width, height, width), np.nan)
    for y, x, i, j in np.ndindex(height, width, r, r):
        z = y + i - r // 2, x + j - r // 2
        if 0 <= z[0] < height and 0 <= z[1] < width:
            dense[y, x, z[0], z[1]] = p[0, i * r + j, y, x]
    return dense.reshape(height * width, height * width)


ZERO = {"sum_product": 0.0, "min_sum": np.inf, "max_min": -np.inf, "max_product": 0.0, "logsumexp_sum": -np.inf}
ONE = {"sum_product": 1.0, "min_sum": 0.0, "max_min": np.inf, "max_product": 1.0, "logsumexp_sum": 0.0}
PLUS = {"sum": np.add, "min": np.minimum, "max": np.maximum, "log": np.logaddexp}
TIMES = {"product": np.multiply, "sum": np.add, "min": np.minimum}


def dense_product(semiring, a, b):
    return PLUS[semiring[:3]].reduce(TIMES[semiring.split("_")[1]](a[:, :, None], b[None]), axis=1)


def steps(semiring, height, width, seed=0):
    """A pairwise blob of nonnegative 3 x 3 steps with the identity at offset 0."""
    p = np.random.default_rng(seed).integers(1, 64, (1, 9, height, width)) / 64
    p[:, 4] = ONE[semiring]
    return p


@semirings
def test_products_with_the_identity_are_paths_of_at_most_k_steps(semiring):
    p, k = steps(semiring, 3, 4), 3
    power = p
    for _ in range(k - 1):
        power, _ = product(semiring, power, p, 2 + int(power.shape[1] ** 0.5))
    edges = np.nan_to_num(known(p), nan=ZERO[semiring], posinf=np.inf, neginf=-np.inf)
    np.fill_diagonal(edges, ZERO[semiring])   # real steps only
    paths = np.full_like(edges, ZERO[semiring])
    np.fill_diagonal(paths, ONE[semiring])
    total = paths.copy()
    for length in range(1, k + 1):
        paths = dense_product(semiring, paths, edges)
        # a path of fewer steps stands still in the others: as often as these can be placed among the k
        ways = [1, 3, 3, 1][length]
        weighted = {"sum_product": ways * paths, "logsumexp_sum": np.log(ways) + paths}.get(semiring, paths)
        total = PLUS[semiring[:3]](total, weighted)
    reached = known(power)
    near = ~np.isnan(reached)
    np.testing.assert_allclose(reached[near], total[near], rtol=1e-12)
    assert (total[~near] == ZERO[semiring]).all()   # and no path of k steps leads out of the window


@semirings
def test_a_symmetric_blob_gives_an_undirected_graph(semiring):
    p = steps(semiring, 5, 6)
    other = np.empty_like(p)
    pairwise_transpose.with_numpy(p, other)
    square, _ = product(semiring, np.minimum(p, other), np.minimum(p, other), 5)
    transposed = np.empty_like(square)
    pairwise_transpose.with_numpy(square, transposed)
    np.testing.assert_allclose(known(square), known(transposed), rtol=1e-12)
    one_way, _ = product(semiring, p, p, 5)
    pairwise_transpose.with_numpy(one_way, transposed)
    assert not np.allclose(np.nan_to_num(known(one_way)), np.nan_to_num(known(transposed)))


@pytest.mark.parametrize("directed", [True, False])
def test_min_sum_is_shortest_paths(other, directed):
    """Squared until paths may cross the whole map, in a window that covers it; with walls, exactly as SciPy finds."""
    p = np.round(64 * steps("min_sum", 4, 5)).astype(np.float32)
    p[(np.random.default_rng(3).random(p.shape) < 0.3) & (np.arange(9)[:, None, None] != 4)] = np.inf
    if not directed:
        back = np.empty_like(p)
        pairwise_transpose.with_numpy(p, back)
        p = np.minimum(p, np.where(np.isnan(known_mask(p)), p, back))
    graph = csgraph.csgraph_from_dense(np.nan_to_num(known(p), nan=np.inf), null_value=np.inf)
    for _ in range(5):   # 32 steps; 19 can be needed
        p, _ = product("min_sum", p, p, min(9, 2 * int(p.shape[1] ** 0.5) - 1), other[0])
    expected = csgraph.shortest_path(graph, directed=directed)
    np.testing.assert_array_equal(known(p), expected)
    assert np.isinf(expected).any() or expected.max() > 64


def known_mask(p):
    """1 in the cells of p whose place is in the map, NaN elsewhere."""
    mask = np.empty_like(p)
    pairwise_transpose.with_numpy(np.ones_like(p), mask)
    return np.where(mask == 0, np.nan, mask)


def test_a_finer_window_refines_a_coarser_one():
    """p1 knows every other cell alone, p2 the nearest ones: their product knows all, and to the pixel."""
    labels = np.zeros((9, 12), int)
    labels[:, 5:] = 1
    labels[6:, :] = 2
    y, x = np.mgrid[:9, :12]

    def same(r):
        p = np.zeros((1, r * r, 9, 12))
        for i, j in np.ndindex(r, r):
            y2, x2 = y + i - r // 2, x + j - r // 2
            inside = (y2 >= 0) & (y2 < 9) & (x2 >= 0) & (x2 < 12)
            p[0, i * r + j][inside] = labels[y[inside], x[inside]] == labels[y2[inside], x2[inside]]
        return p

    coarse = same(5).reshape(5, 5, 9, 12) * (np.arange(5) % 2 == 0)[:, None, None, None]
    coarse *= (np.arange(5) % 2 == 0)[:, None, None]
    fine, _ = product("max_min", coarse.reshape(1, 25, 9, 12), same(3), 5)
    inside = ~np.isnan(known_mask(fine))
    np.testing.assert_array_equal(fine[inside], same(5)[inside])


@pytest.mark.parametrize("windows", WINDOWS)
@pytest.mark.parametrize("first, stride", [(0.5, 2), (31, 32)])
def test_cells_stay_at_their_pixels(other, windows, first, stride):
    """With p(x, D) = f(pixel of x + D) - f(pixel of x), f linear and exact, so has every term of the product."""
    r1, r2, r, more = windows

    def differences(r, start, height, width):
        c = (np.arange(r) - (r - 1) / 2) * stride
        y, x = start + stride * np.arange(height), start + stride * np.arange(width)
        f = [(axis + c[:, None]) ** 2 - axis**2 for axis in (y, x)]   # squares: a shifted window is another number
        return (f[0][:, None, :, None] + 3 * f[1][None, :, None]).reshape(1, r * r, height, width).astype(np.float32)

    p1 = differences(r1, first, 8, 9)
    p2 = differences(r2, first - stride * more / 2, 8 + more, 9 + more)
    out, arg = product("min_sum", p1, p2, r, other[0])
    exists = arg >= 0
    np.testing.assert_array_equal(out[exists], differences(r, first, 8, 9)[exists])
    assert exists.mean() > 0.5 and not out[~exists].any()


def test_the_back_end_is_named():
    p1, p2 = blobs((3, 3, 5, 0), 4, 4)
    out, arg = np.empty((1, 25, 4, 4), np.float32), np.empty((1, 25, 4, 4), np.int32)
    assert kernel.product("min_sum", p1, p2, out, arg).split()[0].strip(",") in ("Halide", "NumPy")
    np.testing.assert_allclose(out, product("min_sum", p1, p2, 5)[0], rtol=1e-6)
