"""Layers against slow definitions in NumPy: windows, normalisation, losses, scores."""
import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import caffe

pytestmark = pytest.mark.unit
quick = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
FLT_MAX = np.finfo(np.float32).max


def naive_size(size, kernel, stride, pad, ceil):
    out = (math.ceil if ceil else math.floor)((size + 2 * pad - kernel) / stride) + 1
    while pad and (out - 1) * stride >= size + pad:
        out -= 1
    return out


def naive_pool(x, kernel, stride, pad, ceil, ave):
    """x (h, w) -> pooled plane and mask, window by window."""
    out = [naive_size(n, kernel, stride, pad, ceil) for n in x.shape]
    y, mask = np.zeros(out), -np.ones(out)
    for i in range(out[0]):
        for j in range(out[1]):
            top, left = i * stride - pad, j * stride - pad
            bottom, right = min(top + kernel, x.shape[0] + pad), min(left + kernel, x.shape[1] + pad)
            area = (bottom - top) * (right - left)
            best, total = -FLT_MAX, 0.0
            for r in range(max(top, 0), min(bottom, x.shape[0])):
                for c in range(max(left, 0), min(right, x.shape[1])):
                    total += x[r, c]
                    if x[r, c] > best:
                        best, mask[i, j] = x[r, c], r * x.shape[1] + c
            y[i, j] = total / area if ave else best
    return y, mask


@given(h=st.integers(1, 7), w=st.integers(1, 7), kernel=st.integers(1, 4), stride=st.integers(1, 4),
       pad=st.integers(0, 3), ceil=st.booleans(), seed=st.integers(0, 99))
@quick
def test_pooling(bench, h, w, kernel, stride, pad, ceil, seed):
    pad = min(pad, kernel - 1)
    if min(naive_size(n, kernel, stride, pad, ceil) for n in (h, w)) < 1:
        return
    if any((naive_size(n, kernel, stride, 0, ceil) - 1) * stride >= n for n in (h, w)) and not pad:
        return                                                    # Caffe's result is undefined: windows of nothing
    x = np.random.default_rng(seed).integers(-3, 3, (1, 2, h, w)).astype(np.float32)     # many ties
    rounding = "" if ceil else "round_mode: FLOOR"
    setting = f"kernel_size: {kernel} stride: {stride} pad: {pad} {rounding}"
    y, mask = bench(f'type: "Pooling" top: "y" top: "m" pooling_param {{ {setting} }}', x).forward()
    mean, = bench(f'type: "Pooling" pooling_param {{ pool: AVE {setting} }}', x).forward()
    for c in range(2):
        want, where = naive_pool(x[0, c], kernel, stride, pad, ceil, ave=False)
        np.testing.assert_array_equal(y[0, c], want)
        np.testing.assert_array_equal(mask[0, c], where)
        np.testing.assert_allclose(mean[0, c], naive_pool(x[0, c], kernel, stride, pad, ceil, ave=True)[0], atol=1e-6)


@pytest.mark.parametrize("pool", ["MAX", "AVE"])
def test_windows_outside_the_plane(bench, pool):
    """Stride beyond kernel without padding: the last window may start outside (Caffe: NaN for AVE, a stray write)."""
    x = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    y, = bench(f'type: "Pooling" pooling_param {{ pool: {pool} kernel_size: 1 stride: 4 }}', x).forward()
    assert y.shape == (1, 1, 2, 2) and y[0, 0, 0, 0] == 0
    assert (y[0, 0, 1] == (-FLT_MAX if pool == "MAX" else 0)).all()


def test_max_pooling_passes_the_gradient_to_the_first_of_equal_elements(bench):
    it = bench('type: "Pooling" pooling_param { global_pooling: true }', np.ones((1, 1, 3, 3)))
    it.forward()
    grad, = it.backward(np.full((1, 1, 1, 1), 2))
    assert grad.ravel().tolist() == [2] + [0] * 8


