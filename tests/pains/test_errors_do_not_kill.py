"""Pain 10: one wrong line and `LOG(FATAL)` takes the whole Python session along. Here the session goes on."""
import signal
import sys
import threading
import types

import numpy as np
import pytest
from PIL import Image

import caffe

pytestmark = pytest.mark.unit

GOOD = """
layer { name: "data" type: "Input" top: "data" top: "label"
  input_param { shape { dim: 4 dim: 2 dim: 5 dim: 5 } shape { dim: 4 } } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""
INPUT = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 2 dim: 5 dim: 5 } } }\n'


def layer(type, rest="", bottom='bottom: "x"'):
    return f'{INPUT}layer {{ name: "culprit" type: "{type}" {bottom} top: "y" {rest} }}'


# what is wrong, the net, what the error says
BAD_NETS = {
    "not a prototxt": ("layer { name: ", "net.prototxt"),
    "a caffemodel in its place": ("\0\x0a\x04toy\x12\xff" * 10, "net.prototxt"),
    "unknown field": (layer("ReLU", "relu_parm { }"), "relu_parm"),
    "unknown type": (layer("Convolutoin"), "Convolution"),
    "unknown bottom": (layer("ReLU", bottom='bottom: "xx"'), "xx"),
    "two layers make one top": (layer("ReLU") + layer("ReLU").replace(INPUT, ""), "y"),
    "too few bottoms": (layer("Concat", bottom=""), "culprit"),
    "kernel larger than the image": (
        layer("Convolution", "convolution_param { num_output: 1 kernel_size: 99 stride: 9 }"), "culprit"),
    "no kernel": (layer("Convolution", "convolution_param { num_output: 1 }"), "culprit"),
    "channels that groups do not divide": (
        layer("Convolution", "convolution_param { num_output: 4 kernel_size: 1 group: 3 }"), "group"),
    "terabytes": (layer("InnerProduct", "inner_product_param { num_output: 2000000000 }"), "culprit"),
    "axis out of range": (layer("Softmax", "softmax_param { axis: 9 }"), "axis"),
    "crop outside": (layer("Crop", "crop_param { offset: 4 }", 'bottom: "x" bottom: "x"'), "culprit"),
    "no database": (layer("Data", 'data_param { source: "nowhere" batch_size: 1 backend: LMDB }', ""), "nowhere"),
    "no image list": (layer("ImageData", 'top: "label" image_data_param { source: "nowhere.txt" }', ""), "nowhere.txt"),
    "no HDF5 list": (layer("HDF5Data", 'hdf5_data_param { source: "nowhere.txt" batch_size: 1 }', ""), "nowhere.txt"),
    "no Python module": (layer("Python", 'python_param { module: "no_such_module_here" layer: "L" }'),
                         "no_such_module_here"),
    "unknown filler": (layer("InnerProduct", 'inner_product_param { num_output: 1 weight_filler { type: "gausian" } }'),
                       "gausian"),
    "no mean file": (layer("Data", 'data_param { source: "x" batch_size: 1 backend: LMDB } '
                                   'transform_param { mean_file: "nowhere" mean_value: 1 }', ""), "culprit"),
}


@pytest.fixture
def session(tmp_path, monkeypatch):
    """A good net that is there before and after everything goes wrong; checked at the end."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.prototxt").write_text(GOOD)
    (tmp_path / "solver.prototxt").write_text(
        'net: "good.prototxt" base_lr: 0.1 momentum: 0.9 lr_policy: "fixed" random_seed: 1 snapshot_prefix: "s"')
    net = caffe.Net("good.prototxt", caffe.TRAIN)
    net.blobs["data"].data[...] = np.random.default_rng(0).normal(size=net.blobs["data"].shape)
    before = float(net.forward()["loss"])
    net.backward()
    diff = net.params["ip"][0].diff.copy()
    yield net
    net.clear_param_diffs()
    assert float(net.forward()["loss"]) == before
    net.backward()
    assert (net.params["ip"][0].diff == diff).all()


@pytest.mark.parametrize("what", BAD_NETS)
def test_wrong_nets(session, tmp_path, what):
    text, says = BAD_NETS[what]
    (tmp_path / "net.prototxt").write_bytes(text.encode("latin-1"))
    with pytest.raises(caffe.CaffeError) as e:
        caffe.Net("net.prototxt", caffe.TEST)
    assert says in str(e.value) and "help:" in str(e.value)


