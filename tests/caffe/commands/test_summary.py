"""caffe summary against numbers worked out by hand and those published of VGG-16."""
import json

import pytest

from caffe import cli
from caffe.commands.summary import summarize, table
from caffe.errors import CaffeError

pytestmark = pytest.mark.unit

NET = """
name: "small"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 10 dim: 12 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" param { name: "w" }
  convolution_param { num_output: 4 kernel_h: 3 kernel_w: 5 stride: 1 dilation: 1 } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool" pooling_param { kernel_size: 2 stride: 2 } }
layer { name: "dilated" type: "Convolution" bottom: "pool" top: "dilated" param { lr_mult: 0 }
  convolution_param { num_output: 6 kernel_size: 2 dilation: 2 group: 2 bias_term: false } }
layer { name: "up" type: "Deconvolution" bottom: "dilated" top: "up"
  convolution_param { num_output: 5 kernel_size: 4 stride: 2 bias_term: false } }
layer { name: "ip" type: "InnerProduct" bottom: "dilated" top: "ip" inner_product_param { num_output: 7 } }
layer { name: "train" type: "Softmax" bottom: "ip" top: "p" include { phase: TRAIN } }
"""


@pytest.fixture
def net(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(NET)
    return str(path)


def test_a_small_net_by_hand(net):
    rows = {row.name: row for row in summarize(net).layers}
    assert list(rows) == ["data", "conv", "relu", "pool", "dilated", "up", "ip"]
    conv = rows["conv"]
    assert (conv.shapes, conv.parameters) == ([[2, 4, 8, 8]], 4 * 3 * 15 + 4)
    assert conv.macs == 2 * 4 * 8 * 8 * 3 * 15
    assert (conv.field, conv.stride) == ([3, 5], [1, 1])
    assert conv.forward_bytes == 4 * 2 * 4 * 64
    assert conv.training_bytes == 2 * conv.forward_bytes + 4 * conv.parameters
    assert (rows["relu"].forward_bytes, rows["relu"].training_bytes) == (0, 0)
    assert rows["data"].training_bytes == rows["data"].forward_bytes == 4 * 2 * 3 * 10 * 12
    assert (rows["pool"].field, rows["pool"].stride) == ([4, 6], [2, 2])
    dilated = rows["dilated"]                        # 3 samples wide: 4 + 2 * 2
    assert dilated.shapes == [[2, 6, 2, 2]]
    assert (dilated.parameters, dilated.fixed) == (6 * 2 * 4, 48)
    assert dilated.training_bytes == 2 * dilated.forward_bytes   # nothing is learned there
    assert dilated.macs == 2 * 4 * 48
    assert (dilated.field, dilated.stride) == ([8, 10], [2, 2])
    up = rows["up"]                                  # 2 -> 2 * 1 + 4; sees 4 / 2 samples
    assert up.shapes == [[2, 5, 6, 6]]
    assert up.macs == 2 * 4 * 6 * 5 * 16
    assert (up.field, up.stride) == ([10, 12], [1, 1])
    ip = rows["ip"]
    assert (ip.parameters, ip.macs) == (7 * 24 + 7, 2 * 7 * 24)
    assert ip.field == [10, 12]


def test_phase_and_json(net, capsys):
    assert cli.main(["summary", net, "-phase", "TRAIN", "-json"]) == 0
    read = json.loads(capsys.readouterr().out)
    assert read["layers"][-1]["name"] == "train"
    assert read["totals"]["parameters"] == sum(row["parameters"] for row in read["layers"])


def test_shared_parameters_count_once(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text("""
        layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 4 } } }
        layer { name: "a" type: "InnerProduct" bottom: "data" top: "a" param { name: "w" }
          inner_product_param { num_output: 4 bias_term: false } }
        layer { name: "b" type: "InnerProduct" bottom: "a" top: "b" param { name: "w" }
          inner_product_param { num_output: 4 bias_term: false } }""")
    made = summarize(path)
    assert made.totals["parameters"] == 16
    assert (made.layers[2].parameters, made.layers[2].shared, made.layers[2].macs) == (0, 16, 16)
    assert "shared" in table(made)


def test_fcn32s():
    made = summarize("prototxt/fcn32s/deploy.prototxt")
    rows = {row.name: row for row in made.layers}
    assert made.totals["parameters"] - made.totals["fixed"] == 134_346_581   # thesis, Table 3.1: 134M
    assert made.totals["fixed"] == 21 * 21 * 64 * 64
    assert rows["score_fr"].field == [404, 404]
    assert rows["score_fr"].stride == [32, 32]
    assert rows["score"].stride == [1, 1]
    # conv1_1 on 698 x 698, the image padded by 100: 27 products for each of 64 channels
    assert rows["conv1_1"].macs == 698 * 698 * 64 * 27
    assert "134,346,581 learned" in table(made)


def test_vgg16(tmp_path):
    """138,357,544 parameters (Simonyan and Zisserman: 138M) and 15.47 G multiplications at 224 x 224."""
    layers = ['layer { name: "data" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 dim: 224 dim: 224 } } }']
    last = "x"
    for block, (count, channels) in enumerate([(2, 64), (2, 128), (3, 256), (3, 512), (3, 512)], 1):
        for i in range(count):
            name = f"conv{block}_{i}"
            layers.append(f'layer {{ name: "{name}" type: "Convolution" bottom: "{last}" top: "{name}" '
                          f'convolution_param {{ num_output: {channels} kernel_size: 3 pad: 1 }} }}')
            last = name
        layers.append(f'layer {{ name: "pool{block}" type: "Pooling" bottom: "{last}" top: "pool{block}" '
                      'pooling_param { kernel_size: 2 stride: 2 } }')
        last = f"pool{block}"
    for name, outputs in (("fc6", 4096), ("fc7", 4096), ("fc8", 1000)):
        layers.append(f'layer {{ name: "{name}" type: "InnerProduct" bottom: "{last}" top: "{name}" '
                      f'inner_product_param {{ num_output: {outputs} }} }}')
        last = name
    path = tmp_path / "vgg16.prototxt"
    path.write_text("\n".join(layers))
    made = summarize(path)
    assert made.totals["parameters"] == 138_357_544
    assert made.totals["macs"] == 15_470_264_320
    assert {row.name: row for row in made.layers}["fc6"].field == [404, 404]
    assert made.layers[-1].field == [404, 404]


def test_depthwise_convolution_by_hand(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text("""
        layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 6 dim: 9 dim: 9 } } }
        layer { name: "dw" type: "DepthwiseConvolution" bottom: "data" top: "dw"
          convolution_param { num_output: 6 group: 6 kernel_size: 3 stride: 2 bias_term: false } }
        layer { name: "relu" type: "ReLU6" bottom: "dw" top: "dw" }""")
    _, dw, relu = summarize(path).layers
    assert (dw.shapes, dw.parameters, dw.macs) == ([[1, 6, 4, 4]], 54, 6 * 9 * 16)
    assert (relu.field, relu.stride) == ([3, 3], [2, 2])


def test_a_net_that_cannot_be_built_says_why(tmp_path, capsys):
    path = tmp_path / "net.prototxt"
    path.write_text(NET.replace("kernel_h: 3", "kernel_h: 30"))
    with pytest.raises(CaffeError, match="conv"):
        summarize(path)
    assert cli.main(["summary", str(path)]) == 1
    assert "net.prototxt:4" in capsys.readouterr().err
