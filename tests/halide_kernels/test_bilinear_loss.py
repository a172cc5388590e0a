"""Bilinear loss on the fly: back ends agree, as do autograd of a naive version, the Deconvolution and differences."""

import tracemalloc

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from halide_kernels import backend
from halide_kernels import bilinear_loss as kernel
from surgery import upsample_filt

pytestmark = pytest.mark.unit


@pytest.fixture
def other(back_end):
    return back_end(kernel.BACKENDS)


def regions(r, s, count, dtype=np.float32, spread=3.0):
    """Cells, a label image with void (-1), first pixels and instances."""
    draw, side = np.random.default_rng(r * s + count), r * s
    labels = draw.integers(-1, 4, (side + 9, side + 13)).astype(np.float32)
    return ((spread * draw.standard_normal((r, r, count))).astype(dtype), labels,
            *(draw.integers(0, most + 1, count).astype(np.int32) for most in (9, 13)),
            draw.integers(1, 4, count).astype(np.float32), s)


def results(run, case):
    loss, grad = np.full(case[0].shape[2], np.nan, case[0].dtype), np.full_like(case[0], np.nan)
    run(*case, loss, grad)
    return loss, grad


SHAPES = [(1, 1, 1), (1, 5, 3), (2, 2, 16), (3, 1, 17), (3, 4, 40), (4, 3, 5), (5, 5, 33), (14, 2, 20), (14, 4, 9),
          (18, 8, 3)]


@pytest.mark.parametrize("spread", [1, 30, 1e4])
@pytest.mark.parametrize(("r", "s", "count"), SHAPES)
def test_back_ends_agree(other, r, s, count, spread):
    case = regions(r, s, count, spread=spread)
    for array in case[:-1]:
        array.flags.writeable = False
    exact = results(kernel.with_numpy, (case[0].astype(np.float64), *case[1:]))
    for found, expected in zip(results(other, case), exact, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * abs(expected).max())


