"""ONNX graphs, operator by operator, against onnxruntime on another input than the importer's own check uses."""
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper, parser

import caffe
from caffe.convert.onnx_import import import_onnx
from caffe.errors import CaffeError, NetError, ShapeError

pytestmark = pytest.mark.unit

DRAW = np.random.default_rng(7)
IMAGE = (2, 4, 9, 8)


def draw(*shape):
    return DRAW.standard_normal(shape).astype(np.float32)


def ints(*values):
    return np.array(values, np.int64)


def write(path, nodes, shape=IMAGE, opset=18, inputs=None, **constants):
    """An ONNX file of `nodes` (in onnx.parser's text) from x of `shape` to y, with constants by name."""
    inputs = inputs or {"x": shape}
    text = ", ".join(f"float[{','.join(map(str, dims))}] {name}" for name, dims in inputs.items())
    model = parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}]> g ({text}) => (y) {{ {nodes} }}')
    model.graph.initializer.extend(numpy_helper.from_array(np.asarray(array), key) for key, array in constants.items())
    model.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    if "com.somebody" not in nodes:
        model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    model.graph.output[0].type.tensor_type.shape.SetInParent()   # the format wants one, if only ()
    onnx.save(model, path)
    return path


def run_both(path, prefix, shape=None):
    imported = import_onnx(path, shape)
    net = caffe.Net(*imported.write(prefix), caffe.TEST)
    fed = {name: np.random.default_rng(11).standard_normal(net.blobs[name].shape).astype(np.float32)
           for name in net.inputs}
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    expected = session.run(None, fed)
    net.forward(**fed)
    names = [value.name for value in session.get_outputs()]
    return net, [net.blobs[name].data for name in names], expected