def test_stochastic_pooling(bench):
    x = np.tile(np.float32([0, 1, 3, 0]).reshape(1, 1, 2, 2), (1, 4000, 1, 1))
    setting = 'type: "Pooling" pooling_param { pool: STOCHASTIC kernel_size: 2 }'
    it = bench(setting, x)
    y, = it.forward()
    assert set(np.unique(y)) == {1, 3}
    assert abs((y == 3).mean() - 0.75) < 5 * (0.75 * 0.25 / 4000) ** 0.5
    grad, = it.backward(np.ones(y.shape))
    assert (grad.sum((2, 3)) == 1).all() and (grad[x == 0] == 0).all()
    assert ((grad * x).sum((2, 3)) == y[..., 0, 0]).all()                  # to the drawn element
    expected, = bench(setting, x, phase=caffe.TEST).forward()
    assert (expected == (1 + 9) / 4).all()


@given(size=st.integers(1, 6), kernel=st.integers(1, 3), stride=st.integers(1, 3), pad=st.integers(0, 2),
       dilation=st.integers(1, 2), group=st.integers(1, 2), seed=st.integers(0, 99))
@quick
def test_convolution(bench, size, kernel, stride, pad, dilation, group, seed):
    extent = dilation * (kernel - 1) + 1
    out = int((size + 2 * pad - extent) / stride) + 1
    if out < 1:
        return
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(2, 2, size, size)).astype(np.float32)
    it = bench(f'type: "Convolution" convolution_param {{ num_output: 4 kernel_size: {kernel} stride: {stride} '
               f'pad: {pad} dilation: {dilation} group: {group} weight_filler {{ type: "gaussian" }} }}', x)
    weight = it.layer.blobs[0].data
    it.layer.blobs[1].data[...] = range(4)
    padded = np.zeros((2, 2, size + 2 * pad + extent, size + 2 * pad + extent))
    padded[:, :, pad:pad + size, pad:pad + size] = x
    want = np.zeros((2, 4, out, out))
    for o in range(4):
        for c in range(2 // group):
            source = c + (o // (4 // group)) * (2 // group)
            for i in range(out):
                for j in range(out):
                    patch = padded[:, source, i * stride:i * stride + extent:dilation,
                                   j * stride:j * stride + extent:dilation]
                    want[:, o, i, j] += (patch * weight[o, c]).sum((1, 2))
        want[:, o] += o
    np.testing.assert_allclose(it.forward()[0], want, atol=1e-5)


@pytest.mark.parametrize("setting, size", [
    ("kernel_size: 4 stride: 2 pad: 1", (6, 8)), ("kernel_size: 3 dilation: 2 group: 2", (7, 7)),
    ("kernel_h: 5 kernel_w: 2 stride_h: 3 stride_w: 1 pad_h: 2 pad_w: 0", (10, 6)),
])
def test_deconvolution_is_the_transpose_of_convolution(bench, rng, setting, size):
    """<conv(x), y> = <x, deconv(y)> when both have the same weights, on sizes that divide evenly."""
    x = rng.normal(size=(2, 4, *size)).astype(np.float32)
    plain = "bias_term: false weight_filler { type: \"gaussian\" }"
    conv = bench(f'type: "Convolution" convolution_param {{ num_output: 6 {setting} {plain} }}', x)
    z, = conv.forward()
    y = rng.normal(size=z.shape).astype(np.float32)
    deconv = bench(f'type: "Deconvolution" convolution_param {{ num_output: 4 {setting} {plain} }}', y)
    assert deconv.layer.blobs[0].shape == conv.layer.blobs[0].shape
    deconv.layer.blobs[0].data[...] = conv.layer.blobs[0].data
    back, = deconv.forward()
    assert back.shape == x.shape
    assert float((z * y).sum()) == pytest.approx(float((x * back).sum()), rel=1e-4)


def test_lrn(bench, rng):
    x = rng.normal(size=(2, 7, 3, 4)).astype(np.float32)
    n, alpha, beta, k = 5, 1.5, 0.6, 2.0
    s = np.full(x.shape, k)
    for c in range(7):
        s[:, c] += alpha / n * (x[:, max(0, c - 2):c + 3] ** 2).sum(1)
    param = f"local_size: {n} alpha: {alpha} beta: {beta} k: {k}"
    np.testing.assert_allclose(bench(f'type: "LRN" lrn_param {{ {param} }}', x).forward()[0], x / s ** beta, rtol=1e-4)

    s = np.ones(x.shape)                                                # k plays no part within channels
    for i in range(3):
        for j in range(4):
            window = x[:, :, max(0, i - 2):i + 3, max(0, j - 2):j + 3]
            s[:, :, i, j] += alpha / n**2 * (window ** 2).sum((2, 3))
    within = bench(f'type: "LRN" lrn_param {{ {param} norm_region: WITHIN_CHANNEL }}', x)
    np.testing.assert_allclose(within.forward()[0], x / s ** beta, rtol=1e-4)


@pytest.mark.parametrize("axis", [1, -1])
@pytest.mark.parametrize("mode", ["FULL", "VALID", "BATCH_SIZE", "NONE"])
@pytest.mark.parametrize("ignore", [None, 2])
def test_softmax_loss(bench, rng, axis, mode, ignore):
    x = rng.normal(size=(3, 4, 5, 4)).astype(np.float32) * 3
    shape = (3, 5, 4) if axis == 1 else (3, 4, 5)
    label = rng.integers(0, 4, shape)
    p = np.exp(x) / np.exp(x).sum(axis, keepdims=True)
    rows, labels = np.moveaxis(p, axis, -1).reshape(-1, 4), label.ravel()
    valid = labels != ignore if ignore is not None else np.ones(labels.size, bool)
    by = {"FULL": labels.size, "VALID": valid.sum(), "BATCH_SIZE": 3 if axis == 1 else 60, "NONE": 1}[mode]
    want = -np.log(rows[np.arange(labels.size), labels])[valid].sum() / by
    extra = "" if ignore is None else f"ignore_label: {ignore}"
    it = bench(f'type: "SoftmaxWithLoss" top: "loss" top: "p" softmax_param {{ axis: {axis} }} '
               f'loss_param {{ normalization: {mode} {extra} }}', x, label)
    loss, prob = it.forward()
    assert loss.shape == () and float(loss) == pytest.approx(want, rel=1e-5)
    np.testing.assert_allclose(prob, p, atol=1e-6)
    grad = it.backward(0.5, np.zeros(p.shape), down=[True, False])[0]
    onehot = np.moveaxis(np.eye(4)[label], -1, axis)
    mask = np.expand_dims(valid.reshape(shape), axis)
    np.testing.assert_allclose(grad, 0.5 * (p - onehot) * mask / by, atol=1e-6)


def test_softmax_loss_is_bounded_where_the_probability_vanishes(bench):
    it = bench('type: "SoftmaxWithLoss"', np.float32([[0, 2000]]), np.float32([0]))
    assert float(it.forward()[0]) == pytest.approx(-math.log(np.finfo(np.float32).tiny), rel=1e-6)


def test_losses_without_a_single_label_are_zero(bench):
    for kind in ("SoftmaxWithLoss", "SigmoidCrossEntropyLoss"):
        label = np.full((2,) if kind == "SoftmaxWithLoss" else (2, 3), 255)
        it = bench(f'type: "{kind}" loss_param {{ ignore_label: 255 normalization: VALID }}', np.ones((2, 3)), label)
        assert it.forward()[0] == 0
        assert not it.backward(1, down=[True, False])[0].any()


@given(seed=st.integers(0, 999), top_k=st.integers(1, 3), ignore=st.sampled_from([None, 0, 3]))
@quick
def test_accuracy(bench, seed, top_k, ignore):
    rng = np.random.default_rng(seed)
    x, label = rng.integers(0, 4, (2, 4, 3)).astype(np.float32), rng.integers(0, 4, (2, 3))
    hits, counts = np.zeros(4), np.zeros(4)
    for n, i in np.ndindex(2, 3):
        if label[n, i] != ignore:
            counts[label[n, i]] += 1
            hits[label[n, i]] += (x[n, :, i] >= x[n, label[n, i], i]).sum() <= top_k
    extra = "" if ignore is None else f"ignore_label: {ignore}"
    acc, per_class = bench(f'type: "Accuracy" top: "a" top: "c" accuracy_param {{ top_k: {top_k} {extra} }}',
                           x, label).forward()
    assert float(acc) == pytest.approx(hits.sum() / max(1, counts.sum()))
    np.testing.assert_allclose(per_class, hits / np.maximum(counts, 1), rtol=1e-6)


@given(seed=st.integers(0, 999), k=st.integers(1, 4), axis=st.sampled_from([None, 0, 1, -1]))
@quick
def test_argmax(bench, seed, k, axis):
    x = np.random.default_rng(seed).integers(0, 4, (4, 5, 4)).astype(np.float32)
    rows = x.reshape(4, -1) if axis is None else np.moveaxis(x, axis, -1)
    best = np.lexsort((np.arange(rows.shape[-1]) + 0 * rows, rows), axis=-1)[..., ::-1][..., :k]
    setting = f"top_k: {k}" + ("" if axis is None else f" axis: {axis}")
    index, = bench(f'type: "ArgMax" argmax_param {{ {setting} }}', x).forward()
    values, = bench(f'type: "ArgMax" argmax_param {{ {setting} out_max_val: true }}', x).forward()
    picked = np.take_along_axis(rows, best, -1)
    if axis is None:
        assert index.shape == (4, 1, k) and values.shape == (4, 2, k)
        np.testing.assert_array_equal(index[:, 0], best)
        np.testing.assert_array_equal(values, np.stack([best, picked], 1))
    else:
        np.testing.assert_array_equal(index, np.moveaxis(best, -1, axis))
        np.testing.assert_array_equal(values, np.moveaxis(picked, -1, axis))


@given(sizes=st.lists(st.integers(1, 4), min_size=2, max_size=4), axis=st.integers(-3, 2))
@quick
def test_slice_undoes_concat(bench, sizes, axis):
    rng = np.random.default_rng(0)
    shape = [2, 3, 4]
    parts = []
    for n in sizes:
        shape[axis] = n
        parts.append(rng.normal(size=shape).astype(np.float32))
    whole, = bench(f'type: "Concat" concat_param {{ axis: {axis} }}', *parts).forward()
    points = " ".join(f"slice_point: {p}" for p in np.cumsum(sizes)[:-1])
    tops = " ".join(f'top: "t{i}"' for i in range(len(sizes)))
    again = bench(f'type: "Slice" {tops} slice_param {{ axis: {axis} {points} }}', whole).forward()
    for part, back in zip(parts, again, strict=True):
        np.testing.assert_array_equal(part, back)


def test_eltwise_max_ties_go_to_the_second_of_the_first_two(bench):
    a = np.float32([1, 1, 1, 0])
    b = np.float32([1, 0, 1, 0])
    c = np.float32([1, 1, 2, 0])
    it = bench('type: "Eltwise" eltwise_param { operation: MAX }', a, b, c)
    assert it.forward()[0].tolist() == [1, 1, 2, 0]
    assert [g.tolist() for g in it.backward(np.ones(4))] == [[0, 1, 0, 0], [1, 0, 0, 1], [0, 0, 1, 0]]


def test_split_sums_only_the_diffs_that_somebody_wrote(bench):
    it = bench('type: "Split" top: "a" top: "b" top: "c"', np.ones((2, 2)))
    it.forward()
    for top in it.top[1:]:
        top.put_diff(top.tensor() * 3)
    it.layer.backward(it.top, [True], it.bottom)
    assert (it.bottom[0].diff == 6).all() and it.top[0].diff_is_zero()
    it.top[1].diff[...] = 0
    assert (it.bottom[0].diff == 6).all(), "the sum is memory of its own"


def test_im2col_times_weights_is_the_convolution(bench, rng):
    x = rng.normal(size=(2, 3, 6, 5)).astype(np.float32)
    setting = "kernel_size: 3 stride: 2 pad: 1 dilation: 1"
    conv = bench(f'type: "Convolution" convolution_param {{ num_output: 4 {setting} bias_term: false '
                 'weight_filler { type: "gaussian" } }', x)
    columns, = bench(f'type: "Im2col" convolution_param {{ {setting} }}', x).forward()
    want = np.einsum("ok,nkhw->nohw", conv.layer.blobs[0].data.reshape(4, -1), columns)
    np.testing.assert_allclose(conv.forward()[0], want, atol=1e-5)


def test_spp_level_zero_is_global_pooling(bench, rng):
    x = rng.normal(size=(2, 3, 5, 6)).astype(np.float32)
    y, = bench('type: "SPP" spp_param { pyramid_height: 2 }', x).forward()
    np.testing.assert_array_equal(y[:, :3], x.max((2, 3)))
    assert y.shape == (2, 3 + 12)
