"""Min-sum messages: all back ends agree with the definition, that with all pairs of labels; chains are exact."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from halide_kernels import backend, min_sum

pytestmark = pytest.mark.unit
needs_halide = pytest.mark.skipif(backend.find("halide")[0] is None, reason="Halide is missing")
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
needs_cupy = pytest.mark.skipif(backend.find("cupy")[0] is None, reason=str(backend.find("cupy")[1]))


@pytest.fixture(params=[
    "numpy", pytest.param("halide", marks=needs_halide), "cuda source",
    pytest.param("cuda", marks=[pytest.mark.gpu, needs_cuda, needs_cupy]),
])
def run(request, monkeypatch):
    """A back end, on NumPy arrays."""
    if request.param == "cuda source":
        monkeypatch.setattr(backend, "cuda_kernel", request.getfixturevalue("cuda_as_cpp"))
        return min_sum.with_cuda
    if request.param == "cuda":
        import cupy

        def on_device(data, centres, beta, messages, sweeps):
            device = cupy.asarray(messages)
            min_sum.with_cuda(cupy.asarray(data), cupy.asarray(centres), beta, device, sweeps)
            messages[...] = device.get()
        return on_device
    return min_sum.BACKENDS[request.param]


def problem(shape, seed=0, ties=False, forbidden=0.2, dtype=np.float32):
    """Data of nodes x labels with some labels forbidden, and centres apart by whole and broken steps."""
    draw = np.random.default_rng(seed)
    data = draw.random(shape).astype(dtype)
    if ties:
        data = np.round(2 * data) / 2
    data[draw.random(shape) < forbidden] = np.inf
    data[..., shape[2] // 2, shape[3] // 2] = 1
    centres = draw.integers(-4, 5, (*shape[:2], 2)) / (1 if ties else 2)
    return data, centres.astype(dtype)


def messages_of(run, data, centres, beta, sweeps, start=None):
    messages = np.zeros((4, *data.shape), data.dtype) if start is None else start.copy()
    run(data, centres, beta, messages, sweeps)
    return messages


def agree(run, shape, beta, sweeps, seed=0, ties=False):
    data, centres = problem(shape, seed, ties)
    start = np.random.default_rng(1).random((4, *shape)).astype(np.float32)   # also received, where no neighbour is
    for d, border in enumerate((np.s_[:1], np.s_[-1:], np.s_[:, :1], np.s_[:, -1:])):
        start[d][border] = 0
    expected = messages_of(min_sum.with_numpy, data, centres, beta, sweeps, start)
    found = messages_of(run, data, centres, beta, sweeps, start)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-5 * max(1, beta))


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 3, 4, 5), (5, 4, 7, 2), (3, 9, 1, 11), (6, 1, 3, 3),
                                   (4, 17, 3, 4)])
@pytest.mark.parametrize("ties", [False, True])
def test_all_back_ends_agree(run, shape, ties):
    agree(run, shape, 0.05, 3, ties=ties)


@needs_halide
@given(st.tuples(*[st.integers(1, 8)] * 4), st.sampled_from([0, 3e-3, 1, 100]), st.integers(1, 3), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_any_shape(shape, beta, sweeps, seed):
    agree(min_sum.with_halide, shape, beta, sweeps, seed)


def all_pairs(own, beta, offset):
    """A message by every pair of 2-d labels, less its least: L^2 x L^2 sums."""
    i, j = np.indices(own.shape)
    down, across = (np.subtract.outer(axis.ravel(), axis.ravel()) + o for axis, o in zip((i, j), offset, strict=True))
    message = np.min(own.reshape(-1, 1) + beta * (down**2 + across**2), 0).reshape(own.shape)
    return message - message.min()


def test_messages_are_min_convolutions(run):
    """The first half sweep from messages at random: each that is sent, by the definition in float64."""
    data, centres = problem((3, 4, 5, 6))
    start = messages_of(min_sum.with_numpy, data, centres, 0.05, 2)
    found = messages_of(run, data, centres, 0.05, 1, start)
    for y, x in np.ndindex(3, 4):
        if (y + x) % 2:
            continue   # they send second, from what they received first
        for d, (dy, dx) in enumerate(min_sum.STEPS):
            b, a = y + dy, x + dx
            if 0 <= b < 3 and 0 <= a < 4:
                own = data[y, x].astype(float) + sum(start[e, y, x].astype(float) for e in range(4) if e != d)
                expected = all_pairs(own, 0.05, centres[y, x] - centres[b, a])
                np.testing.assert_allclose(found[d ^ 1, b, a], expected, atol=1e-5)


@given(st.integers(1, 12), st.integers(0, 999), st.floats(1e-3, 100), st.booleans())
@settings(max_examples=200, deadline=None)
def test_the_lower_envelope_is_the_distance_transform(size, seed, beta, ties):
    draw = np.random.default_rng(seed)
    rows = draw.integers(0, 3, (6, size)).astype(float) if ties else draw.random((6, size))
    rows[draw.random(rows.shape) < 0.3] = np.inf
    rows[:, draw.integers(size)] = 1
    offset = draw.integers(-15, 16, 6) / 2
    expected = np.min(rows[:, :, None] + beta * (np.subtract.outer(np.arange(size), np.arange(size))
                                                 + offset[:, None, None]) ** 2, 1)
    np.testing.assert_allclose(min_sum.lower_envelope(rows, beta, offset), expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(min_sum.try_all(rows, beta, offset), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("beta", [0, 0.05])
def test_the_definition_by_lower_envelopes(monkeypatch, beta):
    data, centres = problem((4, 3, 5, 6))
    expected = messages_of(min_sum.with_numpy, data, centres, beta, 3)
    monkeypatch.setattr(min_sum, "_ENVELOPE_FROM", 1)
    np.testing.assert_allclose(messages_of(min_sum.with_numpy, data, centres, beta, 3), expected, atol=1e-5)


def min_marginals(data, centres, beta):
    """For a chain in any number of labels: each label's least energy, from all pairs of labels of neighbours."""
    nodes = data.reshape(-1, *data.shape[2:]).astype(float)
    i, j = np.indices(nodes.shape[1:])
    at = centres.reshape(-1, 2, 1).astype(float) + np.stack([i.ravel(), j.ravel()])
    cost = nodes.reshape(len(nodes), -1)

    def swept(order):
        sums = {order[0]: cost[order[0]]}
        for p, q in zip(order, order[1:], strict=False):
            way = beta * np.sum((at[p][:, :, None] - at[q][:, None]) ** 2, 0)
            sums[q] = cost[q] + np.min(sums[p][:, None] + way, 0)
        return np.array([sums[q] for q in range(len(order))])

    both = swept(range(len(nodes))) + swept(range(len(nodes))[::-1])
    return (both - np.where(np.isfinite(cost), cost, 0)).reshape(nodes.shape)


