"""Exports of whole nets: names, shared and in-place layers, parts of nets, and that nothing wrong is ever written."""
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import safetensors.numpy
import torch

import caffe
from caffe.convert import check, onnx_export
from caffe.convert.module import torch_module
from caffe.convert.onnx_export import export_onnx
from caffe.convert.safetensors_file import load_safetensors, save_safetensors
from caffe.convert.torch_export import export_torch

pytestmark = pytest.mark.unit

NET = """
name: "toy"
input: "data" input_shape { dim: 2 dim: 3 dim: 9 dim: 8 }
input: "unread" input_shape { dim: 1 }
layer { name: "conv.1" type: "Convolution" bottom: "data" top: "c"
  convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "bn" type: "BatchNorm" bottom: "c" top: "c" }
layer { name: "scale" type: "Scale" bottom: "c" top: "c" scale_param { bias_term: true } }
layer { name: "relu" type: "ReLU" bottom: "c" top: "c" }
layer { name: "drop" type: "Dropout" bottom: "c" top: "c" }
layer { name: "left" type: "InnerProduct" bottom: "c" top: "relu_1" param { name: "w" } param { name: "b" }
  inner_product_param { num_output: 5 weight_filler { type: "xavier" } bias_filler { type: "uniform" } } }
layer { name: "half" type: "Power" bottom: "c" top: "h" power_param { scale: 0.5 } }
layer { name: "right" type: "InnerProduct" bottom: "h" top: "r" param { name: "w" } param { name: "b" }
  inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
layer { name: "tanh" type: "TanH" bottom: "r" top: "r" }
layer { name: "sum" type: "Eltwise" bottom: "relu_1" bottom: "r" top: "sum" }
layer { name: "also" type: "Dropout" bottom: "sum" top: "also" }
layer { name: "two" type: "Split" bottom: "r" top: "r1" top: "r2" }
"""


