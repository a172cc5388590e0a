"""Net: pycaffe's API as programs use it, and the errors that a wrong net or call gets."""
import numpy as np
import pytest

import caffe
from caffe import layers as L

pytestmark = pytest.mark.unit

NET = """name: "two"
force_backward: true
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 4 dim: 3 dim: 5 dim: 5 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 2 kernel_size: 3 weight_filler { type: "xavier" } bias_filler { value: 1 } } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "ip" type: "InnerProduct" bottom: "conv" top: "ip"
  inner_product_param { num_output: 6 weight_filler { type: "xavier" } } }
"""

TRAIN = NET.replace("force_backward: true", "") + """
layer { name: "label" type: "Input" top: "label" input_param { shape { dim: 4 } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""


@pytest.fixture
def write(tmp_path):
    def write(text, name="net.prototxt"):
        path = tmp_path / name
        path.write_text(text)
        return str(path)
    return write


@pytest.fixture
def net(write):
    caffe.set_random_seed(3)
    return caffe.Net(write(NET), caffe.TEST)


@pytest.fixture
def image():
    return np.random.default_rng(0).normal(size=(4, 3, 5, 5)).astype(np.float32)


@pytest.mark.tiny
def test_what_a_net_says_of_itself(net):
    assert (net.name, net.inputs, net.outputs) == ("two", ["data"], ["ip"])
    assert list(net.blobs) == ["data", "conv", "ip"] and list(net.params) == ["conv", "ip"]
    assert list(net._layer_names) == ["data", "conv", "relu", "ip"] and net.layer_dict["relu"].type == "ReLU"
    assert net.top_names["relu"] == net.bottom_names["relu"] == ["conv"]
    assert [b.shape for b in net.params["conv"]] == [(2, 3, 3, 3), (2,)]
    assert net.params["conv"][1].data.tolist() == [1, 1]
    assert [net._blob_names[i] for i in net._outputs] == ["ip"]


@pytest.mark.tiny
def test_forward_and_backward_against_numpy(net, image):
    out = net.forward(blobs=["conv"], data=image)
    assert set(out) == {"ip", "conv"}
    w, b = (p.data for p in net.params["conv"])
    windows = np.lib.stride_tricks.sliding_window_view(image, (3, 3), axis=(2, 3))
    conv = np.maximum(np.einsum("nchwij,ocij->nohw", windows, w) + b[:, None, None], 0)
    np.testing.assert_allclose(out["conv"], conv, rtol=1e-4, atol=1e-5)
    v = net.params["ip"][0].data
    np.testing.assert_allclose(out["ip"], conv.reshape(4, -1) @ v.T, rtol=1e-4, atol=1e-5)

    diff = np.ones((4, 6), np.float32)
    grads = net.backward(diffs=["conv"], ip=diff)
    np.testing.assert_allclose(net.params["ip"][0].diff, diff.T @ conv.reshape(4, -1), rtol=1e-4, atol=1e-4)
    dconv = (diff @ v).reshape(conv.shape) * (conv > 0)
    np.testing.assert_allclose(net.params["conv"][0].diff, np.einsum("nchwij,nohw->ocij", windows, dconv),
                               rtol=1e-4, atol=1e-4)
    assert set(grads) == {"data", "conv"} and grads["data"].any()


def test_start_and_end(net, image):
    whole = net.forward(data=image)["ip"].copy()
    net.blobs["conv"].data[...] *= 2
    assert set(net.forward(start="relu", end="relu")) == {"conv"}
    doubled = net.forward(start="ip")["ip"]
    np.testing.assert_allclose(doubled, 2 * whole, rtol=1e-4, atol=1e-5)
    net.blobs["ip"].diff[...] = 1
    assert set(net.backward(end="ip")) == {"conv"}


def test_an_array_that_is_kept_follows_the_net(net, image):
    kept = net.forward(data=image)["ip"]
    before = kept.copy()
    net.forward(data=2 * image)
    assert not np.allclose(kept, before)


def test_forward_all_pads_the_last_batch(net, image):
    six = np.concatenate([image, image[:2]])
    out = net.forward_all(blobs=["conv"], data=six)
    assert out["ip"].shape == (6, 6) and out["conv"].shape == (6, 2, 3, 3)
    np.testing.assert_allclose(out["ip"][4:], out["ip"][:2], rtol=1e-5, atol=1e-6)
    outs, diffs = net.forward_backward_all(data=six, ip=np.ones((6, 6), np.float32))
    assert outs["ip"].shape == (6, 6) and diffs["data"].shape == (6, 3, 5, 5)


def test_reshape_follows_the_input(net):
    net.blobs["data"].reshape(2, 3, 5, 5)
    net.reshape()
    assert net.blobs["ip"].shape == (2, 6)
    with pytest.raises(caffe.ShapeError, match="net.prototxt:7: layer 'ip'"):
        net.blobs["data"].reshape(2, 3, 9, 9)
        net.reshape()


def test_save_and_load(net, write, tmp_path, image):
    expected = net.forward(data=image)["ip"].copy()
    for save, name in ((net.save, "w.caffemodel"), (net.save_hdf5, "w.caffemodel.h5")):
        save(str(tmp_path / name))
        for other in (caffe.Net(write(NET), str(tmp_path / name), caffe.TEST),             # pycaffe's older way
                      caffe.Net(write(NET), caffe.TEST, weights=str(tmp_path / name))):
            np.testing.assert_array_equal(other.forward(data=image)["ip"], expected)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.prototxt", "w.caffemodel", "w.caffemodel.h5"]


def test_share_with(net, write):
    other = caffe.Net(write(NET), caffe.TEST)
    other.share_with(net)
    net.params["ip"][0].data[...] = 5
    assert (other.params["ip"][0].data == 5).all()


def test_hooks_are_called_around_each_layer(net, image):
    seen = []
    net.before_forward(lambda i: seen.append(("before", i)))
    net.after_forward(lambda i: seen.append(("after", i)))
    net.before_backward(lambda i: seen.append(("down", i)))
    net.after_backward(lambda i: seen.append(("back", i)))
    net.forward(data=image)
    net.backward()
    last = len(net.layers) - 1
    assert seen[:3] == [("before", 0), ("after", 0), ("before", 1)]
    assert seen[2 * last + 2:] == [(when, i) for i in range(last, -1, -1) for when in ("down", "back")]


def test_weights_in_a_prototxt_take_the_place_of_fillers(write):
    given = """layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 2 } } }
        layer { name: "ip" type: "InnerProduct" bottom: "x" top: "y" param { name: "w" }
                inner_product_param { num_output: 1 bias_term: false }
                blobs { shape { dim: 1 dim: 2 } data: 3 data: 4 } }"""
    assert caffe.Net(write(given), caffe.TEST).forward(x=np.array([[1, 10]]))["y"] == 43
    with pytest.raises(caffe.WeightsError, match="parameter 0 has another shape") as problem:
        caffe.Net(write(given.replace("dim: 1 dim: 2 } data: 3", "dim: 1 } ")), caffe.TEST)
    assert problem.value.layer == "ip" and problem.value.file.endswith(":2")


def test_phase_level_and_stage(write):
    n = caffe.NetSpec()
    n.data = L.Input(shape=dict(dim=[1, 1]))
    n.a = L.Power(n.data, include=dict(phase=caffe.TEST))
    n.b = L.Power(n.data, include=dict(min_level=2))
    n.c = L.Power(n.data, include=dict(stage="deploy"))
    n.d = L.Power(n.data, exclude=dict(stage="deploy"))
    path = write(str(n.to_proto()))

    def names(*args, **kwargs):
        return [k for k in caffe.Net(path, *args, **kwargs).top_names if len(k) == 1]

    assert names(caffe.TEST) == ["a", "d"]
    assert names(caffe.TRAIN, level=3) == ["b", "d"]
    assert names(caffe.TRAIN, stages=["deploy", "x"]) == ["c"]
    assert names(caffe.TRAIN, 2, ["deploy"]) == ["b", "c"]


def trained(write, image, release):
    caffe.set_random_seed(3)
    net = caffe.Net(write(TRAIN, "train.prototxt"), caffe.TRAIN)
    net.release_blobs = release
    net.blobs["data"].data[...] = image
    net.blobs["label"].data[...] = [0, 1, 2, 3]
    for _ in range(2):
        net.clear_param_diffs()
        net.forward_loss()
        net.backward_loss()
    return net


def test_released_blobs_change_no_gradient(write, image):
    kept, released = trained(write, image, False), trained(write, image, True)
    for name in kept.params:
        for a, b in zip(kept.params[name], released.params[name], strict=True):
            assert a.diff.any()
            np.testing.assert_array_equal(a.diff, b.diff)
    assert kept.blobs["conv"].diff.any()
    with pytest.raises(caffe.CaffeError, match="release_blobs = False"):
        _ = released.blobs["conv"].diff
    assert float(released.blobs["loss"].data) == float(kept.blobs["loss"].data)


@pytest.mark.parametrize(("change", "error", "words"), [
    (('bottom: "conv" top: "ip"', 'bottom: "cnov" top: "ip"'), caffe.NetError, ["'cnov'", "'ip'"]),
    (('type: "ReLU"', 'type: "Relu"'), caffe.LayerError, ["net.prototxt:6", "'Relu'", "ReLU", "caffe.register"]),
    (("num_output: 2", "num_outputs: 2"), caffe.ParseError, ["net.prototxt:5", "num_outputs", "num_output"]),
    (('top: "conv" }', 'top: "data" }'), caffe.NetError, ["'data'", "more than one layer"]),
    (('type: "xavier" } bias', 'type: "xavir" } bias'), caffe.LayerError, ["net.prototxt:4", "'xavir'", "xavier"]),
    (("kernel_size: 3", "kernel_size: 30"), caffe.ShapeError, ["net.prototxt:4: layer 'conv'"]),
    (("dim: 4 dim: 3 dim: 5 dim: 5", "dim: 99999 dim: 99999 dim: 5 dim: 5"), caffe.ShapeError,
     ["net.prototxt:3", "99999"]),
])
def test_a_wrong_net_is_told_where(write, change, error, words):
    assert change[0] in NET
    with pytest.raises(error) as caught:
        caffe.Net(write(NET.replace(*change)), caffe.TEST)
    text = "\n".join([str(caught.value), *getattr(caught.value, "__notes__", [])])
    for word in words:
        assert word in text
    assert "help: " in text


def test_wrong_calls_say_what_was_expected(net, image, write):
    for call, words in (
        (lambda: net.forward(dta=image), "expected ['data']"),
        (lambda: net.forward(end="rleu"), "perhaps relu"),
        (lambda: net.forward(blobs=["cnov"]), "perhaps conv"),
        (lambda: net.forward(data=image[:2]), "not batch sized"),
        (lambda: net.forward(data=image[:, :, :2]), "expected (4, 3, 5, 5)"),
        (lambda: net.set_input_arrays(image, np.zeros(4)), "MemoryData"),
        (lambda: caffe.Net(write(NET)), "caffe.TEST"),
    ):
        with pytest.raises(caffe.CaffeError) as caught:
            call()
        assert words in str(caught.value) and "help: " in str(caught.value)


def test_weights_of_another_net(net, write, tmp_path):
    path = str(tmp_path / "w.caffemodel")
    net.save(path)
    for change in (("num_output: 6", "num_output: 7"), ("num_output: 6", "num_output: 6 bias_term: false")):
        other = caffe.Net(write(NET.replace(*change), "other.prototxt"), caffe.TEST)
        with pytest.raises(caffe.WeightsError, match="layer 'ip'"):
            other.copy_from(path)


@pytest.mark.parametrize(("content", "words"), [
    (b"<!DOCTYPE html><html>404</html>", "web page"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "git lfs"),
    (NET.encode(), "prototxt"),
    (None, "cut short"),
])
def test_files_that_are_no_weights(net, tmp_path, content, words):
    path = tmp_path / "w.caffemodel"
    if content is None:
        net.save(str(path))
        path.write_bytes(path.read_bytes()[:-50])
    else:
        path.write_bytes(content)
    with pytest.raises(caffe.WeightsError) as caught:
        net.copy_from(str(path))
    assert words in str(caught.value) and str(path) in str(caught.value)


