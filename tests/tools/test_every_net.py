"""Every net on a published classifier, narrow and on small images: filled by surgery along its stages, then forward and
backward."""

import numpy as np
import pytest
from google.protobuf import text_format

import caffe
from prototxt import NETS, build, recipe_of
from prototxt.googlenet import INCEPTIONS
from surgery.checks import ZERO_INIT
from tools.stages import initialise

pytestmark = pytest.mark.unit

WIDTHS, FC = (4, 4, 8, 8, 8), 16
NARROW = {"vgg16": dict(widths=WIDTHS, fc_width=FC), "alexnet": dict(fc_width=FC), "googlenet": {}}
ON_A_CLASSIFIER = [name for name, entry in NETS.items() if entry.family in NARROW]


def shapes_of_vgg():
    """Layer -> shapes of VGG-16's weights and biases as its caffemodel has them: fc6 and fc7 are fully connected."""
    shapes, below = {}, 3
    for block, (width, depth) in enumerate(zip(WIDTHS, (2, 2, 3, 3, 3), strict=True), start=1):
        for index in range(1, depth + 1):
            shapes[f"conv{block}_{index}"] = [(width, below, 3, 3), (width,)]
            below = width
    return {**shapes, "fc6": [(FC, below * 49), (FC,)], "fc7": [(FC, FC), (FC,)], "fc8": [(1000, FC), (1000,)]}


def shapes_of_caffenet():
    """Likewise of CaffeNet, with groups in conv2, conv4 and conv5."""
    weights = {"conv1": (96, 3, 11, 11), "conv2": (256, 48, 5, 5), "conv3": (384, 256, 3, 3), "conv4": (384, 192, 3, 3),
               "conv5": (256, 192, 3, 3), "fc6": (FC, 256 * 36), "fc7": (FC, FC), "fc8": (1000, FC)}
    return {name: [shape, shape[:1]] for name, shape in weights.items()}


def shapes_of_googlenet():
    """The 57 convolutions of the main branch, a layer of an auxiliary branch, and the classifier on top."""
    shapes = {"loss1/conv": [(128, 512, 1, 1), (128,)], "loss3/classifier": [(1000, 1024), (1000,)]}
    channels = {"conv1/7x7_s2": (3, 64, 7), "conv2/3x3_reduce": (64, 64, 1), "conv2/3x3": (64, 192, 3)}
    below = 192
    for name, (direct, reduce3, conv3, reduce5, conv5, projection) in INCEPTIONS.items():
        channels |= {f"inception_{name}/{part}": numbers for part, numbers in {
            "1x1": (below, direct, 1), "3x3_reduce": (below, reduce3, 1), "3x3": (reduce3, conv3, 3),
            "5x5_reduce": (below, reduce5, 1), "5x5": (reduce5, conv5, 5), "pool_proj": (below, projection, 1)}.items()}
        below = direct + conv3 + conv5 + projection
    return shapes | {name: [(out, into, k, k), (out,)] for name, (into, out, k) in channels.items()}


SHAPES = {"vgg16": shapes_of_vgg, "alexnet": shapes_of_caffenet, "googlenet": shapes_of_googlenet}


@pytest.fixture(scope="module")
def classifiers(tmp_path_factory):
    """Family -> a caffemodel with random weights."""
    folder, draw = tmp_path_factory.mktemp("models"), np.random.default_rng(0)
    for family, shapes_of in SHAPES.items():
        model = caffe.proto.caffe_pb2.NetParameter()
        for name, shapes in shapes_of().items():
            layer = model.layer.add(name=name, type="InnerProduct")
            for shape in shapes:
                blob = layer.blobs.add()
                blob.shape.dim.extend(shape)
                blob.data.extend(draw.normal(0, 0.1, int(np.prod(shape))).tolist())
        (folder / family).write_bytes(model.SerializeToString())
    return {family: folder / family for family in SHAPES}


def made(name, folder):
    """The narrow net with Input layers in place of its data layer."""
    proto = build(name, "deploy", shape=(1, 3, 40, 52), **NARROW[recipe_of(name).family])
    for head in recipe_of(name).heads:
        label = proto.layer.add(name=head.label, type="Input", top=[head.label])
        label.input_param.shape.add().dim.extend([1, 1, 40, 52])
        loss = proto.layer.add(name=f"loss{head.suffix}", type="SoftmaxWithLoss", top=[f"loss{head.suffix}"])
        loss.bottom.extend([f"score{head.suffix}", head.label])
    path = folder / f"{name}.prototxt"
    path.write_text(text_format.MessageToString(proto))
    return caffe.Net(str(path), caffe.TRAIN)


@pytest.mark.parametrize("name", ON_A_CLASSIFIER)
def test_filled_from_its_classifier_and_run(name, classifiers, tmp_path, capsys):
    saved = {None: classifiers[recipe_of(name).family]}
    for stage in recipe_of(name).stages:
        net = made(stage, tmp_path)
        initialise(net, stage, [(saved[start.net], start.suffix) for start in recipe_of(stage).starts])
        saved[stage] = tmp_path / f"{stage}.caffemodel"
        net.save(str(saved[stage]))
    assert "warning" not in capsys.readouterr().out   # nothing else is left at its filler
    zero = {layer for layer, blobs in net.params.items() if not blobs[0].data.any()}
    scores = {layer for layer in net.params if layer.startswith("score_")}
    assert zero == scores and ZERO_INIT == ("score*",)
    draw = np.random.default_rng(1)
    for blob in net.inputs:
        labels = [head.classes for head in recipe_of(name).heads if head.label == blob]
        values = draw.integers(0, labels[0], net.blobs[blob].shape) if labels else draw.normal(
            0, 60, net.blobs[blob].shape)
        net.blobs[blob].data[...] = values
    for layer in scores:   # at 0 the first step reaches the scores alone
        net.params[layer][0].data[...] = draw.normal(0, 0.1, net.params[layer][0].shape)
    net.forward()
    net.backward()
    for head in recipe_of(name).heads:
        assert net.blobs[f"score{head.suffix}"].shape == (1, head.classes, 40, 52)
    learned = [layer for layer, blobs in net.params.items() if blobs[0].diff.any()]
    frozen = {layer for layer in net.params if net.layer_dict[layer].layer_param.param[0].lr_mult == 0}
    assert set(learned) >= set(net.params) - frozen