@pytest.mark.parametrize(("r", "s"), [(1, 3), (2, 4), (3, 2), (4, 3), (5, 1), (14, 4)])
def test_upsampling_is_that_of_the_fixed_deconvolution(r, s):
    cells = np.random.default_rng(0).standard_normal((r, r))
    size = 2 * s - s % 2
    expected = F.conv_transpose2d(torch.tensor(cells)[None, None], torch.tensor(upsample_filt(size))[None, None],
                                  stride=s, padding=s // 2)[0, 0].numpy()
    up = kernel.weights(r, s)
    np.testing.assert_allclose(up @ cells @ up.T, expected, atol=1e-12)


@pytest.fixture(params=[(), ("halide", "cupy")], ids=["all", "NumPy alone"])
def missing(request, monkeypatch):
    real = backend.find
    monkeypatch.setattr(
        backend, "find", lambda name: (None, f"{name} is gone") if name in request.param else real(name))
    return request.param


def naive(scores, labels, regions, s, background, void, stride, first):
    """Each window at full resolution, pixel by pixel from the label image; scores: a torch tensor of doubles."""
    size = round(scores.shape[1] ** 0.5)
    kernel_2d = torch.tensor(upsample_filt(2 * s - s % 2))[None, None]
    terms = []
    for n, y, x, instance in regions:
        up = F.conv_transpose2d(scores[n, :, y, x].reshape(1, 1, size, size), kernel_2d, stride=s, padding=s // 2)[0, 0]
        logits, targets = [], []
        for v in range(size * s):
            for u in range(size * s):
                row, col = y * stride + first + v, x * stride + first + u
                if 0 <= row < labels.shape[1] and 0 <= col < labels.shape[2]:
                    label = labels[n, row, col]
                    if label != void and (background or label != 0):
                        logits.append(up[v, u])
                        targets.append(float(label == instance))
        terms.append(F.binary_cross_entropy_with_logits(
            torch.stack(logits), torch.tensor(targets, dtype=torch.float64)))
    return torch.stack(terms).mean()


@pytest.mark.parametrize("background", [True, False])
@pytest.mark.parametrize(("r", "s", "stride", "first"), [(3, 2, 2, -2), (4, 3, 4, -4), (2, 4, 2, 1), (1, 1, 3, 1)])
def test_the_mean_is_that_of_autograd_at_full_resolution(r, s, stride, first, background, missing, monkeypatch):
    """Windows over the border, void, two pictures, chunks of seven regions."""
    monkeypatch.setattr(kernel, "_CHUNK", 7)
    draw = np.random.default_rng(r)
    scores = draw.standard_normal((2, r * r, 5, 6)).astype(np.float32) * 4
    labels = draw.integers(0, 4, (2, 17, 20)).astype(np.float32)
    labels[draw.random(labels.shape) < 0.1] = 9
    places = np.argwhere(draw.random((2, 5, 6)) < 0.6)
    middle = places[:, 1:] * stride + first + (r * s) // 2
    labels[(places[:, 0], *np.clip(middle, 0, (16, 19)).T)] = 1   # so that each window has a pixel that counts
    found = np.column_stack([places, np.where(draw.random(len(places)) < 0.5, 1, 2)])

    tensor = torch.tensor(scores, dtype=torch.float64, requires_grad=True)
    expected = naive(tensor, labels, found, s, background, 9, stride, first)
    expected.backward()
    loss, grad, said = kernel.mean_loss(scores, labels, found, s, background, 9, stride, first)
    assert said.startswith("NumPy") == bool(missing) or backend.find("halide")[0] is None
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    n, y, x, _ = found.T
    np.testing.assert_allclose(grad.T, tensor.grad[n, :, y, x].numpy(), atol=1e-5 * abs(tensor.grad).max().item())


@pytest.mark.parametrize(("r", "s"), [(1, 4), (3, 2), (4, 3)])
def test_finite_differences(r, s):
    cells, *rest = regions(r, s, 2, np.float64)
    _, grad = results(kernel.with_numpy, (cells, *rest))
    for at in np.ndindex(cells.shape):
        step = np.zeros_like(cells)
        step[at] = 1e-6
        above, below = (results(kernel.with_numpy, (cells + sign * step, *rest))[0][at[2]] for sign in (1, -1))
        assert grad[at] == pytest.approx((above - below) / 2e-6, rel=1e-6, abs=1e-7)


def test_memory_is_that_of_coarse_regions(missing):
    """3000 regions of 4 x 4 cells are 0.2 MB; their windows of 64 x 64 pixels would be 49 MB."""
    found = np.column_stack([np.zeros(3000, int), np.indices((50, 60)).reshape(2, -1).T, np.ones(3000, int)])
    scores, labels = np.ones((1, 16, 50, 60), np.float32), np.ones((1, 60, 70), np.float32)
    tracemalloc.start()   # sees NumPy's arrays
    try:
        kernel.mean_loss(scores, labels, found, 16, True, 255, 1, -32)
        assert tracemalloc.get_traced_memory()[1] < 4e6
    finally:
        tracemalloc.stop()


@pytest.mark.tiny
def test_no_regions_no_loss():
    loss, grad, _ = kernel.mean_loss(np.ones((1, 9, 4, 4), np.float32), np.zeros((1, 8, 8), np.float32),
                                     np.empty((0, 4), np.int64), 2, True, 255, 2, -2)
    assert loss == 0 and grad.shape == (9, 0)


def test_a_window_outside_the_image_has_no_loss():
    scores, labels = np.ones((1, 4, 1, 3), np.float32), np.ones((1, 4, 4), np.float32)
    found = np.array([[0, 0, 0, 1], [0, 0, 2, 1]])
    loss, grad, _ = kernel.mean_loss(scores, labels, found, 2, True, 255, 100, 0)
    alone, _, _ = kernel.mean_loss(scores, labels, found[:1], 2, True, 255, 100, 0)
    assert loss == pytest.approx(alone / 2) and (grad[:, 1] == 0).all() and (grad[:, 0] != 0).all()


@pytest.mark.tiny
def test_big_scores_are_exact_and_right_ones_cost_nothing():
    case = (np.full((2, 2, 2), 1e30, np.float32), np.array([[1, 2], [1, 1]], np.float32), np.zeros(2, np.int32),
            np.zeros(2, np.int32), np.array([1, 3], np.float32), 1)
    for run in (kernel.with_numpy, kernel.with_halide) if backend.find("halide")[0] else (kernel.with_numpy,):
        loss, grad = results(run, case)
        np.testing.assert_allclose(loss, [1e30, 4e30], rtol=1e-6)
        np.testing.assert_array_equal(grad[..., 0], [[0, 1], [0, 0]])
        np.testing.assert_array_equal(grad[..., 1], 1)
