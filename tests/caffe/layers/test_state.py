"""Layers that remember: BatchNorm's statistics, recurrent state, Filter's first shape; and memory that is shared."""
import json

import numpy as np
import pytest

import caffe

pytestmark = pytest.mark.unit
W = 'weight_filler { type: "gaussian" std: 0.5 } bias_filler { type: "gaussian" std: 0.5 }'


def test_batch_norm_gathers_statistics(bench, rng):
    x = rng.normal(2, 3, size=(4, 2, 5)).astype(np.float32)
    it = bench('type: "BatchNorm" batch_norm_param { moving_average_fraction: 0.5 }', x)
    mean, var = x.mean((0, 2)), x.var((0, 2))
    y, = it.forward()
    np.testing.assert_allclose(y, (x - mean[:, None]) / np.sqrt(var + 1e-5)[:, None], atol=1e-5)
    it.forward()
    got = [b.data for b in it.layer.blobs]
    np.testing.assert_allclose(got[0], 1.5 * mean, rtol=1e-5)
    np.testing.assert_allclose(got[1], 1.5 * var * 20 / 19, rtol=1e-5)     # unbiased, m / (m - 1)
    assert got[2].tolist() == [1.5]
    test = bench('type: "BatchNorm"', x, phase=caffe.TEST)
    np.testing.assert_allclose(test.forward()[0], x / np.sqrt(1e-5), rtol=1e-4)    # nothing gathered yet
    for blob, value in zip(test.layer.blobs, got, strict=True):
        blob.data[...] = value
    want = (x - mean[:, None]) / np.sqrt(var * 20 / 19 + 1e-5)[:, None]
    np.testing.assert_allclose(test.forward()[0], want, atol=1e-4)
    assert test.layer.blobs[2].data.tolist() == [1.5], "testing gathers nothing"


@pytest.mark.parametrize("kind", ["LSTM", "RNN"])
def test_recurrent_state_goes_on(bench, rng, kind):
    """Two halves of a sequence one after the other equal the whole at once; cont 0 begins anew."""
    x, cont = rng.normal(size=(4, 2, 3)).astype(np.float32), np.ones((4, 2), np.float32)
    setting = f'type: "{kind}" recurrent_param {{ num_output: 3 {W} }}'
    whole, half = bench(setting, x, cont), bench(setting, x[:2], cont[:2])
    for a, b in zip(whole.layer.blobs, half.layer.blobs, strict=True):
        b.data[...] = a.data
    y, = whole.forward()
    first, = half.forward()
    half.bottom[0].data[...] = x[2:]
    second, = half.forward()
    np.testing.assert_allclose(np.concatenate([first, second]), y, atol=1e-6)
    half.bottom[0].data[...] = x[:2]
    carried, = half.forward()
    assert np.abs(carried - first).max() > 1e-3
    half.bottom[1].data[0] = 0
    np.testing.assert_allclose(half.forward()[0], first, atol=1e-6)
    half.bottom[1].data[0] = 1
    half.layer.reset()
    np.testing.assert_allclose(half.forward()[0], first, atol=1e-6)


def test_recurrent_state_in_a_snapshot(bench, rng):
    x, cont = rng.normal(size=(2, 2, 3)).astype(np.float32), np.ones((2, 2), np.float32)
    it = bench(f'type: "LSTM" recurrent_param {{ num_output: 3 {W} }}', x, cont)
    it.forward()
    saved = json.loads(json.dumps(it.layer.get_state()))
    want, = it.forward()
    it.layer.reset()
    it.layer.set_state(saved)
    np.testing.assert_array_equal(it.forward()[0], want)


@pytest.mark.parametrize("kind, states", [("LSTM", 2), ("RNN", 1)])
def test_recurrent_state_exposed(bench, rng, kind, states):
    x, cont = rng.normal(size=(3, 2, 4)).astype(np.float32), np.ones((3, 2), np.float32)
    hidden = [np.zeros((1, 2, 3), np.float32)] * states
    tops = "".join(f' top: "t{i}"' for i in range(1 + states))
    it = bench(f'type: "{kind}" {tops} recurrent_param {{ num_output: 3 expose_hidden: true {W} }}', x, cont, *hidden)
    y, *last = it.forward()
    again, *_ = it.forward()
    np.testing.assert_array_equal(y, again)                      # the state is the bottoms', not the layer's
    if kind == "LSTM":
        np.testing.assert_array_equal(last[0][0], y[-1])
    for blob, value in zip(it.bottom[2:], last, strict=True):
        blob.data[...] = value
    assert np.abs(it.forward()[0] - y).max() > 1e-3