W, BIAS = draw(6, 4, 3, 3), draw(6)
AROUND = ints(0, 0, 1, 1, 0, 0, 1, 1)   # one zero around the image
BN = {"s": draw(4), "t": draw(4), "m": draw(4), "v": np.abs(draw(4)) + 0.1}
EXPRESSIBLE = {   # name: (nodes, types of the Caffe layers, keywords of `write`)
    "conv": ("y = Conv<pads=[1,1,1,1], strides=[2,2]>(x, w, b)", "Convolution", {"w": W, "b": BIAS}),
    "conv-groups-dilated": ("y = Conv<group=2, dilations=[2,1], pads=[0,2,0,2]>(x, w)", "Convolution",
                            {"w": draw(6, 2, 3, 2)}),
    "conv-1d": ("y = Conv(x, w, b)", "Convolution", {"w": draw(5, 4, 3), "b": draw(5), "shape": (2, 4, 9)}),
    "conv-3d": ("y = Conv<pads=[1,0,1,1,0,1]>(x, w)", "Convolution",
                {"w": draw(2, 3, 3, 2, 3), "shape": (1, 3, 4, 5, 6)}),
    # unequal padding that another number of windows makes up for, and where nothing needs to be cut
    "conv-pads-behind": ("y = Conv<pads=[0,0,1,1], strides=[2,2]>(x, w, b)",
                         "Convolution Slice Slice Silence Silence",
                         {"w": W, "b": BIAS, "shape": (1, 4, 8, 8)}),
    "conv-pads-behind-unread": ("y = Conv<pads=[1,1,0,1], strides=[3,2]>(x, w)", None, {"w": W}),
    "conv-pads-in-front": ("y = Conv<pads=[2,1,0,0]>(x, w)", "Convolution Slice Slice Silence Silence", {"w": W}),
    "conv-pads-far-behind": ("y = Conv<pads=[0,0,3,5], strides=[1,2]>(x, w)", None, {"w": W}),
    "conv-same-upper": ('y = Conv<auto_pad="SAME_UPPER", strides=[2,2]>(x, w)', None, {"w": W}),
    "conv-same-lower": ('y = Conv<auto_pad="SAME_LOWER", strides=[2,2]>(x, w)', None, {"w": W}),
    "conv-transpose": ("y = ConvTranspose<pads=[1,1,1,1], strides=[2,2]>(x, w, b)", "Deconvolution",
                       {"w": draw(4, 3, 4, 4), "b": draw(3)}),
    "conv-transpose-groups": ("y = ConvTranspose<group=2, strides=[2,1], dilations=[1,2]>(x, w)", "Deconvolution",
                              {"w": draw(4, 3, 2, 3)}),
    "conv-transpose-output-padding": (
        "y = ConvTranspose<pads=[1,1,1,1], strides=[2,2], output_padding=[1,1]>(x, w)", None, {"w": draw(4, 3, 3, 3)}),
    "gemm": ("y = Gemm<transB=1, alpha=0.5, beta=2.0>(x, w, b)", "InnerProduct",
             {"w": draw(3, 5), "b": draw(3), "shape": (2, 5)}),
    "gemm-plain": ("y = Gemm(x, w, b)", "InnerProduct", {"w": draw(5, 3), "b": draw(1, 1), "shape": (2, 5)}),
    "matmul-add": ("h = MatMul(x, w) y = Add(b, h)", "InnerProduct",
                   {"w": draw(5, 3), "b": draw(3), "shape": (2, 4, 5)}),
    "matmul-read-twice": ("h = MatMul(x, w) a = Add(h, b) y = Mul(a, h)", "InnerProduct Bias Eltwise",
                          {"w": draw(5, 3), "b": draw(3), "shape": (2, 5)}),
    "batch-norm": ("y = BatchNormalization<epsilon=0.01>(x, s, t, m, v)", "BatchNorm Scale", BN),
    "relu": ("y = Relu(x)", "ReLU", {}), "leaky": ("y = LeakyRelu<alpha=0.3>(x)", "ReLU", {}),
    "prelu": ("y = PRelu(x, a)", "PReLU", {"a": draw(4, 1, 1)}),
    "prelu-shared": ("y = PRelu(x, a)", "PReLU", {"a": draw(1)}),
    "elu": ("y = Elu<alpha=0.7>(x)", "ELU", {}), "sigmoid": ("y = Sigmoid(x)", "Sigmoid", {}),
    "tanh": ("y = Tanh(x)", "TanH", {}), "exp-log": ("e = Exp(x) y = Log(e)", "Exp Log", {}),
    "abs-sqrt": ("a = Abs(x) y = Sqrt(a)", "AbsVal Power", {}), "neg": ("y = Neg(x)", "Power", {}),
    "softplus": ("y = Softplus(x)", "BNLL", {}), "reciprocal": ("y = Reciprocal(x)", "Power", {}),
    "hard-sigmoid": ("y = HardSigmoid<alpha=0.3>(x)", "Power Clip", {}),
    "hard-swish": ("y = HardSwish(x)", "Power Clip Eltwise", {}),
    "clip6": ("y = Clip(x, a, b)", "ReLU6", {"a": np.float32(0), "b": np.float32(6)}),
    "clip": ("y = Clip(x, a, b)", "Clip", {"a": np.float32(-0.5), "b": np.float32(0.7)}),
    "clip-below": ("y = Clip(x, a)", "ReLU", {"a": np.float32(0)}),
    "clip-old": ("y = Clip<max=0.5>(x)", "Clip", {"opset": 7}),
    "softmax": ("y = Softmax<axis=1>(x)", "Softmax", {}), "softmax-last": ("y = Softmax(x)", "Softmax", {}),
    "softmax-old": ("y = Softmax(x)", "Softmax", {"opset": 9, "shape": (2, 5)}),
    "log-softmax": ("y = LogSoftmax<axis=1>(x)", "Softmax Log", {}),
    "lrn": ("y = LRN<size=3, alpha=0.3, beta=0.6, bias=1.5>(x)", "LRN", {}),
    "max-pool": ("y = MaxPool<kernel_shape=[3,2], strides=[2,2]>(x)", "Pooling", {}),
    "max-pool-floor": ("y = MaxPool<kernel_shape=[2,2], strides=[2,2]>(x)", "Pooling", {}),
    "max-pool-ceil": ("y = MaxPool<kernel_shape=[2,2], strides=[2,2], ceil_mode=1>(x)", "Pooling", {}),
    "max-pool-pads": ("y = MaxPool<kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1]>(x)", "Pooling", {}),
    "max-pool-pads-behind": ("y = MaxPool<kernel_shape=[3,3], strides=[2,2], pads=[0,0,1,1]>(x)", None, {}),
    "max-pool-pads-in-front": ("y = MaxPool<kernel_shape=[3,3], pads=[2,1,0,0]>(x)", None, {}),
    "max-pool-behind-two": ("y = MaxPool<kernel_shape=[3,3], pads=[0,0,2,2]>(x)", None, {}),
    "average-pool": ("y = AveragePool<kernel_shape=[3,2], strides=[2,2]>(x)", "Pooling", {}),
    "average-pool-pads": ("y = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1], count_include_pad=1>(x)", "Pooling", {}),
    "global-pools": ("a = GlobalAveragePool(x) b = GlobalMaxPool(x) y = Concat<axis=1>(a, b)", "Pooling Pooling Concat",
                     {}),
    "pad-conv": ("p = Pad(x, p0) y = Conv<pads=[1,0,1,0]>(p, w)", "Convolution",
                 {"p0": ints(0, 0, 1, 2, 0, 0, 1, 2), "w": W}),
    "pad-conv-uneven": ("p = Pad(x, p0) y = Conv<strides=[2,2]>(p, w)", None,
                        {"p0": ints(0, 0, 0, 0, 0, 0, 1, 1), "w": W}),
    "pad-old": ("p = Pad<pads=[0,0,1,1,0,0,1,1]>(x) y = Conv(p, w)", "Convolution", {"w": W, "opset": 9}),
    "pad-axes": ("p = Pad(x, p0, , axes) y = Conv(p, w)", "Convolution", {"p0": ints(1, 1), "axes": ints(-2), "w": W}),
    "pad-max-pool": ("r = Relu(x) p = Pad(r, p0) y = MaxPool<kernel_shape=[3,3], strides=[2,2]>(p)", None,
                     {"p0": AROUND}),
    "pad-average-pool": ("p = Pad(x, p0) y = AveragePool<kernel_shape=[3,3]>(p)", "Pooling",
                         {"p0": AROUND}),
    "pad-nothing": ("p = Pad(x, p0) y = Relu(p)", "ReLU", {"p0": ints(*[0] * 8)}),
    "add-sub-mul": ("r = Relu(x) a = Add(x, r) b = Sub(a, r) y = Mul(b, x)", "ReLU Eltwise Eltwise Eltwise", {}),
    "sum-max-mean": ("r = Neg(x) e = Abs(x) s = Sum(x, r, e) m = Max(x, r, e) y = Mean(s, m)",
                     "Power AbsVal Eltwise Eltwise Eltwise", {}),
    "numbers": ("a = Add(x, k) b = Mul(a, k) c = Sub(k, b) d = Div(c, k) e = Sub(d, k) f = Exp(e) y = Div(k, f)",
                "Power Power Power Power Power Exp Power Power", {"k": np.float32(1.7)}),
    "number-bounds": ("a = Max(x, k) b = Neg(k) n = Neg(a) y = Min(n, b)", None, {"k": np.float32(0.3)}),
    "channels": ("a = Mul(x, k) b = Add(a, k) c = Sub(k, b) y = Div(c, k)", None, {"k": np.abs(draw(4, 1, 1)) + 0.5}),
    "trailing": ("a = Add(x, k) y = Sub(a, k2)", "Bias Bias", {"k": draw(9, 8), "k2": draw(8)}),
    "gate": ("p = GlobalAveragePool(x) g = Sigmoid(p) y = Mul(x, g)", "Pooling Sigmoid Reshape Scale", {}),
    "shift-by-blob": ("p = GlobalMaxPool(x) a = Sub(x, p) y = Add(p, a)", None, {}),
    "one-number-blob": ("m = ReduceMean(x, k) y = Mul(m, x)", "Reduction Reshape Reshape Scale",
                        {"k": ints(0, 1, 2, 3)}),
    "power": ("a = Abs(x) y = Pow(a, k)", "AbsVal Power", {"k": np.float32(1.5)}),
    "reduce-mean-image": ("y = ReduceMean<keepdims=0>(x, k)", "Pooling Reshape", {"k": ints(2, 3)}),
    "reduce-mean-old": ("y = ReduceMean<axes=[-1,-2]>(x)", "Pooling", {"opset": 11}),
    "reduce-sums": ("a = ReduceSum(x, k) b = ReduceL1(x, k) c = ReduceSumSquare(x, k) d = ReduceMean(x, k) "
                    "y = Sum(a, b, c, d)", None, {"k": ints(1, 2, 3)}),
    "reduce-all": ("y = ReduceMean<keepdims=0>(x)", "Reduction", {}),
    "reshape": ("y = Reshape(x, k)", "Reshape", {"k": ints(0, 2, -1)}),
    "reshape-by-shape": ("s = Shape(x) n = Gather(s, zero) u = Unsqueeze(n, axis) t = Concat<axis=0>(u, rest) "
                         "y = Reshape(x, t)", "Reshape", {"zero": np.int64(0), "axis": ints(0), "rest": ints(-1)}),
    "flatten": ("y = Flatten(x)", "Reshape", {}), "flatten2": ("y = Flatten<axis=2>(x)", "Reshape", {}),
    "squeeze": ("u = Unsqueeze(x, k) s = Squeeze(u, k) y = Relu(s)", None, {"k": ints(1)}),
    "transpose": ("y = Transpose<perm=[0,2,3,1]>(x)", "Permute", {}),
    "transpose-nothing": ("t = Transpose<perm=[0,1,2,3]>(x) y = Relu(t)", "ReLU", {}),
    "split": ("a, b = Split<axis=1>(x, k) y = Concat<axis=-3>(b, a)", "Slice Concat", {"k": ints(1, 3)}),
    "slice": ("y = Slice(x, a, b, c)", None, {"a": ints(1, -3), "b": ints(3, 100), "c": ints(1, -1)}),
    "slice-old": ("y = Slice<starts=[0,2], ends=[9,5], axes=[0,2]>(x)", "Slice Silence Silence", {"opset": 9}),
    "identities": ("i = Identity(x) d, mask = Dropout(i) c = Cast<to=1>(d) y = Relu(c)", "ReLU", {}),
    "folded": ("k = Add(a, b) y = Mul(x, k)", "Scale", {"a": draw(4, 1, 1), "b": draw(4, 1, 1)}),
    "output-is-input": ("r = Relu(x) y = Identity(r)", "ReLU Power", {}),
    "unread": ("z = DepthToSpace<blocksize=2>(x) y = Relu(x)", "ReLU", {}),
    "resize-nearest": ('y = Resize<mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor">'
                       "(x, , k)", "Deconvolution", {"k": np.float32([1, 1, 2, 3])}),
    "resize-nearest-half-pixel": ("y = Resize(x, , k)", "Deconvolution", {"k": np.float32([1, 1, 3, 4])}),
    "resize-aligned": ('y = Resize<mode="linear", coordinate_transformation_mode="align_corners">(x, , , k)', "Interp",
                       {"k": ints(2, 4, 17, 11)}),
    "upsample-old": ('y = Upsample<mode="nearest">(x, k)', "Deconvolution",
                     {"k": np.float32([1, 1, 2, 2]), "opset": 9}),
}