@pytest.fixture
def net(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.prototxt").write_text(NET)
    caffe.set_random_seed(3)
    made = caffe.Net("net.prototxt", caffe.TEST)
    for blob, value in zip(made.params["bn"], (1, 8, 2), strict=True):
        blob.data[...] = value
    return made


def data(seed=4, batch=2):
    return np.random.default_rng(seed).normal(size=(batch, 3, 9, 8)).astype("f")


def expected(net, x):
    net.blobs["data"].data[...] = x
    return {name: array.copy() for name, array in net.forward().items() if name != "unread"}


def test_module(net):
    module = torch_module(net)
    assert list(module.state_dict()) == ["conv_1.weight", "conv_1.bias", "bn.0", "bn.1", "bn.2", "scale.weight",
                                         "scale.bias", "left.weight", "left.bias", "right.weight", "right.bias"]
    assert module.left.weight is module.right.weight
    assert not module.bn.get_parameter("0").requires_grad and module.left.weight.requires_grad
    found, wanted = module(torch.from_numpy(data())), expected(net, data())
    assert list(found) == list(wanted) == ["also", "r1", "r2"]
    for name, array in wanted.items():
        np.testing.assert_allclose(found[name].detach(), array, rtol=1e-6, atol=1e-6)
    with torch.no_grad():
        module.left.bias += 1   # the net's own memory
    assert (expected(net, data())["also"] != wanted["also"]).all()
    assert module(torch.from_numpy(data(batch=3)))["also"].shape == (3, 5)   # and any batch


def test_module_learns(net):
    module = torch_module(net)
    x = torch.from_numpy(data())
    module(x)["also"].sum().backward()
    net.blobs["data"].data[...] = x
    before = module.left.weight.detach().clone()
    step, gradient = 1e-2, module.left.weight.grad
    changed = []
    for sign in (1, -1):
        net.params["left"][0].data[...] = (before + sign * step * gradient / gradient.norm()).numpy()
        changed.append(float(net.forward()["also"].sum()))
    assert np.isclose((changed[0] - changed[1]) / (2 * step), gradient.norm(), rtol=1e-2)


def test_onnx_names_and_values(net):
    done = export_onnx(net, "net.onnx")
    assert done.inputs == {"data": (2, 3, 9, 8)} and list(done.outputs) == ["also", "r1", "r2"]
    assert done.difference < 1e-5
    graph = onnx.load("net.onnx").graph
    assert [node.name for node in graph.node if not node.name.startswith("node_")] == [
        "conv.1", "bn", "scale", "relu", "left", "half", "right", "tanh", "sum"]
    values = {value for node in graph.node for value in node.output}
    assert {"c/conv.1", "c/bn", "c/scale", "c", "relu_1", "r/right", "also", "r1", "r2"} <= values
    assert "conv_1.weight" in {tensor.name for tensor in graph.initializer}
    assert b"/caffe/" not in Path("net.onnx").read_bytes()   # no traces of this machine's folders
    vision = cv2.dnn.readNetFromONNX("net.onnx")
    session = onnxruntime.InferenceSession("net.onnx", providers=["CPUExecutionProvider"])
    wanted = expected(net, data())
    vision.setInput(data(), "data")
    for one, two, (name, array) in zip(session.run(None, {"data": data()}), vision.forward(list(wanted)),
                                       wanted.items(), strict=True):
        np.testing.assert_allclose(one, array, rtol=1e-5, atol=1e-6, err_msg=name)
        np.testing.assert_allclose(two, array, rtol=1e-5, atol=1e-6, err_msg=name)


def test_torch_program_needs_no_caffe(net):
    export_torch(net, "net.pt2")
    np.save("x.npy", data())
    code = ("import sys; sys.modules['caffe'] = None\nimport numpy, torch\n"
            "program = torch.export.load('net.pt2').module()\n"
            "found = program(torch.from_numpy(numpy.load('x.npy')))\n"
            "numpy.savez('y.npz', **{n: v.detach().numpy() for n, v in found.items()})")
    subprocess.run([sys.executable, "-c", code], check=True)
    found = np.load("y.npz")
    for name, array in expected(net, data()).items():
        np.testing.assert_allclose(found[name], array, rtol=1e-6, atol=1e-6)


def test_up_to_a_layer(net):
    done = export_onnx(net, "c.onnx", end="relu")
    found = onnxruntime.InferenceSession("c.onnx").run(None, {"data": data()})[0]
    assert list(done.outputs) == ["c"]
    net.blobs["data"].data[...] = data()
    net.forward(end="relu")
    np.testing.assert_allclose(found, net.blobs["c"].data, rtol=1e-5, atol=1e-6)
    with pytest.raises(caffe.NetError, match="relx"):
        export_onnx(net, "x.onnx", end="relx")
    with pytest.raises(caffe.NetError, match="nothing to export"):
        export_onnx(net, "x.onnx", end="input")


def test_given_input_decides_the_shape(net):
    done = export_onnx(net, "net.onnx", end="relu", inputs={"data": data(batch=1)})
    assert done.inputs == {"data": (1, 3, 9, 8)} and done.outputs["c"][0] == 1
    with pytest.raises(caffe.CaffeError, match="no inputs of what is exported"):
        export_onnx(net, "net.onnx", inputs={"dat": data()})


def test_layer_in_place_on_the_input(tmp_path):
    (tmp_path / "net.prototxt").write_text('input: "x" input_dim: 1 input_dim: 2 input_dim: 1 input_dim: 3\n'
                                           'layer { name: "relu" type: "ReLU" bottom: "x" top: "x" }')
    done = export_onnx(caffe.Net(tmp_path / "net.prototxt", caffe.TEST), tmp_path / "net.onnx")
    x = np.array([[[[-1, 0, 2]], [[3, -4, 5]]]], "f")
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
    assert [value.name for value in session.get_outputs()] == ["x/relu"]   # a graph has each name once
    assert list(done.inputs) == ["x"] and (session.run(None, {"x": x})[0] == np.maximum(x, 0)).all()


@pytest.mark.parametrize("export, suffix", [(export_onnx, "onnx"), (export_torch, "pt2")])
def test_wrong_results_are_not_written(net, monkeypatch, export, suffix):
    def wrong(self, x):   # what is traced differs from the net, whose forward is another function
        return torch.tanh(x) * 1.001

    relu = type(net.layer_dict["relu"])
    monkeypatch.setattr(relu, "compute", wrong)
    with pytest.raises(caffe.CaffeError, match=r"first 'c' by .*at most 0\.0001") as error:
        export(net, f"net.{suffix}")
    assert "nothing was written" in error.value.message and not list(Path().glob(f"*{suffix}*"))


def test_missing_package(net, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(caffe.CaffeError, match="onnxruntime") as error:
        export_onnx(net, "net.onnx")
    assert "caffe-lungo[export]" in error.value.help and not (Path() / "net.onnx").exists()


def test_on_the_host_only(net, monkeypatch):
    monkeypatch.setattr("caffe.state.mode", lambda: "GPU")
    with pytest.raises(caffe.CaffeError, match="host") as error:
        export_torch(net, "net.pt2")
    assert "set_mode_cpu" in error.value.help


def test_too_large(net, monkeypatch):
    monkeypatch.setattr(onnx_export, "_PROTOBUF_LIMIT", 1000)
    with pytest.raises(caffe.CaffeError, match="too large"):
        export_onnx(net, "net.onnx")


@pytest.mark.parametrize("found, wanted, difference", [
    ([1, 2], [1, 2], 0), ([1, 2.5], [1, 2], 0.25), ([np.nan, 2], [np.nan, 2], 0), ([np.nan, 2], [1, 2], np.inf),
    ([np.inf, 2], [np.inf, 2], 0), ([1, 2], [np.inf, 2], np.inf), ([1, 2, 3], [1, 2], np.inf), ([1.0], [0.0], np.inf),
])
def test_difference(found, wanted, difference):
    assert check._difference(np.array(found, "f"), np.array(wanted, "f")) == difference


def test_safetensors(net):
    count = save_safetensors(net, "net.safetensors")
    module = torch_module(net)
    tensors = safetensors.numpy.load_file("net.safetensors")
    assert count == sum(a.size for a in tensors.values()) and list(tensors) == sorted(module.state_dict())
    for name, value in module.state_dict().items():
        assert (tensors[name] == value.numpy()).all()
    with safetensors.safe_open("net.safetensors", "numpy") as file:
        (Path() / "again.prototxt").write_text(file.metadata()["prototxt"])
        assert file.metadata()["net"] == "toy"
    again = caffe.Net("again.prototxt", caffe.TEST, weights="net.safetensors")
    assert list(again.blobs) == list(net.blobs)
    for name, array in expected(net, data()).items():
        assert (expected(again, data())[name] == array).all()


def test_safetensors_that_do_not_fit(net):
    save_safetensors(net, "net.safetensors")
    tensors = safetensors.numpy.load_file("net.safetensors")
    tensors["left.bias"] = np.zeros(6, "f")
    safetensors.numpy.save_file(tensors, "other.safetensors")
    with pytest.raises(caffe.WeightsError, match=r"left\.bias.*found \(6,\), expected \(5,\)"):
        net.copy_from("other.safetensors")
    (Path() / "torn.safetensors").write_bytes((Path() / "net.safetensors").read_bytes()[:-9])
    for name in ("torn.safetensors", "net.prototxt"):
        with pytest.raises(caffe.WeightsError, match="no safetensors file"):
            load_safetensors(net, name)
    safetensors.numpy.save_file({"features.0.weight": np.zeros(3, "f")}, "foreign.safetensors")
    report = load_safetensors(net, "foreign.safetensors")
    assert report.copied == [] and report.dropped == ["features.0"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["small-fcn32s", "small-fcn16s", "small-fcn8s"])
def test_skip_nets(name, tmp_path):
    """Convolutions, Crop, Deconvolution, Eltwise: the repository's own nets, random but for the fixed upsampling."""
    net = caffe.Net(f"prototxt/{name}/deploy.prototxt", caffe.TEST)
    random = np.random.default_rng(5)
    for blobs in net.params.values():
        for blob in blobs:
            if not blob.data.any():
                blob.data[...] = random.normal(size=blob.shape, scale=0.05)
    x = random.normal(size=(1, 3, 97, 66), scale=60).astype("f")
    export_onnx(net, tmp_path / "net.onnx", inputs={"data": x})
    vision = cv2.dnn.readNetFromONNX(str(tmp_path / "net.onnx"))
    vision.setInput(x, "data")
    wanted = net.forward(data=x)["score"]
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
    for found in (session.run(None, {"data": x})[0], vision.forward("score")):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * abs(wanted).max())