def test_wrong_files(session, tmp_path):
    for call in (lambda: caffe.Net("nowhere.prototxt", caffe.TEST),
                 lambda: caffe.Net("good.prototxt", caffe.TEST, weights="nowhere.caffemodel"),
                 lambda: session.copy_from("good.prototxt"), lambda: session.load_hdf5("good.prototxt"),
                 lambda: caffe.get_solver("good.prototxt"), lambda: caffe.SGDSolver("nowhere.prototxt"),
                 lambda: caffe.SGDSolver("solver.prototxt").restore("nowhere.solverstate"),
                 lambda: caffe.io.load_image("good.prototxt")):
        with pytest.raises((caffe.CaffeError, OSError)):
            call()
    session.save("w.caffemodel")
    data = (tmp_path / "w.caffemodel").read_bytes()
    (tmp_path / "cut.caffemodel").write_bytes(data[:len(data) // 2])
    weights = session.params["ip"][0].data.copy()
    with pytest.raises(caffe.WeightsError):
        session.copy_from("cut.caffemodel")
    assert (session.params["ip"][0].data == weights).all()


def test_weights_of_another_shape(session, tmp_path):
    session.save("w.caffemodel")
    (tmp_path / "wide.prototxt").write_text(GOOD.replace("num_output: 3", "num_output: 7"))
    with pytest.raises(caffe.CaffeError, match="ip"):
        caffe.Net("wide.prototxt", caffe.TRAIN).copy_from("w.caffemodel")


@pytest.mark.parametrize("label", [3, -1, 255, 1e9, float("nan")])
def test_a_label_that_is_no_class(session, label):
    """BVLC Caffe reads beyond the scores, or aborts in a debug build."""
    net = caffe.Net("good.prototxt", caffe.TRAIN)
    net.blobs["label"].data[2] = label
    with pytest.raises(caffe.DataError, match="loss") as e:
        net.forward()
    assert "3" in str(e.value) and "help:" in str(e.value)
    net.blobs["label"].data[2] = 0
    net.forward()


def test_arrays_and_shapes(session):
    for call in (lambda: session.blobs["data"].reshape(-1), lambda: session.blobs["data"].reshape(2**40),
                 lambda: session.forward(data=np.zeros((4, 9, 5, 5))), lambda: session.forward(nothing=np.zeros(1)),
                 lambda: session.forward(start="nowhere"), lambda: session.forward(end="nowhere"),
                 lambda: session.backward(loss=np.zeros(7)), lambda: session.forward(["nowhere"]),
                 lambda: caffe.set_device(99)):
        with pytest.raises(caffe.CaffeError):
            call()
    with pytest.raises(KeyError):
        session.blobs["nowhere"]
    other = caffe.Net("good.prototxt", caffe.TRAIN)
    other.blobs["data"].reshape(4, 3, 5, 5)   # more channels than the weights have
    with pytest.raises(caffe.ShapeError, match="ip"):
        other.reshape()
    other.blobs["data"].reshape(4, 2, 5, 5)
    other.reshape()
    other.forward()


# ------------------------------------------------------------------ in the middle of training
class Fragile(caffe.Layer):
    """Hands on its bottom; does `Fragile.act` when its pass `at` comes, forward or backward."""

    step, at, passes = "forward", 0, 0

    @staticmethod
    def act():
        pass

    def count(self, step):
        if step == Fragile.step:
            Fragile.passes += 1
            if Fragile.passes == Fragile.at:
                Fragile.act()

    def setup(self, bottom, top):
        pass

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].data.shape)

    def forward(self, bottom, top):
        self.count("forward")
        top[0].data[...] = bottom[0].data

    def backward(self, top, propagate_down, bottom):
        self.count("backward")
        bottom[0].diff[...] = top[0].diff


@pytest.fixture
def training(session, tmp_path, monkeypatch):
    """training(step, at, act) -> a solver of a net in whose pass `at` that happens."""
    module = types.ModuleType("fragile_layer_of_the_test")
    module.Fragile = Fragile
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for name in ("step", "at", "passes", "act"):
        monkeypatch.setattr(Fragile, name, getattr(Fragile, name))
    first, loss = GOOD.split('layer { name: "loss"')
    (tmp_path / "good2.prototxt").write_text(
        f'{first}layer {{ name: "fragile" type: "Python" bottom: "ip" top: "f" python_param {{ '
        f'module: "{module.__name__}" layer: "Fragile" }} }}\n'
        'layer { name: "loss"' + loss.replace('bottom: "ip"', 'bottom: "f"'))
    (tmp_path / "solver2.prototxt").write_text(
        (tmp_path / "solver.prototxt").read_text().replace("good", "good2") + " iter_size: 2")

    def training(step="forward", at=0, act=lambda: None):
        Fragile.step, Fragile.at, Fragile.act, Fragile.passes = step, at, staticmethod(act), 0
        solver = caffe.get_solver("solver2.prototxt")
        solver.net.blobs["data"].data[...] = session.blobs["data"].data
        return solver
    return training


def fail():
    raise ValueError("the seventh image is missing")


def interrupt():
    signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("step", ["forward", "backward"])
@pytest.mark.parametrize("act, error", [(fail, caffe.PythonLayerError), (interrupt, KeyboardInterrupt)])
def test_a_failure_in_the_middle_of_training(training, step, act, error):
    """The third iteration breaks off in its second half; the same solver then goes on as if nothing had been."""
    unbroken = training()
    unbroken.step(6)
    solver = training(step, at=6, act=act)
    with pytest.raises(error) as e:
        solver.step(6)
    if act is fail:
        text = str(e.value)
        assert "'fragile'" in text and "seventh image" in text and "good2.prototxt" in text and step in text
        assert isinstance(e.value.__cause__, ValueError)
    assert solver.iter == 2
    solver.step(4)
    assert solver.iter == 6
    for ours, theirs in zip(solver.net.params["ip"], unbroken.net.params["ip"], strict=True):
        assert (ours.data == theirs.data).all()


def test_an_unreadable_image_in_the_loading_thread(session, tmp_path):
    """The error of a background thread arrives in `forward`, and no thread is left behind when the net goes."""
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:300])
    (tmp_path / "list.txt").write_text("a.png 0\nb.png 1\n")
    (tmp_path / "net.prototxt").write_text(
        'layer { name: "images" type: "ImageData" top: "x" top: "y" '
        'image_data_param { source: "list.txt" batch_size: 1 } }')
    before = threading.active_count()
    net = caffe.Net("net.prototxt", caffe.TRAIN)
    net.forward()
    with pytest.raises(caffe.DataError, match=r"b\.png"):
        net.forward()
    del net
    for thread in threading.enumerate():
        if thread not in (threading.main_thread(), threading.current_thread()):
            thread.join(5)
    assert threading.active_count() <= before