@pytest.mark.parametrize("name", EXPRESSIBLE)
def test_operators(name, tmp_path):
    nodes, types, options = EXPRESSIBLE[name]
    net, found, expected = run_both(write(tmp_path / "m.onnx", nodes, **options), tmp_path / "net")
    if types is not None:
        kinds = [layer.type for layer in net.layers if layer.type not in ("Input", "Split")]
        assert sorted(kinds) == sorted(types.split())
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5 * np.abs(theirs).max())
    assert set(net.outputs) == {"y"}


REFUSED = {
    "op": ("y = DepthToSpace<blocksize=2>(x)", "DepthToSpace.*no Caffe layer", {}),
    "transpose-padding": ("y = ConvTranspose<strides=[2,2], output_padding=[1,1]>(x, w)", "output_padding",
                          {"w": draw(4, 3, 2, 2)}),
    "dynamic-weights": ("r = Reshape(x, k) y = MatMul(x, r)", "input 1 .r. is computed",
                        {"shape": (2, 2), "k": ints(2, 2)}),
    "average-exclude": ("y = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1]>(x)", "count_include_pad 0.*divides", {}),
    "dilated-pool": ("y = MaxPool<kernel_shape=[2,2], dilations=[2,2]>(x)", "dilations", {}),
    "pool-1d": ("y = MaxPool<kernel_shape=[2]>(x)", "1 spatial axes", {"shape": (1, 2, 8)}),
    "half-pixel": ('y = Resize<mode="linear">(x, , k)', "mode linear, coordinate_transformation_mode half_pixel",
                   {"k": np.float32([1, 1, 2, 2])}),
    "cubic": ('y = Resize<mode="cubic", coordinate_transformation_mode="align_corners">(x, , k)', "mode cubic",
              {"k": np.float32([1, 1, 2, 2])}),
    "nearest-part": ("y = Resize(x, , , k)", "whole factors", {"k": ints(2, 4, 13, 16)}),
    "reflect": ('p = Pad<mode="reflect">(x, k) y = Conv(p, w)', "mode reflect", {"k": AROUND, "w": W}),
    "pad-value": ("p = Pad(x, k, c) y = Conv(p, w)", "value 1", {"k": AROUND, "w": W,
                                                                "c": np.float32(1)}),
    "pad-read": ("p = Pad(x, k) y = Sigmoid(p)", "convolution and pooling", {"k": AROUND}),
    "pad-output": ("y = Pad(x, k)", "not read as an image", {"k": AROUND}),
    "pad-max": ("p = Pad(x, k) y = MaxPool<kernel_shape=[3,3]>(p)", "Pad of zeros", {"k": AROUND}),
    "pad-channels": ("p = Pad(x, k) y = Conv(p, w)", "only the spatial axes", {"k": ints(0, 1, 0, 0, 0, 1, 0, 0),
                                                                             "w": draw(2, 6, 3, 3)}),
    "old-softmax": ("y = Softmax(x)", "before opset 13", {"opset": 9}),
    "slope": ("y = PRelu(x, a)", "slope of shape", {"a": draw(4, 9, 8)}),
    "nothing": ("s = Slice(x, a, a) y = Relu(s)", "no elements", {"a": ints(1)}),
    "steps": ("y = Slice(x, a, b, c, d)", "steps", {"a": ints(0), "b": ints(9), "c": ints(2), "d": ints(2)}),
    "reduce-channels": ("y = ReduceMean(x, k)", "trailing axes", {"k": ints(1)}),
    "reduce-max": ("y = ReduceMax(x, k)", "maximum over an image alone", {"k": ints(3)}),
    "widening": ("y = Add(x, k)", "widens", {"k": draw(4, 9, 8), "shape": (1, 4, 1, 8)}),
    "middle": ("y = Mul(x, k)", "one run of axes", {"k": draw(4, 1, 8)}),
    "min-of-blobs": ("r = Neg(x) y = Min(x, r)", "Min of two blobs", {}),
    "gemm-transposed": ("y = Gemm<transA=1>(x, w)", "transA", {"shape": (3, 4), "w": draw(3, 2)}),
    "gemm-bias": ("y = Gemm(x, w, b)", "another bias for each item",
                  {"shape": (2, 3), "w": draw(3, 4), "b": draw(2, 4)}),
    "cast": ("i = Cast<to=7>(x) y = Cast<to=1>(i)", "from float32 to int64", {}),
    "random": ("y = RandomNormalLike(x)", "no Caffe layer", {}),
    "random-constant": ("r = RandomNormal<shape=[4,1,1]>() y = Mul(x, r)", "RandomNormal.*no Caffe layer", {}),
    "constant-output": ("y = Add(k, k)", "does not depend", {"k": draw(3)}),
    "constant-concat": ("y = Concat<axis=1>(x, k)", "is constant", {"k": draw(2, 1, 9, 8)}),
    "mask": ("d, m = MaxPool<kernel_shape=[2,2]>(x) f = Cast<to=1>(m) y = Add(d, f)", "only its first output", {}),
    "foreign": ("y = com.somebody.Thing(x)", "domain 'com.somebody'", {}),
    "control-flow": ("y = If<then_branch = t () => (float[1] a) { a = Identity(k) }, "
                     "else_branch = e () => (float[1] b) { b = Neg(k) }>(c)", "a graph of its own",
                     {"c": np.array(True), "k": draw(1)}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_exact_equivalent_is_refused(name, tmp_path):
    nodes, words, options = REFUSED[name]
    path = write(tmp_path / "m.onnx", nodes, **options)
    if name == "foreign":
        model = onnx.load(path)
        model.opset_import.add(domain="com.somebody", version=1)
        onnx.save(model, path)
    with pytest.raises(NetError, match=words) as error:
        import_onnx(path)
    assert error.value.help and "m.onnx" in str(error.value)


PAIR = st.tuples(st.integers(1, 4), st.integers(1, 4))
ZEROS = st.tuples(*[st.integers(0, 3)] * 4)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(op=st.sampled_from(["Conv", "ConvTranspose", "MaxPool", "AveragePool"]), kernel=PAIR, stride=PAIR, pads=ZEROS,
       around=ZEROS, size=st.tuples(st.integers(4, 9), st.integers(4, 9)), flags=st.tuples(*[st.integers(0, 1)] * 3))
def test_any_window_is_exact_or_refused(op, kernel, stride, pads, around, size, flags):
    """Convolutions and maxima have an equivalent for all pads; averages and transposes are never wrong."""
    kernel, stride, pads = map(list, (kernel, stride, pads))
    common, constants = f"strides={stride}, pads={pads}", {}
    if "Conv" in op:
        constants["w"] = draw(2, 2, *kernel)
        more = f", dilations=[{1 + flags[0]}, {1 + flags[1]}]" if op == "Conv" else ""
        nodes = f"y = {op}<{common}{more}>(x, w)"
    else:
        more = f", count_include_pad={flags[1]}" if op == "AveragePool" else ""
        nodes = f"y = {op}<kernel_shape={kernel}, {common}, ceil_mode={flags[0]}{more}>(x)"
    if flags[2] and op == "Conv":
        nodes = "p = Pad(x, q) " + nodes.replace("(x", "(p")
        constants["q"] = ints(0, 0, *around[:2], 0, 0, *around[2:])
    with tempfile.TemporaryDirectory() as folder:
        try:
            path = write(Path(folder) / "m.onnx", nodes, shape=(1, 2, *size), **constants)
            imported = import_onnx(path)   # raises when it differs from onnxruntime
            assert imported.differences["y"] < 1e-5
        except onnx.shape_inference.InferenceError:
            pass   # no window fits
        except NetError as problem:
            assert "onnxruntime" in str(problem) or (op in ("AveragePool", "ConvTranspose")
                                                     and "exact equivalent" in str(problem))


def test_all_nodes_without_equivalent_are_listed_at_once(tmp_path):
    path = write(tmp_path / "m.onnx", "a = Relu(x) b = Hardmax(a) c = Round(b) d = Sin(c) "
                 "y = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1]>(d)")
    with pytest.raises(NetError, match="4 of its nodes") as error:
        import_onnx(path)
    lines = str(error.value).splitlines()
    assert [line.split("(")[1].split(")")[0] for line in lines if line.startswith("  node")] == [
        "Hardmax", "Round", "Sin", "AveragePool"]


class Residual(torch.nn.Module):
    """Convolution, normalisation, a gated shortcut, pooling that rounds up, fully connected."""

    def __init__(self):
        super().__init__()
        self.stem = torch.nn.Sequential(torch.nn.Conv2d(3, 6, 3, 2, 1, bias=False), torch.nn.BatchNorm2d(6),
                                        torch.nn.ReLU6())
        self.branch = torch.nn.Sequential(torch.nn.Conv2d(6, 6, 3, padding=1, groups=3), torch.nn.PReLU(6))
        self.gate = torch.nn.Conv2d(6, 6, 1)
        self.fc = torch.nn.Linear(6 * 9, 5)

    def forward(self, x):
        x = self.stem(x)
        y = self.branch(x)
        x = x + y * torch.sigmoid(self.gate(y.mean((2, 3), keepdim=True)))
        x = torch.nn.functional.max_pool2d(x, 3, 2, ceil_mode=True)
        return torch.log_softmax(self.fc(x.flatten(1)), 1)


@pytest.mark.filterwarnings("ignore")   # the exporters' own
@pytest.mark.parametrize("dynamo", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_what_pytorch_exports(dynamo, tmp_path, capsys):
    torch.manual_seed(0)
    module = Residual()
    module(torch.randn(16, 3, 12, 12))   # statistics of the normalisation
    path = tmp_path / "m.onnx"
    torch.onnx.export(module.eval(), (torch.randn(1, 3, 12, 12),), str(path), dynamo=dynamo, verbose=False,
                      **({"external_data": False} if dynamo else {}))
    net, found, expected = run_both(path, tmp_path / "net")
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5, atol=1e-6)
    x = torch.randn(1, 3, 12, 12)
    with torch.no_grad():
        np.testing.assert_allclose(*net.forward(**{net.inputs[0]: x.numpy()}).values(), module(x), rtol=1e-4, atol=1e-5)


def test_a_net_goes_to_onnx_and_back(tmp_path):
    onnx_export = pytest.importorskip("caffe.convert.onnx_export")
    (tmp_path / "net.prototxt").write_text("""
    layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 11 dim: 10 } } }
    layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param {
      num_output: 4 kernel_size: 3 stride: 2 pad: 1 weight_filler { type: "xavier" } } }
    layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" relu_param { negative_slope: 0.1 } }
    layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool" pooling_param { kernel_size: 2 stride: 2 } }
    layer { name: "norm" type: "LRN" bottom: "pool" top: "norm" lrn_param { local_size: 3 alpha: 0.5 } }
    layer { name: "up" type: "Deconvolution" bottom: "norm" top: "up" convolution_param {
      num_output: 3 kernel_size: 4 stride: 2 pad: 1 weight_filler { type: "gaussian" std: 1 } } }
    layer { name: "ip" type: "InnerProduct" bottom: "up" top: "ip" inner_product_param {
      num_output: 5 weight_filler { type: "xavier" } } }
    layer { name: "prob" type: "Softmax" bottom: "ip" top: "prob" }""")
    caffe.set_random_seed(1)
    net = caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST)
    onnx_export.export_onnx(net, str(tmp_path / "m.onnx"))
    back = caffe.Net(*import_onnx(tmp_path / "m.onnx").write(tmp_path / "back"), caffe.TEST)
    assert (back.inputs, back.outputs) == (net.inputs, net.outputs)
    x = draw(2, 3, 11, 10)
    np.testing.assert_allclose(back.forward(data=x)["prob"], net.forward(data=x)["prob"], rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(next(iter(back.params.values()))[0].data, net.params["conv"][0].data)


def test_open_dimensions_need_a_shape(tmp_path):
    path = write(tmp_path / "m.onnx", "y = Conv(x, w)", shape=("N", 4, "H", "W"), w=W)
    with pytest.raises(ShapeError, match="open dimensions.*N.*H"):
        import_onnx(path)
    net, found, expected = run_both(path, tmp_path / "net", (2, 4, 7, 6))
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-4, atol=1e-5)
    for shape in ((2, 5, 7, 6), (2, 4, 7), (0, 4, 7, 6), (10**6, 4, 10**6, 10**6)):
        with pytest.raises(ShapeError):
            import_onnx(path, shape)
    with pytest.raises(NetError, match="onnxruntime"):   # the kernel does not fit
        import_onnx(path, (1, 4, 1, 1))


def test_two_inputs_and_a_reshaped_batch(tmp_path):
    path = write(tmp_path / "m.onnx", "a = Mul(x, k) b = Add(a, z) p = GlobalAveragePool(b) y = Flatten(p)",
                 inputs={"x": (1, 3, 5, 4), "z": (1, 3, 5, 4)}, k=draw(3, 1, 1))
    net, found, expected = run_both(path, tmp_path / "net")
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-4, atol=1e-6)
    for name in net.inputs:
        net.blobs[name].reshape(4, 3, 5, 4)
    assert net.forward()["y"].shape == (4, 3)


