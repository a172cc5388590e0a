"""The data layer of NYUDv2 with the public FCN code's name, keys, tops and means."""

import numpy as np
import pytest

import caffe
import layers
from layers.errors import LayerError
from layers.nyud_layers import NYUDSegDataLayer
from layers.segdata import SegDataLayer
from tests.data.layouts import write_nyud

pytestmark = pytest.mark.unit
SPLITS = {"train": ["5003", "5001"], "val": ["5004"], "test": ["5002"]}


@pytest.mark.tiny
def test_tops_and_means_are_the_public_ones(tmp_path, driver):
    made = write_nyud(tmp_path, SPLITS)
    text = f"{{'nyud_dir': '{tmp_path}', 'tops': ['color', 'depth', 'hha', 'label'], 'split': 'test', 'seed': 1337}}"
    color, depth, hha, label = driver(NYUDSegDataLayer, text, phase=1, tops=4).forward()
    tops = made["5002"]
    blue_green_red, encoded = tops["color"][:, :, ::-1].astype(float), tops["hha"].astype(float)
    np.testing.assert_allclose(color[0].transpose(1, 2, 0), blue_green_red - (116.190, 97.203, 92.318), atol=1e-4)
    np.testing.assert_allclose(hha[0].transpose(1, 2, 0), encoded - (132.431, 94.076, 118.477), atol=1e-4)
    np.testing.assert_allclose(depth[0, 0], np.log(tops["depth"].astype(float)) - 7.844, atol=1e-5)
    np.testing.assert_array_equal(label[0, 0], tops["label"])
    assert 255 in label


def test_order_of_tops_and_of_pictures(tmp_path, driver):
    made = write_nyud(tmp_path, SPLITS)
    params = {"nyud_dir": str(tmp_path), "split": "trainval", "tops": ["label", "hha"], "randomize": False}
    layer = driver(NYUDSegDataLayer, params)
    for picture in ("5003", "5001", "5004", "5003"):
        label, hha = layer.forward()
        np.testing.assert_array_equal(label[0, 0], made[picture]["label"])
        assert hha.shape == (1, 3, 9, 12)
    with pytest.raises(LayerError, match="no top 'normals'.*color, depth, hha, label"):
        driver(NYUDSegDataLayer, {**params, "tops": ["normals", "label"]})


def test_the_same_as_the_general_layer_with_these_means(tmp_path, driver):
    write_nyud(tmp_path, SPLITS)
    params = {"split": "train", "tops": ["color", "depth", "label"], "seed": 5, "mirror": True}
    means = {top: NYUDSegDataLayer.own_means[top] for top in ("color", "depth")}
    one = driver(NYUDSegDataLayer, {"nyud_dir": str(tmp_path), **params}, tops=3)
    other = driver(SegDataLayer, {"data": str(tmp_path), "mean": means, **params}, tops=3)
    for _ in range(6):
        for left, right in zip(one.forward(), other.forward(), strict=True):
            np.testing.assert_array_equal(left, right)


def test_in_a_net_under_the_public_module_name(tmp_path, monkeypatch):
    write_nyud(tmp_path / "nyud", SPLITS)
    params = {"nyud_dir": str(tmp_path / "nyud"), "seed": 1337, "split": "trainval", "tops": ["color", "hha", "label"]}
    (tmp_path / "net.prototxt").write_text(
        'layer { name: "data" type: "Python" top: "color" top: "hha" top: "label" python_param { '
        f'module: "nyud_layers" layer: "NYUDSegDataLayer" param_str: "{params}" }} }}')
    monkeypatch.syspath_prepend(layers.__path__[0])
    net = caffe.Net(str(tmp_path / "net.prototxt"), caffe.TRAIN)
    net.forward()
    assert net.blobs["hha"].data.shape == (1, 3, 9, 12) and net.blobs["label"].data.shape == (1, 1, 9, 12)
