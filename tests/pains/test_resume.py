"""Pain 12: a resumed run is another run: data starts over, points are lost, a wrong solver is taken without a word."""
import shutil
import textwrap

import numpy as np
import pytest
from PIL import Image

import caffe
from caffe import cli, glog
from caffe.proto.caffe_pb2 import NetParameter

pytestmark = pytest.mark.unit

NET = """
layer { name: "data" type: "ImageData" top: "x" top: "y" transform_param { scale: 0.01 mirror: true crop_size: 5 }
  image_data_param { source: "list.txt" batch_size: 3 shuffle: true } }
layer { name: "ip1" type: "InnerProduct" bottom: "x" top: "h"
  inner_product_param { num_output: 6 weight_filler { type: "xavier" } } }
layer { name: "drop" type: "Dropout" bottom: "h" top: "h" }
layer { name: "ip2" type: "InnerProduct" bottom: "h" top: "s"
  inner_product_param { num_output: 4 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "s" bottom: "y" top: "loss" }
"""
SOLVER = """net: "net.prototxt" base_lr: 0.05 momentum: {momentum} lr_policy: "multistep" stepvalue: 4 stepvalue: 7
gamma: 0.5 random_seed: {seed} snapshot_prefix: "{prefix}" max_iter: {end} type: "{type}" """


@pytest.fixture
def train(tmp_path, monkeypatch):
    """train(prefix, end, *flags, ...) -> exit status of `caffe train` up to iteration `end`. Ten images in shuffled
    batches of three, mirrored and cropped at random, and Dropout: all the chance that a resumed run must continue."""
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0)
    for i in range(10):
        Image.fromarray(draw.integers(0, 256, (7, 7, 3), np.uint8)).save(tmp_path / f"{i}.png")
    (tmp_path / "list.txt").write_text("".join(f"{i}.png {i % 4}\n" for i in range(10)))
    (tmp_path / "net.prototxt").write_text(textwrap.dedent(NET))
    handlers, levels = list(glog.logger.handlers), (glog.logger.level, glog.solver_logger.level)

    def train(prefix, end, *flags, type="SGD", momentum=0.9, seed=5):
        (tmp_path / "solver.prototxt").write_text(
            SOLVER.format(prefix=prefix, end=end, type=type, momentum=momentum, seed=seed))
        return cli.main(["train", "-solver", "solver.prototxt", "-minloglevel", "1", *flags])

    yield train
    glog.logger.handlers[:] = handlers
    glog.logger.setLevel(levels[0])
    glog.solver_logger.setLevel(levels[1])


def weights(path):
    """All numbers of a caffemodel."""
    with open(path, "rb") as file:
        net = NetParameter.FromString(file.read())
    found = [np.array(blob.data) for layer in net.layer for blob in layer.blobs]
    assert len(found) == 4
    return np.concatenate(found)


def test_four_stops_lose_nothing(train):
    """The same bits after ten iterations in one go and in five; without the saved state of the data they differ."""
    assert train("whole", 10) == 0
    assert train("cut", 2) == 0
    for end in (4, 6, 8, 10):
        assert train("cut", end, "-snapshot", f"cut_iter_{end - 2}.solverstate") == 0
    assert (weights("cut_iter_10.caffemodel") == weights("whole_iter_10.caffemodel")).all()

    # what plain Caffe saves is not enough: the complaint, and the proof that this test would see it
    for ending in ("caffemodel", "solverstate"):
        shutil.copy(f"cut_iter_4.{ending}", f"plain_iter_4.{ending}")
    assert train("plain", 10, "-snapshot", "plain_iter_4.solverstate") == 0
    assert (weights("plain_iter_10.caffemodel") != weights("whole_iter_10.caffemodel")).any()


def test_the_data_go_on_where_they_were(train):
    """Batches of a resumed solver against those of one that went on; the data do not start over."""
    assert train("a", 1) == 0
    going, resumed = caffe.get_solver("solver.prototxt"), caffe.get_solver("solver.prototxt")
    served = []
    for _ in range(4):
        going.step(1)
        served.append(going.net.blobs["x"].data.copy())
    going.snapshot()
    unbroken = []
    for _ in range(5):
        going.step(1)
        unbroken.append(going.net.blobs["x"].data.copy())
    resumed.restore("a_iter_4.solverstate")
    for expected in unbroken:
        resumed.step(1)
        assert (resumed.net.blobs["x"].data == expected).all()
    assert not any((unbroken[0] == batch).all() for batch in served)


@pytest.mark.parametrize("other", ["Nesterov", "Adam", "AdaGrad", "RMSProp", "AdaDelta"])
def test_another_solver_is_refused(train, capsys, other):
    assert train("a", 2) == 0
    momentum = 0 if other in ("AdaGrad", "RMSProp") else 0.9   # these two refuse one
    assert train("a", 4, "-snapshot", "a_iter_2.solverstate", type=other, momentum=momentum) == 1
    said = capsys.readouterr().err
    assert "a_iter_2.solverstate: was written by another solver" in said and "SGD" in said and other in said


def test_weights_are_no_solver_state(train, capsys):
    """BVLC Caffe: "Check failed: state.history_size() == history.size()", or a crash."""
    assert train("a", 2) == 0
    assert train("a", 4, "-snapshot", "a_iter_2.caffemodel") == 1
    said = capsys.readouterr().err
    assert "a_iter_2.caffemodel" in said and "holds no solver state" in said and "help:" in said
    assert "-weights" in said or ".solverstate" in said
    assert train("a", 4, "-weights", "a_iter_2.solverstate") == 1
    assert "a_iter_2.solverstate" in capsys.readouterr().err
    assert train("a", 4, "-weights", "a_iter_2.caffemodel", "-snapshot", "a_iter_2.solverstate") == 1
    assert "exclude each other" in capsys.readouterr().err


def test_seeds_are_honoured(train):
    """One seed, one run, to the bit; another seed, another."""
    for prefix, seed in (("a", 5), ("b", 5), ("c", 6)):
        assert train(prefix, 3, seed=seed) == 0
    assert (weights("a_iter_3.caffemodel") == weights("b_iter_3.caffemodel")).all()
    assert (weights("a_iter_3.caffemodel") != weights("c_iter_3.caffemodel")).any()