def test_files_that_must_not_be_read(tmp_path):
    whole = write(tmp_path / "m.onnx", "y = Conv(x, w)", w=W)
    onnx.save(onnx.load(whole), tmp_path / "e.onnx", save_as_external_data=True, location="e.data", size_threshold=0)
    with pytest.raises(NetError, match="other files"):
        import_onnx(tmp_path / "e.onnx")
    with pytest.raises(NetError, match="is not there"):
        import_onnx(tmp_path / "absent.onnx")
    for content in (b"", b"PK\x03\x04", b"\xff" * 100, whole.read_bytes()[:-5], b"<html>"):
        (tmp_path / "b.onnx").write_bytes(content)
        with pytest.raises(NetError):
            import_onnx(tmp_path / "b.onnx")
    with pytest.raises(NetError, match="float32"):
        model = onnx.load(whole)
        model.graph.input[0].type.tensor_type.elem_type = 11
        onnx.save(model, whole)
        import_onnx(whole)


@pytest.mark.parametrize("nodes", [
    "k = ConstantOfShape(n) y = Mul(x, k)", "k = Expand(c, n) y = Mul(x, k)", "k = Tile(x, n) y = Relu(k)",
    "k = Resize(x, , , n) y = Relu(k)", "k = Pad(x, p) y = Conv(k, w)"])
