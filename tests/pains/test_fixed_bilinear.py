"""Pain 15: fixed bilinear Deconvolution is extremely slow, because Caffe multiplies with all the zeros."""
import time

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import caffe
from caffe.layers import bilinear, convolution

pytestmark = pytest.mark.unit

# x is learned, so that it gets a diff; force_backward would ask for the fixed weights' diff too
NET = """
layer {{ name: "x" type: "Parameter" top: "x"
  parameter_param {{ shape {{ dim: 1 dim: {c} dim: {size} dim: {size} }} }} }}
layer {{ name: "up" type: "Deconvolution" bottom: "x" top: "y" param {{ lr_mult: {lr} }}
  convolution_param {{ num_output: {c} group: {group} kernel_size: {k} stride: {s} pad: {pad} bias_term: false
                      weight_filler {{ type: "bilinear" }} }} }}
layer {{ name: "loss" type: "Reduction" bottom: "y" top: "loss" loss_weight: 1
  reduction_param {{ operation: SUMSQ }} }}
"""


def hat(k):
    """A bilinear kernel's row, from its definition: a hat of half-width ceil(k / 2) around the middle."""
    half = (k + 1) // 2
    return 1 - np.abs(np.arange(k) - (k - 1) / 2 if k % 2 == 0 else np.arange(k) - (half - 1)) / half


def dense_weight(c, k):
    weight = torch.zeros(c, c, k, k)
    weight[range(c), range(c)] = torch.tensor(np.outer(hat(k), hat(k)), dtype=torch.float32)
    return weight


@pytest.fixture
def fast_calls(monkeypatch):
    """How often the separable path ran."""
    calls = []
    real = bilinear.upsample
    monkeypatch.setattr(bilinear, "upsample", lambda *a: calls.append(1) or real(*a))
    return calls


@pytest.fixture
def make(tmp_path):
    def make(phase=caffe.TRAIN, c=4, size=5, k=16, s=8, pad=0, lr=0, group=1):
        (tmp_path / "net.prototxt").write_text(
            NET.format(c=c, size=size, k=k, s=s, pad=pad, lr=lr, group=group))
        net = caffe.Net(str(tmp_path / "net.prototxt"), phase)
        weight = net.params["up"][0].data
        if group == 1:
            weight[...] = dense_weight(c, k).numpy()
        net.params["x"][0].data[...] = np.random.default_rng(1).normal(size=net.blobs["x"].shape)
        return net
    return make


def reference(net, s, pad, group=1):
    """Top and bottom diff of the dense product, in double precision; the top's diff, 2 y, is taken from the net."""
    x = torch.tensor(net.blobs["x"].data, dtype=torch.float64, requires_grad=True)
    weight = torch.tensor(net.params["up"][0].data, dtype=torch.float64)
    y = F.conv_transpose2d(x, weight, stride=s, padding=pad, groups=group)
    (dx,) = torch.autograd.grad(y, x, torch.tensor(net.blobs["y"].diff, dtype=torch.float64))
    return y.detach().numpy(), dx.numpy()


def run(net):
    net.clear_param_diffs()
    net.forward()
    net.backward()


def check(net, s, pad, group=1):
    y, dx = reference(net, s, pad, group)
    for ours, theirs in ((net.blobs["y"].data, y), (net.blobs["x"].diff, dx)):
        assert ours.shape == theirs.shape and np.abs(theirs).max() > 0.1
        assert np.abs(ours - theirs).max() <= 1e-5 * np.abs(theirs).max()


@pytest.mark.parametrize("k, s, pad", [(64, 32, 0), (16, 8, 4), (4, 2, 1), (9, 4, 2), (3, 5, 0)])
@pytest.mark.parametrize("group", [1, 4])
def test_equals_the_dense_product(make, fast_calls, k, s, pad, group):
    net = make(k=k, s=s, pad=pad, group=group, size=6)
    run(net)
    check(net, s, pad, group)
    assert fast_calls


@settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
@given(st.integers(1, 12), st.integers(1, 6), st.integers(1, 5), st.integers(1, 4), st.integers(0, 3),
       st.integers(0, 2**32 - 1))
