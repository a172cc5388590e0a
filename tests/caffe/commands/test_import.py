"""caffe import: what it prints and writes, and that a refusal writes nothing."""
import sys

import numpy as np
import pytest
import torch

import caffe
from caffe import cli
from caffe.convert import onnx_graph

pytestmark = pytest.mark.unit


@pytest.fixture
def alexnet(tmp_path):
    """AlexNet's state dict, two or three channels wide, and what it has at 64 x 64 pixels: one place for fc6."""
    generator, state, channels = torch.Generator().manual_seed(0), {}, 3
    for at, (width, kernel) in {0: (2, 11), 3: (3, 5), 6: (2, 3), 8: (3, 3), 10: (2, 3)}.items():
        state[f"features.{at}.weight"] = torch.randn(width, channels, kernel, kernel, generator=generator)
        state[f"features.{at}.bias"] = torch.randn(width, generator=generator)
        channels = width
    for at, (width, inputs) in {1: (4, 2), 4: (5, 4), 6: (3, 5)}.items():
        state[f"classifier.{at}.weight"] = torch.randn(width, inputs, generator=generator)
        state[f"classifier.{at}.bias"] = torch.randn(width, generator=generator)
    torch.save(state, tmp_path / "alexnet.pth")
    return tmp_path / "alexnet.pth"


def linear(path, operator="Relu"):
    """An .onnx file: `operator` of an open number of rows of 4."""
    import onnx
    from onnx import parser

    onnx.save(parser.parse_model(f'<ir_version: 8, opset_import: ["" : 18]> tiny (float[N,4] x) => (float[N,4] y) '
                                 f"{{ y = {operator}(x) }}"), path)
    return str(path)


@pytest.mark.parametrize("bgr", [False, True])
def test_torchvision(alexnet, bgr, capsys):
    to = alexnet.with_name("out")
    assert cli.main(["import", str(alexnet), "-to", str(to), *["-bgr"] * bgr]) == 0
    printed = capsys.readouterr().out
    assert "input data: 1 x 3 x 64 x 64" in printed and "output fc8: 1 x 3, differs from the source's by" in printed
    assert ("BGR in 0..255 minus mean 103.53, 116.28, 123.675" if bgr else "RGB in 0..1 minus mean 0.485, 0.456, 0.406"
            ) in printed
    assert f"wrote {to}.prototxt and {to}.caffemodel" in printed
    net = caffe.Net(f"{to}.prototxt", caffe.TEST, weights=f"{to}.caffemodel")
    assert (net.name, net.inputs, net.outputs) == ("alexnet", ["data"], ["fc8"])
    original = torch.load(alexnet, weights_only=True)["features.0.weight"].numpy()
    scale = 255 * np.array([0.229, 0.224, 0.225])[:, None, None]
    np.testing.assert_allclose(net.params["conv1"][0].data, (original / scale)[:, ::-1] if bgr else original, rtol=1e-6)


def test_onnx(tmp_path, capsys):
    path = linear(tmp_path / "m.onnx")
    assert cli.main(["import", path, "-to", str(tmp_path / "n"), "-input_shape", "3,4"]) == 0
    assert "input x: 3 x 4" in capsys.readouterr().out
    assert caffe.Net(str(tmp_path / "n.prototxt"), caffe.TEST).blobs["y"].shape == (3, 4)


def refused(arguments, capsys):
    assert cli.main(["import", *map(str, arguments)]) != 0
    return capsys.readouterr().err


def test_refusals(alexnet, tmp_path, capsys, monkeypatch):
    to, path = tmp_path / "out", linear(tmp_path / "m.onnx")
    assert "-input_shape" in refused([path, "-to", to], capsys)
    assert "whole numbers" in refused([path, "-to", to, "-input_shape", "a"], capsys)
    assert "-bgr" in refused([path, "-to", to, "-bgr"], capsys)
    assert ".safetensors or .onnx" in refused([tmp_path / "w.h5", "-to", to], capsys)
    assert "-to" in refused([path], capsys)
    assert "'y' (Sin)" in refused([linear(tmp_path / "s.onnx", "Sin"), "-to", to, "-input_shape", "1,4"], capsys)
    assert "create the folder" in refused([alexnet, "-to", tmp_path / "absent/out"], capsys)
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert "pip install 'caffe-lungo[export]'" in refused([path, "-to", to], capsys)
    assert not list(tmp_path.glob("out*"))


def test_a_net_that_differs_from_its_source_is_not_written(tmp_path, capsys, monkeypatch):
    import caffe.convert.onnx_import  # noqa: F401  it fills LAYERS

    monkeypatch.setitem(onnx_graph.LAYERS, "Relu", onnx_graph.LAYERS["Sigmoid"])
    path = linear(tmp_path / "m.onnx")
    told = refused([path, "-to", tmp_path / "n", "-input_shape", "2,4"], capsys)
    assert "does not compute" in told and "begins at blob 'y'" in told
    assert not list(tmp_path.glob("n.*"))