def test_claims_of_terabytes_are_refused_at_once(nodes, tmp_path):
    huge = ints(0, 0, 10**6, 10**6, 0, 0, 10**6, 10**6)
    names = {"c": np.float32(1), "n": ints(2, 4, 10**6, 10**6), "p": huge, "w": W}
    path = write(tmp_path / "m.onnx", nodes, **names)
    with pytest.raises(CaffeError, match="memory|exact equivalent"):
        import_onnx(path)


def test_damaged_files_raise_our_errors(tmp_path):
    path = write(tmp_path / "m.onnx", "c = Conv<pads=[1,1,1,1]>(x, w, b) r = Relu(c) "
                 "p = MaxPool<kernel_shape=[2,2], strides=[2,2]>(r) s = Shape(p) n = Slice(s, zero, one) "
                 "t = Concat<axis=0>(n, rest) y = Reshape(p, t)", w=W, b=BIAS, zero=ints(0), one=ints(1), rest=ints(-1))
    whole, damage = path.read_bytes(), np.random.default_rng(0)
    refused = 0
    for _ in range(200):
        data = bytearray(whole)
        for at in damage.integers(len(data), size=3):
            data[at] = damage.integers(256)
        path.write_bytes(data)
        try:
            import_onnx(path)
        except CaffeError:
            refused += 1
    assert refused > 50
