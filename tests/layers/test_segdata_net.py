"""The data layers inside real nets and solvers of the engine."""

from pathlib import Path

import numpy as np
import pytest

import caffe
import layers
from layers.segdata import ILSVRC_MEAN

pytestmark = pytest.mark.unit

NET = """
layer {{ name: "data" type: "Python" top: "data" top: "label"
  python_param {{ module: "{module}" layer: "{layer}" param_str: "{params}" }} }}
layer {{ name: "score" type: "Convolution" bottom: "data" top: "score" convolution_param {{
  num_output: 3 kernel_size: 3 pad: 1 weight_filler {{ type: "gaussian" std: 0.001 }} }} }}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "score" bottom: "label" top: "loss"
  loss_param {{ ignore_label: 255 }} }}
"""
SOLVER = """
train_net: "{net}" base_lr: 1e-4 lr_policy: "fixed" momentum: 0.9 weight_decay: 0.0005 max_iter: 9
iter_size: 2 snapshot_prefix: "{prefix}" random_seed: 3
"""


def write_net(path, params, module="layers.segdata", layer="SegDataLayer"):
    path.write_text(NET.format(module=module, layer=layer, params=str(params)))
    return str(path)


@pytest.mark.tiny
def test_net_sees_the_pictures(six, tmp_path):
    root, pictures = six
    net = caffe.Net(write_net(tmp_path / "n.prototxt", {"data": str(root), "split": "val"}), caffe.TEST)
    for picture in ("v0", "v1", "v0"):
        loss = float(net.forward()["loss"])
        image, label = pictures[picture]
        expected = image[:, :, ::-1].astype(np.float32) - np.array(ILSVRC_MEAN, np.float32)
        np.testing.assert_array_equal(net.blobs["data"].data[0], expected.transpose(2, 0, 1))
        np.testing.assert_array_equal(net.blobs["label"].data[0, 0], label)
        # the loss by its definition: mean of -log softmax over labelled pixels
        score = net.blobs["score"].data[0].astype(np.float64)
        log = score - np.log(np.exp(score).sum(0))
        there = label != 255
        of_truth = np.take_along_axis(log, (label * there)[None], 0)[0]
        assert loss == pytest.approx(-of_truth[there].mean(), rel=1e-4)


def test_net_reshape_does_not_lose_a_picture(six, tmp_path):
    root, pictures = six
    net = caffe.Net(write_net(tmp_path / "n.prototxt", {"data": str(root), "split": "val"}), caffe.TEST)
    net.forward()
    net.reshape()
    net.forward()
    np.testing.assert_array_equal(net.blobs["label"].data[0, 0], pictures["v1"][1])


def test_public_prototxt_runs(six, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(layers.__file__).parent))
    mean = (104.00699, 116.66877, 122.67892)
    params = {"voc_dir": str(six[0]), "seed": 1337, "split": "train", "mean": mean}
    path = write_net(tmp_path / "n.prototxt", params, "voc_layers", "VOCSegDataLayer")
    assert np.isfinite(caffe.Net(path, caffe.TRAIN).forward()["loss"])


def test_error_in_the_background_reaches_forward(six, tmp_path):
    root, _ = six
    net = caffe.Net(write_net(tmp_path / "n.prototxt", {"data": str(root), "split": "val"}), caffe.TEST)
    (root / "SegmentationClass/v1.png").write_bytes(b"<html>")
    net.forward()
    with pytest.raises(caffe.CaffeError, match=r"v1\.png"):
        net.forward()


def test_wrong_key_is_told_with_the_layer(six, tmp_path):
    path = write_net(tmp_path / "n.prototxt", {"data": str(six[0]), "splitt": "val"})
    with pytest.raises(caffe.CaffeError, match="(?s)'data'.*did you mean 'split'"):
        caffe.Net(path, caffe.TRAIN)


def test_resumed_training_is_bit_identical(six, tmp_path):
    """Shuffling, mirroring and jitter go on where the snapshot left them, although a batch was in flight."""
    params = {"data": str(six[0]), "split": "train", "seed": 5, "batch": 2, "mirror": True, "jitter": 3}
    net = write_net(tmp_path / "n.prototxt", params)

    def solver(prefix):
        path = tmp_path / f"{prefix}.prototxt"
        path.write_text(SOLVER.format(net=net, prefix=tmp_path / prefix))
        return caffe.get_solver(str(path))

    unbroken = solver("a")
    unbroken.step(9)
    broken = solver("b")
    broken.step(4)
    broken.snapshot()
    resumed = solver("c")
    resumed.restore(str(tmp_path / "b_iter_4.solverstate"))
    resumed.step(5)
    for one, two in zip(unbroken.net.params["score"], resumed.net.params["score"], strict=True):
        np.testing.assert_array_equal(one.data, two.data)
