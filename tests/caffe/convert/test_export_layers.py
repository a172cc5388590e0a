"""Every layer type is exported as ONNX and as a torch program and agrees with this engine, or is refused with a reason.

ONNX Runtime and OpenCV's importer are the judges; one net holds one layer or several of each type.
"""
import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import caffe
from caffe.convert.module import torch_module
from caffe.convert.onnx_export import export_onnx
from caffe.convert.torch_export import export_torch
from caffe.layer import layer_class
from caffe.layers.sources import Source

pytestmark = pytest.mark.unit

INPUTS = {"x": (2, 4, 7, 6), "y": (2, 4, 7, 6), "flat": (2, 6), "factor": (2, 4, 1, 1), "small": (2, 4, 3, 2),
          "index": (2,), "order": (3,), "mask": (2, 4, 3, 2), "seq": (3, 2, 5), "cont": (3, 2), "cell": (1, 2, 4),
          "gates": (1, 2, 16), "go": (1, 2), "image": (2, 3, 28, 24), "positive": (2, 4, 7, 6), "factors": (2,)}
FILL = 'weight_filler { type: "gaussian" std: 0.5 } bias_filler { type: "gaussian" std: 0.5 }'
STATE = f"recurrent_param {{ num_output: 4 {FILL} }}"

# name: bottoms, number of tops, the layer's own text; the name up to "-" is the type
CASES = {
    "AbsVal": ("x", 1, ""),
    "ArgMax": ("x", 1, "argmax_param { axis: 1 }"),
    "ArgMax-top": ("flat", 1, "argmax_param { axis: 1 top_k: 3 }"),
    "ArgMax-values": ("x", 1, "argmax_param { out_max_val: true top_k: 3 }"),
    "Axpy": ("factor x y", 1, ""),
    "BN": ("x", 1, 'bn_param { scale_filler { type: "gaussian" std: 1 } bn_mode: INFERENCE }'),
    "BN-learn": ("x", 1, 'bn_param { scale_filler { type: "constant" value: 2 } }'),
    "BNLL": ("x", 1, ""),
    "BatchNorm": ("x", 1, ""),
    "BatchReindex": ("x order", 1, ""),
    "Bias": ("x", 1, 'bias_param { filler { type: "gaussian" std: 1 } }'),
    "Clip": ("x", 1, "clip_param { min: -0.5 max: 0.7 }"),
    "Concat": ("x y", 1, "concat_param { axis: 2 }"),
    "Convolution": ("x", 1, "convolution_param { num_output: 6 kernel_size: 3 pad: 1 stride: 2 group: 2 "
                            + FILL + " }"),
    "Convolution-dilated": ("x", 1, "convolution_param { num_output: 2 kernel_h: 3 kernel_w: 1 dilation: 2 "
                                    + FILL + " }"),
    "Convolution-short": ("x", 1, "convolution_param { num_output: 2 kernel_size: 8 stride: 3 " + FILL + " }"),
    "ConvolutionDepthwise": ("x", 1, "convolution_param { kernel_size: 3 " + FILL + " }"),
    "Crop": ("x small", 1, "crop_param { axis: 2 offset: 1 }"),
    "Deconvolution": ("x", 1, "convolution_param { num_output: 3 kernel_size: 4 stride: 2 pad: 1 " + FILL + " }"),
    "Deconvolution-bilinear": ("x", 1, "convolution_param { num_output: 4 group: 4 kernel_size: 16 stride: 8 "
                                       'bias_term: false weight_filler { type: "bilinear" } } param { lr_mult: 0 }'),
    "DepthwiseConvolution": ("x", 1, "convolution_param { num_output: 8 kernel_size: 3 pad: 1 " + FILL + " }"),
    "Dropout": ("x", 1, ""),
    "ELU": ("x", 1, "elu_param { alpha: 0.5 }"),
    "Eltwise": ("x y", 1, "eltwise_param { coeff: 1 coeff: -0.5 }"),
    "Eltwise-max": ("x y x", 1, "eltwise_param { operation: MAX }"),
    "Eltwise-prod": ("x y", 1, "eltwise_param { operation: PROD }"),
    "Embed": ("index", 1, "embed_param { input_dim: 5 num_output: 3 " + FILL + " }"),
    "Exp": ("x", 1, "exp_param { base: 2 scale: 0.5 shift: 1 }"),
    "Flatten": ("x", 1, "flatten_param { axis: 1 end_axis: 2 }"),
    "Im2col": ("x", 1, "convolution_param { kernel_size: 3 stride: 2 pad: 1 }"),
    "InnerProduct": ("x", 1, "inner_product_param { num_output: 3 " + FILL + " }"),
    "InnerProduct-axis": ("x", 1, "inner_product_param { num_output: 3 axis: 2 transpose: true " + FILL + " }"),
    "Interp": ("x", 1, "interp_param { zoom_factor: 3 }"),
    "Interp-nearest": ("x", 1, 'interp_param { height: 12 width: 9 interp_type: "nearest_neighbor" }'),
    "LRN": ("x", 1, "lrn_param { local_size: 3 alpha: 0.5 k: 2 }"),
    "LRN-within": ("x", 1, "lrn_param { norm_region: WITHIN_CHANNEL local_size: 3 alpha: 0.5 }"),
    "LSTM": ("seq cont", 1, STATE),
    "LSTMUnit": ("cell gates go", 2, ""),
    "Log": ("positive", 1, "log_param { base: 2 scale: 3 shift: 0.5 }"),
    "MVN": ("x", 1, ""),
    "MVN-mean": ("x", 1, "mvn_param { normalize_variance: false across_channels: true }"),
    "Normalize": ("x", 1, "norm_param { across_spatial: false channel_shared: false "
                          'scale_filler { type: "uniform" } }'),
    "PReLU": ("x", 1, 'prelu_param { filler { type: "uniform" } }'),
    "Parameter": ("", 1, "parameter_param { shape { dim: 2 dim: 3 } }"),
    "Permute": ("x", 1, "permute_param { order: 0 order: 2 order: 3 order: 1 }"),
    "Pooling": ("x", 1, "pooling_param { kernel_size: 3 stride: 2 }"),
    "Pooling-pad": ("x", 1, "pooling_param { kernel_size: 3 stride: 3 pad: 2 }"),
    "Pooling-ave": ("x", 1, "pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 1 }"),
    "Pooling-ave-outside": ("x", 1, "pooling_param { pool: AVE kernel_size: 3 stride: 4 pad: 2 }"),
    "Pooling-global": ("x", 1, "pooling_param { pool: AVE global_pooling: true }"),
    "Pooling-stochastic": ("positive", 1, "pooling_param { pool: STOCHASTIC kernel_size: 3 stride: 2 }"),
    "Pooling-mask": ("x", 2, "pooling_param { kernel_size: 2 stride: 2 }"),
    "Power": ("positive", 1, "power_param { power: 1.5 scale: 2 shift: 0.5 }"),
    "PriorBox": ("x image", 1, "prior_box_param { min_size: 8 max_size: 14 aspect_ratio: 2 }"),
    "RNN": ("seq cont", 1, STATE),
    "ReLU": ("x", 1, ""),
    "ReLU-leaky": ("x", 1, "relu_param { negative_slope: 0.1 }"),
    "ReLU6": ("x", 1, ""),
    "Reduction": ("x", 1, "reduction_param { operation: SUMSQ axis: 2 coeff: 0.5 }"),
    "Reshape": ("x", 1, "reshape_param { shape { dim: 0 dim: -1 dim: 3 } }"),
    "SPP": ("x", 1, "spp_param { pyramid_height: 2 }"),
    "Scale": ("x", 1, 'scale_param { filler { type: "uniform" } bias_term: true }'),
    "Scale-bottom": ("x factors", 1, "scale_param { axis: 0 }"),
    "ShuffleChannel": ("x", 1, "shuffle_channel_param { group: 2 }"),
    "Sigmoid": ("x", 1, ""),
    "Slice": ("x", 2, "slice_param { axis: 1 slice_point: 1 }"),
    "Softmax": ("x", 1, ""),
    "Softmax-axis": ("x", 1, "softmax_param { axis: -1 }"),
    "Swish": ("x", 1, "swish_param { beta: 2 }"),
    "TanH": ("x", 1, ""),
    "Threshold": ("x", 1, "threshold_param { threshold: 0.2 }"),
    "Tile": ("x", 1, "tile_param { axis: 1 tiles: 2 }"),
    "Upsample": ("small mask", 1, "upsample_param { upsample_h: 7 upsample_w: 6 }"),
}
REFUSED = {"Accuracy", "DetectionOutput", "Filter", "HDF5Output", "PSROIPooling", "ROIPooling", "Python"}
ELSEWHERE = {"Input", "Silence", "Split"}   # no nodes of their own


