"""Pain 14: rare classes are never predicted, and Caffe has no class weights that are easy to come by."""
import numpy as np
import pytest

import caffe
from data import DataError, class_weights, open_dataset, write_indexed_png
from tools import class_weights as tool

pytestmark = pytest.mark.unit

VOID = 255


@pytest.fixture
def labels(tmp_path):
    """labels([array, ...], classes=3): a data set with those label images; as a Dataset."""
    def labels(arrays, classes=3):
        root = tmp_path / "set"
        for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        for i, array in enumerate(arrays):
            write_indexed_png(root / "SegmentationClass" / f"{i}.png", np.array(array, np.uint8))
        ids = "".join(f"{i}\n" for i in range(len(arrays)))
        (root / "ImageSets/Segmentation/train.txt").write_text(ids)
        (root / "classes.txt").write_text("".join(f"class{i}\n" for i in range(classes)))
        return open_dataset(root)
    return labels


def weights_of(dataset, method):
    return class_weights.METHODS[method](class_weights.count(dataset, dataset.ids("train")))


def test_by_hand(labels):
    """Frequencies where present: 6/10, 3/4, 1/6; their median 6/10. By all pixels: 6, 3 and 1 of 10."""
    dataset = labels([[[0, 0, 0], [1, VOID, VOID]], [[0, 0, 0], [1, 1, 2]]])
    counts = class_weights.count(dataset, ["0", "1"])
    assert counts.pixels.tolist() == [6, 3, 1] and counts.around.tolist() == [10, 10, 6]
    assert class_weights.median_frequency(counts) == pytest.approx([.3 / .6, 1, .3 / (1 / 6)])
    assert class_weights.inverse_frequency(counts) == pytest.approx([10 / 18, 10 / 9, 10 / 3])


@pytest.mark.parametrize("method", ["median", "inverse"])
def test_a_class_that_is_not_there(labels, method):
    weights = weights_of(labels([[[0, 0, 3]]], classes=5), method)
    assert weights[[1, 2, 4]].tolist() == [0, 0, 0] and weights[3] == pytest.approx(2 * weights[0])


def test_the_mean_weight_of_a_pixel_is_one(labels):
    label = np.random.default_rng(0).choice(4, (40, 50), p=[.7, .2, .08, .02])
    assert weights_of(labels([label], 4), "inverse")[label].mean() == pytest.approx(1)


@pytest.mark.parametrize("arrays, words", [([[[0, 7]]], "no class"), ([[[VOID, VOID]]], "no labelled pixel")])
def test_wrong_labels(labels, capsys, arrays, words):
    dataset = labels(arrays)
    with pytest.raises(DataError, match=words):
        weights_of(dataset, "median")
    assert tool.main([str(dataset.root)]) == 1 and words in capsys.readouterr().err


LOSSES = {
    "plain": 'type: "SoftmaxWithLoss" loss_param {{ ignore_label: 255 }}',
    "infogain": 'type: "InfogainLoss" infogain_loss_param {{ source: "H.binaryproto" }} '
                'loss_param {{ ignore_label: 255 }}',
    "lines": 'type: "SoftmaxWithLoss" {lines}',
}
NET = """force_backward: true
layer {{ name: "x" type: "Input" top: "x" top: "label"
  input_param {{ shape {{ dim: 1 dim: 1 dim: {h} dim: {w} }} shape {{ dim: 1 dim: 1 dim: {h} dim: {w} }} }} }}
layer {{ name: "score" type: "Convolution" bottom: "x" top: "score"
  convolution_param {{ num_output: {classes} kernel_size: 1 }} }}
layer {{ name: "loss" bottom: "score" bottom: "label" top: "loss" {loss} }}
"""


@pytest.fixture
def train(labels, tmp_path, monkeypatch, capsys):
    """train(loss, label, x, method, steps) -> a net with a linear score per class, after so many steps."""
    monkeypatch.chdir(tmp_path)

    def train(loss, label, x, method="inverse", steps=0):
        classes = int(label[label != VOID].max()) + 1
        dataset = labels([label], classes)
        assert tool.main([str(dataset.root), "--method", method, "--infogain", "H.binaryproto"]) == 0
        text = LOSSES[loss].format(lines=capsys.readouterr().out)
        (tmp_path / "net.prototxt").write_text(NET.format(
            h=label.shape[0], w=label.shape[1], classes=classes, loss=text))
        net = caffe.Net("net.prototxt", caffe.TRAIN)
        net.blobs["x"].data[...], net.blobs["label"].data[...] = x, label
        for _ in range(steps):
            net.clear_param_diffs()
            net.forward()
            net.backward()
            for blob in net.params["score"]:
                blob.data[...] -= 0.5 * blob.diff
        net.forward()
        return net
    return train


def scene(seed=0):
    """Three pixels in a hundred are class 1, whose feature is higher by one standard deviation; some are void."""
    draw = np.random.default_rng(seed)
    label = (draw.random((60, 60)) < 0.03).astype(np.uint8)
    x = label + draw.normal(size=label.shape)
    label[draw.random(label.shape) < 0.1] = VOID
    return label, x


def test_the_rare_class_is_found_with_weights_only(train):
    label, x = scene()
    found = {}
    for loss in LOSSES:
        net = train(loss, label, x, steps=300)
        found[loss] = (net.blobs["score"].data[0].argmax(0) == 1)[label == 1].mean()
    assert found["plain"] == 0          # the complaint
    assert found["infogain"] > 0.5      # 0.69 = P(feature above the middle)
    assert found["lines"] == found["infogain"]


@pytest.mark.parametrize("method", ["median", "inverse"])
@pytest.mark.parametrize("loss", ["infogain", "lines"])
def test_against_numpy(train, method, loss):
    """Loss and gradient: each pixel's softmax loss times the weight of its label, over the number of labelled ones."""
    draw = np.random.default_rng(3)
    label = draw.choice([0, 1, 2, VOID], (7, 9), p=[.6, .2, .1, .1])
    net = train(loss, label, draw.normal(size=label.shape), method)
    for blob in net.params["score"]:
        blob.data[...] = draw.normal(size=blob.shape)
    net.forward()
    net.backward()
    scores = net.blobs["score"].data[0].astype(np.float64).reshape(3, -1)
    prob = np.exp(scores) / np.exp(scores).sum(0)
    flat = label.ravel()
    valid = flat != VOID
    weight = np.zeros(len(flat))
    pixels = np.bincount(flat[valid], minlength=3)
    ours = {"median": np.median(pixels) / pixels, "inverse": pixels.sum() / (3 * pixels)}[method]
    weight[valid] = ours[flat[valid]]
    target = np.eye(3)[:, np.where(valid, flat, 0)]
    expected = -(weight * np.log((prob * target).sum(0))).sum() / valid.sum()
    assert float(net.blobs["loss"].data) == pytest.approx(expected, rel=1e-5)
    gradient = weight * (prob - target) / valid.sum()
    assert net.blobs["score"].diff[0].reshape(3, -1) == pytest.approx(gradient, rel=1e-4, abs=1e-8)


@pytest.mark.parametrize("loss", ["infogain", "lines"])
def test_balanced_classes_pull_equally(train, loss):
    """With inverse frequencies, equal scores are where the biases rest: no class is preferred before training."""
    label, x = scene(1)
    net = train(loss, label, x, "inverse")
    net.backward()
    assert np.abs(net.params["score"][1].diff).max() < 1e-6