def test_any_separable_kernel(k, s, size, channels, pad, seed):
    """Also kernels that are not bilinear, longer or shorter than the stride, and not square."""
    if s * (size - 1) + k - 2 * pad < 1:
        return
    draw = torch.Generator().manual_seed(seed)
    u, v = torch.randn(k, generator=draw), torch.randn(k + 1, generator=draw)
    weight = torch.zeros(channels, channels, k, k + 1)
    weight[range(channels), range(channels)] = torch.outer(u, v)
    x = torch.randn(2, channels, size, size + 1, generator=draw)
    found = bilinear.factors(weight, 1)
    assert found is not None
    expected = F.conv_transpose2d(x.double(), weight.double(), stride=(s, s + 1), padding=(pad, 0))
    for limit in (0, 10**6):   # two passes, and one product per channel
        bilinear._SMALL, before = limit, bilinear._SMALL
        try:
            y = bilinear.upsample(x, *found, (s, s + 1), (pad, 0))
        finally:
            bilinear._SMALL = before
        assert y.shape == expected.shape
        assert (y - expected).abs().max() <= 1e-5 * max(1, expected.abs().max())


def test_weights_edited_in_place_are_noticed(make, fast_calls):
    net = make()
    run(net)
    assert fast_calls
    for edit in ((0, 1, 3, 3), (3, 0, 15, 15), (2, 2, 7, 7)):   # off the diagonal twice, one channel's kernel
        weight = net.params["up"][0].data
        before = weight[edit]
        weight[edit] += 0.5
        del fast_calls[:]
        run(net)
        check(net, 8, 0)
        assert not fast_calls
        weight[edit] = before
        run(net)
        check(net, 8, 0)
        assert fast_calls
    net.params["up"][0].data[...] *= 3   # still separable, all channels alike
    run(net)
    check(net, 8, 0)


@pytest.mark.parametrize("change", [
    lambda w: w[0, 0].add_(torch.eye(6)), lambda w: w[1, 1].mul_(2), lambda w: w[0, 1].add_(1e-6),
    lambda w: w[1, 0, 5, 5].add_(1e-6), lambda w: w[1, 0, 2, 2].fill_(float("nan")),
    lambda w: w[0, 0, 0, 0].fill_(float("nan")), lambda w: w.zero_(),
    lambda w: (w[1, 1, 2, 2].zero_(), w[2, 1, 0, 0].fill_(1)),   # as many non-zeros as before
], ids=["not rank 1", "another channel", "off diagonal", "below it", "nan off", "nan on", "zero", "moved"])
def test_other_weights_take_the_general_path(change):
    weight = dense_weight(3, 6)
    assert bilinear.factors(weight, 1) is not None
    change(weight)
    assert bilinear.factors(weight, 1) is None


def test_an_empty_batch():
    u = torch.tensor([0.5, 1, 0.5])
    for k in (u, u.repeat(3)):
        size = 2 * 3 + len(k)
        assert bilinear.upsample(torch.zeros(0, 3, 4, 4), k, k, (2, 2), (0, 0)).shape == (0, 3, size, size)


def test_shapes_that_are_no_upsampling():
    assert bilinear.factors(torch.ones(4, 2, 3, 3), 1) is None    # 4 channels to 2
    assert bilinear.factors(torch.ones(4, 2, 3, 3), 2) is None    # two groups of two
    assert bilinear.factors(torch.ones(1, 1, 3, 3), 1) is not None


def test_learned_weights_get_caffes_dense_gradient(make, fast_calls):
    """lr_mult 1: the weight's diff has numbers off the diagonal too, although the weights are zero there."""
    net = make(lr=1)
    run(net)
    assert not fast_calls
    check(net, 8, 0)
    diff = net.params["up"][0].diff
    assert np.abs(diff[0, 1]).max() > 0
    x = torch.tensor(net.blobs["x"].data, dtype=torch.float64)
    w = torch.tensor(net.params["up"][0].data, dtype=torch.float64, requires_grad=True)
    top_diff = torch.tensor(net.blobs["y"].diff, dtype=torch.float64)
    (dw,) = torch.autograd.grad(F.conv_transpose2d(x, w, stride=8), w, top_diff)
    assert np.abs(diff - dw.numpy()).max() <= 1e-5 * dw.abs().max()


def test_it_is_faster_than_the_dense_product(make, fast_calls, monkeypatch):
    """FCN-32s's last layer at half its size; 5 times faster by itself, 1.5 times asked for on a busy machine."""
    net = make(phase=caffe.TEST, c=21, size=11, k=64, s=32)

    def least():
        times = []
        for _ in range(5):
            start = time.perf_counter()
            net.forward()
            times.append(time.perf_counter() - start)
        return min(times)

    fast = least()
    assert fast_calls
    result = net.blobs["y"].data.copy()
    monkeypatch.setattr(convolution.bilinear, "factors", lambda *a: None)
    dense = least()
    assert np.abs(net.blobs["y"].data - result).max() <= 1e-5 * np.abs(result).max()
    assert fast < dense / 1.5