def test_filter_has_the_full_batch_until_the_first_forward(bench):
    it = bench('type: "Filter"', np.arange(6.0).reshape(3, 2), np.float32([0, 1, 1]))
    assert it.top[0].shape == (3, 2)
    assert it.forward()[0].tolist() == [[2, 3], [4, 5]]
    it.bottom[1].data[...] = 0
    assert it.forward()[0].shape == (0, 2)


def test_reshape_shares_memory_and_dropping_it_does_not_hurt(bench):
    it = bench('type: "Reshape" reshape_param { shape { dim: -1 } }', np.arange(6.0).reshape(2, 3))
    it.forward()
    it.top[0].data[0] = 99
    assert it.bottom[0].data[0, 0] == 99


@pytest.mark.parametrize("setting, shape", [
    ("shape { dim: 0 dim: -1 }", (2, 12)), ("axis: -1 shape { dim: 1 }", (2, 3, 4, 1)),
    ("axis: -2 shape { dim: 2 dim: -1 }", (2, 3, 2, 2)),
    ("axis: 1 num_axes: 0 shape { dim: 1 dim: 1 }", (2, 1, 1, 3, 4)),
    ("axis: 1 num_axes: 1 shape { dim: -1 dim: 1 }", (2, 3, 1, 4)),
    ("axis: 1 shape { dim: 0 dim: 0 dim: 1 }", (2, 3, 4, 1)),
    ("shape { }", None),
])
def test_reshape_axes(bench, setting, shape):
    """Caffe's numbering: a negative axis counts from one past the end, so -1 appends."""
    if shape is None:
        with pytest.raises(caffe.ShapeError):
            bench(f'type: "Reshape" reshape_param {{ {setting} }}', (2, 3, 4))
        return
    assert bench(f'type: "Reshape" reshape_param {{ {setting} }}', (2, 3, 4)).top[0].shape == shape


@pytest.mark.parametrize("setting, shape", [
    ("", (2, 60)), ("axis: 2", (2, 3, 20)), ("axis: -3 end_axis: -2", (2, 12, 5)), ("axis: 0", (120,)),
    ("axis: 1 end_axis: 1", (2, 3, 4, 5)),
])
def test_flatten_axes(bench, setting, shape):
    assert bench(f'type: "Flatten" flatten_param {{ {setting} }}', (2, 3, 4, 5)).top[0].shape == shape


def test_layers_that_copy_do_not_share_memory(bench):
    for setting in ('type: "Crop" crop_param { axis: 0 }', 'type: "Eltwise" eltwise_param { coeff: 1 coeff: 0 }'):
        it = bench(setting, np.ones((2, 3)), np.ones((2, 3)))
        it.forward()
        it.top[0].data[...] = 5
        assert (it.bottom[0].data == 1).all(), setting


def test_parameter_layer_shows_its_parameter(bench):
    it = bench('type: "Parameter" parameter_param { shape { dim: 2 } }')
    it.layer.blobs[0].data[...] = [3, 4]
    assert it.forward()[0].tolist() == [3, 4]
    it.backward(np.float32([1, 2]))
    it.backward(np.float32([1, 2]))
    assert it.layer.blobs[0].diff.tolist() == [2, 4]


def test_backward_before_forward_works_on_what_the_blobs_hold(bench, rng):
    x = rng.normal(size=(2, 3)).astype(np.float32)
    for kind in ("Power", "ReLU", "Sigmoid"):
        extra = "power_param { power: 2 }" if kind == "Power" else ""
        once, other = bench(f'type: "{kind}" {extra}', x), bench(f'type: "{kind}" {extra}', x)
        y, = once.forward()
        want, = once.backward(np.ones((2, 3)))
        other.top[0].data[...] = y
        np.testing.assert_allclose(other.backward(np.ones((2, 3)))[0], want)


def test_no_graph_is_kept_when_nothing_is_learned(bench):
    it = bench(f'type: "InnerProduct" inner_product_param {{ num_output: 2 {W} }}', np.ones((2, 3)), records=False)
    it.forward()
    assert it.layer._record is None