def inputs():
    """{input: array} that suits every case."""
    random = np.random.default_rng(1)
    found = {name: random.normal(size=shape).astype("f") for name, shape in INPUTS.items()}
    found["positive"] = abs(found["positive"]) + 0.1
    found["index"][...], found["order"][...] = [3, 1], [1, 1, 0]
    found["mask"][...] = np.array([[1, 3], [14, 16], [26, 41]])
    found["cont"][...] = [[0, 1], [1, 1], [1, 0]]
    found["go"][...] = [[1, 0]]
    return found


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """{engine: {top: array}} of all cases in one net."""
    folder, given = tmp_path_factory.mktemp("layers"), inputs()
    lines = [f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ '
             + " ".join(f"dim: {d}" for d in shape) + " } } }" for name, shape in INPUTS.items()]
    for case, (bottoms, tops, own) in CASES.items():
        lines.append(f'layer {{ name: "{case}" type: "{case.split("-")[0]}" '
                     + " ".join(f'bottom: "{b}"' for b in bottoms.split())
                     + "".join(f' top: "{case}.{i}"' for i in range(tops)) + f" {own} }}")
    (folder / "net.prototxt").write_text("\n".join(lines))
    net = caffe.Net(folder / "net.prototxt", caffe.TEST)
    for i in range(3):
        net.params["BatchNorm"][i].data[...] = 0.5 + i
    net.params["Parameter"][0].data[...] = np.arange(6).reshape(2, 3)
    done = export_onnx(net, folder / "net.onnx", inputs=given)
    export_torch(net, folder / "net.pt2", inputs=given)
    for name in ("LSTM", "RNN"):
        net.layer_dict[name].reset()   # an exported one begins at zeros
    found = {"caffe": {name: array.copy() for name, array in net.forward(**given).items()}}
    assert list(done.outputs) == sorted(done.outputs) == list(found["caffe"])
    onnx.checker.check_model(onnx.load(folder / "net.onnx"), full_check=True)
    session = onnxruntime.InferenceSession(folder / "net.onnx", providers=["CPUExecutionProvider"])
    found["onnxruntime"] = dict(zip(done.outputs, session.run(None, given), strict=True))
    vision = cv2.dnn.readNetFromONNX(str(folder / "net.onnx"))
    for name, array in given.items():
        vision.setInput(array, name)
    found["opencv"] = dict(zip(done.outputs, vision.forward(list(done.outputs)), strict=True))
    tensors = [torch.from_numpy(given[name]) for name in done.inputs]
    for engine, run in (("module", torch_module(net)), ("program", torch.export.load(folder / "net.pt2").module())):
        found[engine] = {name: value.detach().numpy() for name, value in run(*tensors).items()}
    return found