@pytest.mark.parametrize("shape", [(1, 9, 3, 4), (8, 1, 4, 3), (1, 2, 5, 5)])
def test_min_marginals_of_chains_are_exact(run, shape):
    data, centres = problem(shape, 3)
    messages = messages_of(run, data, centres, 0.1, 9)
    beliefs = (data + messages.sum(0)).reshape(-1, *shape[2:])
    expected = min_marginals(data, centres, 0.1)
    free = np.isfinite(expected)
    assert (np.isfinite(beliefs) == free).all()
    for found, exact, ok in zip(beliefs, expected, free, strict=True):   # a constant for each node is free
        np.testing.assert_allclose((found - found.min())[ok], (exact - exact.min())[ok], atol=1e-5)


def test_sweeps_continue_and_messages_stay_within_bounds(run):
    """Two and three sweeps are five, to the bit; after many a message is within 0 and the longest way, and no worse
    in float32 than in float64."""
    data, centres = problem((4, 5, 3, 3), forbidden=0)
    centres[...] = 0
    two = messages_of(run, data, centres, 0.2, 2)
    np.testing.assert_array_equal(messages_of(run, data, centres, 0.2, 3, two), messages_of(run, data, centres, 0.2, 5))
    many = messages_of(run, data, centres, 0.2, 300)
    assert many.min() >= 0 and many.max() <= 0.2 * (2**2 + 2**2) + 1e-6
    exact = messages_of(min_sum.with_numpy, data.astype(float), centres.astype(float), 0.2, 300)
    np.testing.assert_allclose(many, exact, atol=1e-4)


@pytest.mark.tiny
def test_pass_messages_says_what_computes_and_takes_any_layout():
    data, _ = problem((3, 4, 2, 3))
    found, sentence = min_sum.pass_messages(data.astype(float).transpose(1, 0, 2, 3), 0.1, 2)
    expected = messages_of(min_sum.with_numpy, data.transpose(1, 0, 2, 3), np.zeros((4, 3, 2), np.float32), 0.1, 2)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert "arrays on the host" in sentence
