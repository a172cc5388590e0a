"""Every net on VGG-16, narrow and on small images: filled by surgery along its stages, then forward and backward."""

import numpy as np
import pytest
from google.protobuf import text_format

import caffe
from prototxt import NETS, build, recipe_of
from surgery.checks import ZERO_INIT
from tools.stages import initialise

pytestmark = pytest.mark.unit

WIDTHS, FC = (4, 4, 8, 8, 8), 16
VGG = [name for name, entry in NETS.items() if entry.family == "vgg16"]


def shapes_of_classifier():
    """Layer -> shapes of VGG-16's weights and biases as its caffemodel has them: fc6 and fc7 are fully connected."""
    shapes, below = {}, 3
    for block, (width, depth) in enumerate(zip(WIDTHS, (2, 2, 3, 3, 3), strict=True), start=1):
        for index in range(1, depth + 1):
            shapes[f"conv{block}_{index}"] = [(width, below, 3, 3), (width,)]
            below = width
    return {**shapes, "fc6": [(FC, below * 49), (FC,)], "fc7": [(FC, FC), (FC,)], "fc8": [(1000, FC), (1000,)]}


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    model, draw = caffe.proto.caffe_pb2.NetParameter(), np.random.default_rng(0)
    for name, shapes in shapes_of_classifier().items():
        layer = model.layer.add(name=name, type="InnerProduct")
        for shape in shapes:
            blob = layer.blobs.add()
            blob.shape.dim.extend(shape)
            blob.data.extend(draw.normal(0, 0.1, int(np.prod(shape))))
    path = tmp_path_factory.mktemp("models") / "vgg.caffemodel"
    path.write_bytes(model.SerializeToString())
    return path


def made(name, folder, kind="train"):
    """The narrow net with Input layers in place of its data layer."""
    proto = build(name, "deploy", shape=(1, 3, 40, 52), widths=WIDTHS, fc_width=FC)
    for head in recipe_of(name).heads:
        label = proto.layer.add(name=head.label, type="Input", top=[head.label])
        label.input_param.shape.add().dim.extend([1, 1, 40, 52])
        loss = proto.layer.add(name=f"loss{head.suffix}", type="SoftmaxWithLoss", top=[f"loss{head.suffix}"])
        loss.bottom.extend([f"score{head.suffix}", head.label])
    path = folder / f"{name}.prototxt"
    path.write_text(text_format.MessageToString(proto))
    return caffe.Net(str(path), caffe.TRAIN)


@pytest.mark.parametrize("name", VGG)
def test_filled_from_its_classifier_and_run(name, classifier, tmp_path, capsys):
    saved = {None: classifier}
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
