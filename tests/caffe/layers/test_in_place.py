"""In-place layers: no new memory where that is safe, the same numbers as out of place, and nobody's data lost."""
import numpy as np
import pytest

import caffe

pytestmark = pytest.mark.unit
BOTH = 'bottom: "b0" top: "b0"'


@pytest.mark.parametrize("slope", [0, 0.2])
def test_relu_overwrites_its_bottom_and_diff(bench, rng, slope):
    x, dy = rng.normal(size=(2, 5)).astype(np.float32), rng.normal(size=(2, 5)).astype(np.float32)
    it = bench(f'type: "ReLU" {BOTH} relu_param {{ negative_slope: {slope} }}', x)
    it.bottom[0].held_by_graph = False
    memory = it.bottom[0].tensor().data_ptr()
    y, = it.forward()
    grad, = it.backward(dy)
    assert it.bottom[0].tensor().data_ptr() == memory
    np.testing.assert_allclose(y, np.where(x > 0, x, slope * x), rtol=1e-6)
    np.testing.assert_allclose(grad, np.where(x > 0, dy, slope * dy), rtol=1e-6)


def test_relu_leaves_alone_what_a_layer_below_still_needs(bench):
    it = bench(f'type: "ReLU" {BOTH}', np.float32([-1, 2]))
    assert it.bottom[0].held_by_graph
    before = it.bottom[0].tensor()
    assert it.forward()[0].tolist() == [0, 2]
    assert before.tolist() == [-1, 2]


@pytest.mark.parametrize("kind", ["ReLU", "Dropout", "TanH", "Power", "Scale", "ELU", "Exp"])
@pytest.mark.parametrize("watched", [False, True])
def test_in_place_equals_out_of_place(bench, rng, kind, watched):
    """Also while somebody holds a view of the data, into which results are then copied."""
    x, dy = rng.normal(size=(3, 4)).astype(np.float32), rng.normal(size=(3, 4)).astype(np.float32)
    extra = "power_param { power: 2 shift: 3 }" if kind == "Power" else ""
    results = []
    for names in (BOTH, 'bottom: "b0" top: "t0"'):
        it = bench(f'type: "{kind}" {names} {extra}', x)
        caffe.set_random_seed(3)
        it.bottom[0].held_by_graph = False
        view = it.bottom[0].data if watched else None
        y, = it.forward()
        if view is not None and names == BOTH:
            np.testing.assert_array_equal(view, y)
        results.append((y, it.backward(dy)[0]))
    for inside, outside in zip(*results, strict=True):
        np.testing.assert_allclose(inside, outside, rtol=1e-6)


def test_clip_in_place_passes_every_diff(bench):
    """Caffe looks at the clipped data, all of which lies within the bounds."""
    x = np.float32([-5, 0, 1, 5])
    for names, want in ((BOTH, [1, 1, 1, 1]), ('top: "t"', [0, 1, 1, 0])):
        it = bench(f'type: "Clip" {names} clip_param {{ min: -1 max: 1 }}', x)
        assert it.forward()[0].tolist() == [-1, 0, 1, 1]
        assert it.backward(np.ones(4))[0].tolist() == want


def test_relu_then_dropout_in_place_in_a_net(tmp_path):
    """The chain of every VGG head: the sign that ReLU reads after Dropout has zeroed some of it."""
    caffe.set_random_seed(1)
    path = tmp_path / "net.prototxt"
    path.write_text("""force_backward: true
      layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 50 dim: 4 } } }
      layer { name: "f" type: "InnerProduct" bottom: "x" top: "f"
              inner_product_param { num_output: 9 weight_filler { type: "xavier" } } }
      layer { name: "r" type: "ReLU" bottom: "f" top: "f" }
      layer { name: "d" type: "Dropout" bottom: "f" top: "f" }
      layer { name: "s" type: "InnerProduct" bottom: "f" top: "s"
              inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }""")
    net = caffe.Net(str(path), caffe.TRAIN)
    rng = np.random.default_rng(0)
    net.blobs["x"].data[...] = rng.normal(size=(50, 4))
    net.forward()
    hidden = net.blobs["f"].data.copy()
    w1, w2 = (net.params[n][0].data for n in "fs")
    before = net.blobs["x"].data @ w1.T
    kept = hidden != 0
    np.testing.assert_allclose(hidden[kept], (2 * before)[kept], rtol=1e-4)
    assert (before[kept] > 0).all() and 0.3 < kept[before > 0].mean() < 0.7
    ds = rng.normal(size=(50, 3)).astype(np.float32)
    net.backward(s=ds)
    np.testing.assert_allclose(net.params["f"][0].diff, ((ds @ w2) * 2 * kept).T @ net.blobs["x"].data, atol=1e-4)


@pytest.mark.parametrize("ratio", [0, 0.3, 0.9])
def test_dropout(bench, ratio):
    x = np.ones((100, 200), np.float32)
    setting = f'type: "Dropout" dropout_param {{ dropout_ratio: {ratio} }}'
    it = bench(setting, x)
    y, = it.forward()
    kept = y != 0
    np.testing.assert_allclose(y[kept], 1 / (1 - ratio), rtol=1e-6)
    assert abs(kept.mean() - (1 - ratio)) <= 5 * (ratio * (1 - ratio) / y.size) ** 0.5
    np.testing.assert_array_equal(it.backward(x)[0], y)
    again, = it.forward()
    assert ratio == 0 or (again != y).any()
    np.testing.assert_array_equal(bench(setting, x, phase=caffe.TEST).forward()[0], x)


def test_a_seed_repeats_the_mask(bench):
    x, masks = np.ones((20, 20)), []
    for _ in range(2):
        it = bench('type: "Dropout"', x)
        caffe.set_random_seed(11)
        masks.append(it.forward()[0])
    np.testing.assert_array_equal(*masks)
