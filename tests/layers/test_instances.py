"""InstanceDataLayer: whole images with their instance maps, each drawn from all; resumed where it stood."""

from collections import Counter

import numpy as np
import pytest

import caffe
from data import touching
from data.coco import COCO
from layers.feed import Order

pytestmark = pytest.mark.unit

NET = """
layer {{ name: "data" type: "Python" top: "data" top: "instances"
  python_param {{ module: "layers.instances" layer: "InstanceDataLayer"
    param_str: "{{'data': '{folder}', 'split': '{split}', 'seed': 5, 'mean': [1, 2, 3]{more}}}" }} }}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return touching.write(tmp_path_factory.mktemp("discs") / "touching", counts={"train": 6, "val": 2}, size=64)


@pytest.fixture
def build(folder, tmp_path):
    def build(split="train", more=""):
        path = tmp_path / "data.prototxt"
        path.write_text(NET.format(folder=folder, split=split, more=more))
        return caffe.Net(str(path), caffe.TRAIN)

    return build


def shown(net, dataset, split):
    """Which picture the net's tops are; both tops must be of it."""
    net.forward()
    image = net.blobs["data"].data[0].transpose(1, 2, 0) + np.array([1, 2, 3], np.float32)
    for picture in dataset.ids(split):
        if np.array_equal(image[:, :, ::-1], dataset.image(picture)):
            np.testing.assert_array_equal(net.blobs["instances"].data[0, 0], dataset.label(picture))
            return picture
    raise AssertionError("no picture of the split")


def test_training_pictures_are_drawn_from_all_each_time(build, folder):
    net, dataset = build(), COCO(folder)
    found = [shown(net, dataset, "train") for _ in range(30)]
    ids = dataset.ids("train")
    order = Order(len(ids), 5, True, replacement=True)
    assert found == [ids[order.at(position)[1]] for position in range(30)]
    assert any(max(Counter(found[i:i + 6]).values()) > 1 for i in range(0, 30, 6)), "no permutation for each epoch"


def test_validation_pictures_come_in_order(build, folder):
    net, dataset = build("val"), COCO(folder)
    assert [shown(net, dataset, "val") for _ in range(4)] == 2 * dataset.ids("val")


def test_replacement_can_be_switched_off(build, folder):
    net, dataset = build(more=", 'replacement': False"), COCO(folder)
    found = [shown(net, dataset, "train") for _ in range(12)]
    assert sorted(found[:6]) == sorted(found[6:]) == sorted(dataset.ids("train"))


def test_a_resumed_layer_goes_on(build, folder):
    dataset, one, two = COCO(folder), build(), build()
    for _ in range(7):
        shown(one, dataset, "train")
    two.layers[0].set_state(one.layers[0].get_state())
    assert [shown(one, dataset, "train") for _ in range(5)] == [shown(two, dataset, "train") for _ in range(5)]


def test_draws_are_even():
    order = Order(8, 3, True, replacement=True)
    counts = np.bincount([order.at(position)[1] for position in range(8000)], minlength=8)
    assert abs(counts - 1000).max() < 150   # 5 standard deviations