@pytest.mark.parametrize("engine", ["onnxruntime", "opencv", "program", "module"])
@pytest.mark.parametrize("case", CASES)
def test_layer(results, case, engine):
    for i in range(CASES[case][1]):
        expected, found = results["caffe"][f"{case}.{i}"], np.asarray(results[engine][f"{case}.{i}"])
        if engine == "opencv":   # it has no arrays of one axis
            found = found.reshape(expected.shape)
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6 * abs(expected).max())


def test_every_type_is_here():
    """A new layer type is a case above, data, a loss, or refused on purpose."""
    classes = {name: layer_class(name) for name in caffe.layer_type_list()}
    exported = {case.split("-")[0] for case in CASES}
    assert exported | REFUSED | ELSEWHERE == {
        name for name, made in classes.items() if made.__module__.startswith("caffe.layers.")
        and not made.is_loss and (name == "Input" or not issubclass(made, Source))}
    assert not exported & REFUSED


@pytest.mark.parametrize("own, why", [
    ('type: "DummyData" top: "t" dummy_data_param { shape { dim: 1 } }', "reads data"),
    ('type: "EuclideanLoss" bottom: "x" bottom: "y" top: "t"', "labels"),
    ('type: "Accuracy" bottom: "flat" bottom: "index" top: "t"', "labels"),
    ('type: "Filter" bottom: "x" bottom: "index" top: "t"', "depends on the data"),
    ('type: "ROIPooling" bottom: "x" bottom: "rois" top: "t" roi_pooling_param { pooled_h: 1 pooled_w: 1 }', "host"),
    ('type: "Python" bottom: "x" top: "t" python_param { module: "own_layer" layer: "Own" }', "Python code"),
    ('type: "Dropout" bottom: "x" top: "t" phase: TRAIN', "for training"),
])
def test_refused(tmp_path, monkeypatch, own, why):
    (tmp_path / "own_layer.py").write_text("import caffe\nclass Own(caffe.Layer):\n"
                                           "    def reshape(self, bottom, top): top[0].reshape(1)\n")
    monkeypatch.chdir(tmp_path)
    shapes = {**INPUTS, "rois": (1, 5)}
    bottoms = [name for name in shapes if f'bottom: "{name}"' in own]
    (tmp_path / "net.prototxt").write_text("\n".join(
        [f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ '
         + " ".join(f"dim: {d}" for d in shapes[name]) + " } } }" for name in bottoms]
        + [f'layer {{ name: "odd" {own} }}']))
    net = caffe.Net("net.prototxt", caffe.TEST)
    with pytest.raises(caffe.NetError, match=why) as error:
        export_onnx(net, "net.onnx")
    assert error.value.layer == "odd" and error.value.file == f"net.prototxt:{len(bottoms) + 1}"
    assert "deploy" in error.value.help or "caffe.TEST" in error.value.help
    assert not (tmp_path / "net.onnx").exists()
