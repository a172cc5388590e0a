"""caffe export: three formats by suffix, what it prints, the lines that it prints work, and its refusals."""
import numpy as np
import pytest

import caffe
from caffe import cli

pytestmark = pytest.mark.unit

NET = """
layer { name: "in" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 6 dim: 5 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv/3x3"
  convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "prob" type: "Softmax" bottom: "conv/3x3" top: "prob" }
"""


@pytest.fixture
def export(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "deploy.prototxt").write_text(NET)
    caffe.Net("deploy.prototxt", caffe.TEST).save("w.caffemodel")

    def run(*words):
        capfd.readouterr()
        status = cli.main(["export", "-model", "deploy.prototxt", "-weights", "w.caffemodel", *words])
        said = capfd.readouterr()
        return status, said.out.splitlines(), said.err

    return run


def outputs(x):
    net = caffe.Net("deploy.prototxt", caffe.TEST, weights="w.caffemodel")
    net.blobs["data"].reshape(*x.shape)
    return net.forward(data=x)["prob"]


def test_onnx(export):
    status, lines, _ = export("-to", "net.onnx")
    assert status == 0
    assert lines[:2] == ["input data: 1 x 3 x 6 x 5", "output prob: 1 x 4 x 4 x 3"]
    assert lines[2].startswith("net.onnx: largest difference ") and lines[3] == "load it with"
    import onnxruntime

    names = {"onnxruntime": onnxruntime, "data": np.random.default_rng(1).normal(size=(1, 3, 6, 5)).astype("f")}
    exec("\n".join(lines[4:]), names)
    np.testing.assert_allclose(names["prob"], outputs(names["data"]), rtol=1e-5, atol=1e-7)


def test_torch_with_a_given_input(export):
    import torch

    x = np.random.default_rng(1).normal(size=(2, 3, 8, 8)).astype("f")
    np.save("x.npy", x)
    np.savez("x.npz", data=x)
    for given in ("x.npy", "x.npz"):
        status, lines, _ = export("-to", "net.pt2", "-input", given)
        assert status == 0 and lines[0] == "input data: 2 x 3 x 8 x 8"
        names = {"torch": torch, "data": torch.from_numpy(x)}
        exec("\n".join(lines[4:]), names)
        np.testing.assert_allclose(names["outputs"]["prob"].detach(), outputs(x), rtol=1e-5, atol=1e-7)


def test_safetensors(export):
    status, lines, _ = export("-to", "net.safetensors")
    assert status == 0 and lines[0] == "net.safetensors: 112 numbers, read back bit for bit"   # 4 3 3 3 + 4
    loaded = caffe.Net("deploy.prototxt", caffe.TEST, weights="net.safetensors")
    saved = caffe.Net("deploy.prototxt", caffe.TEST, weights="w.caffemodel")
    assert (loaded.params["conv"][0].data == saved.params["conv"][0].data).all()


def test_end(export):
    status, lines, _ = export("-to", "net.onnx", "-end", "conv")
    assert status == 0 and lines[1] == "output conv/3x3: 1 x 4 x 4 x 3"
    assert lines[5] == 'conv_3x3, = session.run(None, {"data": data})'


@pytest.mark.parametrize("words, message", [
    (["-to", "net.pth"], "unknown format (found .pth, expected .onnx, .pt2, .safetensors)"),
    (["-to", "net.safetensors", "-end", "conv"], "parameters alone"),
    (["-to", "net.onnx", "-input", "deploy.prototxt"], "deploy.prototxt: is no array"),
    (["-to", "net.onnx", "-end", "conf"], "expected perhaps conv"),
    (["-to", "no/net.onnx"], "create the folder no"),
])
def test_refusals(export, tmp_path, words, message):
    before = sorted(tmp_path.iterdir())
    status, _, said = export(*words)
    assert status == 1 and message in said
    assert sorted(tmp_path.iterdir()) == before
