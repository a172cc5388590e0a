"""Nets changed to train on samples of their loss, or with weights for classes."""

import numpy as np
import pytest
from google.protobuf import text_format

import caffe
from caffe.proto import caffe_pb2
from data.class_weights import write_infogain
from prototxt import build, solver
from prototxt.errors import NetError
from prototxt.files import text
from prototxt.sampling import infogain, sampled, sampled_solver

pytestmark = pytest.mark.unit

LOSS = """
layer {{ name: "data" type: "Input" top: "score" top: "label" input_param {{
  shape {{ dim: 2 dim: 3 dim: 6 dim: 8 }} shape {{ dim: 2 dim: 1 dim: 6 dim: 8 }} }} }}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "score" bottom: "label" top: "loss"
  loss_param {{ ignore_label: 255 {more} }} }}
"""


def read(definition):
    return text_format.Parse(definition, caffe_pb2.NetParameter())


def loss_net(folder, definition):
    path = folder / "net.prototxt"
    path.write_text(definition if isinstance(definition, str) else text(definition))
    return caffe.Net(str(path), caffe.TRAIN)


def loss_and_diff(net):
    draw = np.random.default_rng(0)
    label = draw.integers(0, 3, (2, 1, 6, 8)).astype(np.float32)
    label[0, 0, :2] = 255
    loss = float(net.forward(score=draw.normal(size=(2, 3, 6, 8)), label=label)["loss"])
    net.backward()
    return loss, net.blobs["score"].diff.copy()


@pytest.mark.tiny
@pytest.mark.parametrize("cell", [16, "score_fr"])
def test_every_head_reads_sampled_labels(cell):
    net = sampled(build("siftflow-fcn16s", "train"), 0.25, cell)
    names = [layer.name for layer in net.layer]
    losses = [layer for layer in net.layer if layer.type == "SoftmaxWithLoss"]
    assert len(losses) == 2
    for loss in losses:
        sampler = net.layer[names.index("sample_" + loss.bottom[1].removesuffix("_sampled"))]
        assert names.index(sampler.name) < names.index(loss.name) and sampler.top[0] == loss.bottom[1]
        assert list(sampler.bottom[1:]) == ([] if cell == 16 else ["score_fr"])
        assert "'p': 0.25" in sampler.python_param.param_str


def test_a_sampled_net_trains_on_the_kept_labels_alone(tmp_path):
    """The mean over the kept pixels: that of the plain net with the others void."""
    whole = loss_net(tmp_path, LOSS.format(more=""))
    net = loss_net(tmp_path, sampled(read(LOSS.format(more="")), 0.5, 2, class_p={1: 0.5}))
    loss, _ = loss_and_diff(net)
    kept = net.blobs["label_sampled"].data.copy()
    assert 0 < (kept == 255).mean() < 1
    expected = float(whole.forward(score=net.blobs["score"].data, label=kept)["loss"])
    assert loss == pytest.approx(expected, rel=1e-6)


def test_what_was_given_stays_as_it_was():
    net = build("small-fcn32s", "train")
    before = net.SerializeToString()
    sampled(net, 0.5)
    infogain(net, "H")
    assert net.SerializeToString() == before


@pytest.mark.parametrize(("p", "expected"), [(1, 20), (0.5, 40), (0.3, 67), (0.1, 200)])
def test_iter_size_grows_by_one_over_p(p, expected):
    plan = solver("fcn32s", "thesis", "train.prototxt", "val.prototxt", "snapshot")
    assert sampled_solver(plan, p).iter_size == expected and plan.iter_size == 20


def test_without_a_loss_or_with_a_wrong_p_it_is_an_error():
    with pytest.raises(NetError, match="no such loss"):
        sampled(build("small-fcn32s"), 0.5)
    with pytest.raises(NetError, match="no such loss"):
        infogain(build("small-fcn32s"), "H")
    with pytest.raises(NetError, match="no such probability"):
        sampled_solver(solver("fcn32s", None, "a", "b", "c"), 0)


@pytest.mark.parametrize("more", ["", "normalize: true", "normalize: false", "normalization: FULL"])
def test_infogain_with_weights_of_one_is_the_softmax_loss(tmp_path, more):
    write_infogain(tmp_path / "H", np.ones(3))
    plain = read(LOSS.format(more=more))
    plain.force_backward = True
    loss, diff = loss_and_diff(loss_net(tmp_path, plain))
    loss2, diff2 = loss_and_diff(loss_net(tmp_path, infogain(plain, tmp_path / "H")))
    assert loss2 == pytest.approx(loss, rel=1e-5) and np.abs(diff).max() > 1e-3
    np.testing.assert_allclose(diff2, diff, rtol=1e-4, atol=1e-6)


def test_weights_count_in_the_loss_of_their_class(tmp_path):
    """By hand: the mean over the labelled pixels of weight times -log softmax."""
    weights = np.array([0.5, 2, 4])
    write_infogain(tmp_path / "H", weights)
    net = loss_net(tmp_path, infogain(read(LOSS.format(more="")), tmp_path / "H"))
    loss, _ = loss_and_diff(net)
    score, label = net.blobs["score"].data, net.blobs["label"].data[:, 0].astype(int)
    logs = score - np.log(np.exp(score).sum(1, keepdims=True))
    n, y, x = np.nonzero(label != 255)
    classes = label[n, y, x]
    assert loss == pytest.approx(-(weights[classes] * logs[n, classes, y, x]).mean(), rel=1e-5)
