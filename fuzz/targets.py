"""The readers that files from strangers reach: one target each, with sound inputs to start from.

A target takes the path of the input. It may return or raise a `caffe.CaffeError`; anything else is a fault.
"""
from __future__ import annotations

import functools
import io
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import onnx
import safetensors.numpy
from google.protobuf import text_format
from PIL import Image

import caffe
from caffe.convert.onnx_import import import_onnx
from caffe.convert.torchvision_import import import_torchvision
from caffe.data import datum
from caffe.data.lmdb_writer import LmdbWriter
from caffe.layer import layer_class
from caffe.proto import blobs, caffe_pb2, schema, text
from caffe.proto.proto_fields import own_param
from caffe.solvers import snapshot

NET = """name: "tiny"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 8 dim: 8 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" param { lr_mult: 1 decay_mult: 1 }
  convolution_param { num_output: 4 kernel_size: 3 pad: 1 stride: 1 weight_filler { type: "xavier" } } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" relu_param { negative_slope: 0.1 } }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool" pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
layer { name: "fc" type: "InnerProduct" bottom: "pool" top: "fc" inner_product_param { num_output: 5 } }
"""
MORE_NETS = (
    """layer { name: "d" type: "DummyData" top: "a" top: "b" dummy_data_param { num: 2 channels: 3 height: 4 width: 5
  data_filler { type: "gaussian" std: 1 } } include { phase: TEST not_stage: "y" min_level: 0 } }
layer { name: "c" type: "Concat" bottom: "a" bottom: "b" top: "c" concat_param { axis: 1 } }
layer { name: "s" type: "Slice" bottom: "c" top: "s1" top: "s2" slice_param { axis: 1 slice_point: 2 } }
layer { name: "r" type: "Reshape" bottom: "s1" top: "r" reshape_param { shape { dim: 0 dim: -1 } axis: 0 } }
layer { name: "e" type: "Scale" bottom: "r" top: "e" scale_param { axis: 1 num_axes: 1 bias_term: true } }
layer { name: "t" type: "Tile" bottom: "s2" top: "t" tile_param { axis: 1 tiles: 3 } }
layer { name: "m" type: "Reduction" bottom: "t" top: "m" loss_weight: 1 reduction_param { operation: SUM axis: 0 } }
""",
    """input: "x" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 8
layers { name: "up" type: DECONVOLUTION bottom: "x" top: "up" blobs_lr: 0 weight_decay: 0
  convolution_param { num_output: 3 group: 3 kernel_size: 4 stride: 2 weight_filler { type: "bilinear" } } }
layers { name: "crop" type: LRN bottom: "up" top: "n" lrn_param { local_size: 5 norm_region: WITHIN_CHANNEL } }
layers { name: "p" type: SOFTMAX bottom: "n" top: "p" softmax_param { axis: 1 } }
""",
    """input: "x" input_dim: 2 input_dim: 3 input_dim: 9 input_dim: 9
layers { layer { name: "pad" type: "padding" pad: 1 } bottom: "x" top: "pad" }
layers { layer { name: "c" type: "conv" num_output: 4 kernelsize: 3 stride: 1 group: 1 biasterm: true
  weight_filler { type: "gaussian" std: 0.1 } blobs_lr: 1. blobs_lr: 2. } bottom: "pad" top: "c" }
layers { layer { name: "q" type: "pool" pool: AVE kernelsize: 3 stride: 2 } bottom: "c" top: "q" }
""",
    """input: "x" input_shape { dim: 4 dim: 2 dim: 6 } input: "cont" input_shape { dim: 4 dim: 2 }
layer { name: "l" type: "LSTM" bottom: "x" bottom: "cont" top: "l" recurrent_param { num_output: 3 } }
layer { name: "e" type: "Embed" bottom: "cont" top: "e" embed_param { num_output: 3 input_dim: 7 } }
layer { name: "f" type: "Flatten" bottom: "x" top: "f" flatten_param { axis: 1 end_axis: -1 } }
layer { name: "i" type: "Parameter" top: "w" parameter_param { shape { dim: 3 dim: 2 } } param { name: "w" } }
""",
)
SOLVER = """base_lr: 0.01 lr_policy: "multistep" gamma: 0.1 stepvalue: 10 stepvalue: 20
momentum: 0.9 weight_decay: 0.0005 max_iter: 30 test_iter: 1 test_interval: 10 display: 5 iter_size: 2
snapshot: 10 snapshot_prefix: "s" solver_mode: CPU type: "Adam" momentum2: 0.99 delta: 1e-8 random_seed: 7
%s
"""
UNSAFE = {"HDF5Output", "Python"}   # one writes files, the other runs what the machine has
SOLVER_NETS = (
    'net: "tiny.prototxt"',
    'net_param { layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 2 } } } }',
)
ROWS = 'layer { name: "d" type: "HDF5Data" top: "data" top: "label" hdf5_data_param { source: "%s" batch_size: 2 } }'
RECORDS = """layer { name: "d" type: "Data" top: "data" top: "label"
  data_param { source: "%s" backend: LMDB batch_size: 1 } }"""
IMAGES = """layer { name: "d" type: "ImageData" top: "data" top: "label" image_data_param { source: "%s" batch_size: 1
  new_height: 4 new_width: 4 } }"""


@dataclass(frozen=True)
class Target:
    """`read` takes the path of an input, `corpus` makes sound ones; `words` may replace words in them."""

    read: Callable[[Path], object]
    corpus: Callable[[], list[bytes]]
    suffix: str = ""
    words: Callable[[], list[bytes]] = list
    messages: Callable[[], list[Any]] = list      # sound messages, of which `encode` makes inputs
    encode: Callable[[Any], bytes] = bytes


def schema_words() -> list[bytes]:
    """Field names, enum values and layer types: what a prototxt is made of."""
    words = set(caffe.layer_type_list())
    for message in schema.MESSAGES.values():
        words.update(field.name for field in message.DESCRIPTOR.fields)
        words.update(value.name for enum in message.DESCRIPTOR.enum_types for value in enum.values)
    return sorted(word.encode() for word in words - UNSAFE)


# ------------------------------------------------------------------ text
def net_prototxt(path: Path) -> None:
    text.load_net(path)


def net_build(path: Path) -> None:
    caffe.Net(str(path), caffe.TEST)


def solver_prototxt(path: Path) -> None:
    _solver()   # writes the net that the solvers name
    caffe.get_solver(str(path))


def net_texts() -> list[bytes]:
    return [net.encode() for net in (NET, *MORE_NETS)]


def to_text(message: Any) -> bytes:
    return text_format.MessageToString(message).encode()


def to_bytes(message: Any) -> bytes:
    return message.SerializePartialToString()


def net_messages() -> list[Any]:
    """The nets above, and one for every layer type."""
    found = [text_format.Parse(net, caffe_pb2.NetParameter()) for net in (NET, *MORE_NETS)]
    for name in sorted(set(caffe.layer_type_list()) - UNSAFE):
        least = layer_class(name).bottoms
        least = least if isinstance(least, int) else least[0]
        net = caffe_pb2.NetParameter(force_backward=True)
        for i in range(least):
            net.layer.add(name=f"x{i}", type="Input", top=[f"x{i}"]).input_param.shape.add(dim=[2, 3, 8, 8])
        layer = net.layer.add(name="y", type=name, bottom=[f"x{i}" for i in range(least)], top=["y"])
        try:   # empty settings, as a place to put values
            getattr(own_param(layer), "SetInParent", lambda: None)()
        except caffe.CaffeError:
            pass
        found.append(net)
    return found


def solver_messages() -> list[Any]:
    return [text_format.Parse(SOLVER % net, caffe_pb2.SolverParameter()) for net in SOLVER_NETS]


# ------------------------------------------------------------------ weights and solver states
@functools.cache
def _solver() -> caffe.SGDSolver:
    folder = Path.cwd()
    (folder / "tiny.prototxt").write_text(NET)
    (folder / "solver.prototxt").write_text(
        'net: "tiny.prototxt" base_lr: 0.1 lr_policy: "fixed" momentum: 0.9 max_iter: 5 snapshot_prefix: "tiny"')
    caffe.set_random_seed(1)
    return caffe.SGDSolver("solver.prototxt")


def caffemodel(path: Path) -> None:
    _solver().net.copy_from(path)
    text.read_caffemodel(path)


def solverstate(path: Path) -> None:
    _solver().restore(str(path))


def sidecar(path: Path) -> None:
    state = Path("sidecar.solverstate")
    if not state.exists():
        state.write_bytes(_state())
    Path(f"{state}.json").write_bytes(path.read_bytes())
    _solver().restore(str(state))


def mean(path: Path) -> None:
    blobs.read_blob(path)


def _state(hdf5: bool = False) -> bytes:
    return _files(hdf5)[1]


@functools.cache
def _files(hdf5: bool) -> tuple[bytes, bytes, bytes]:
    """Weights, solver state and its JSON, as a solver writes them."""
    solver = _solver()
    solver.param.snapshot_format = int(not hdf5)   # HDF5 is 0, BINARYPROTO 1
    written = Path(snapshot.write(solver))
    weights = Path(str(written).replace("solverstate", "caffemodel"))
    found = (weights.read_bytes(), written.read_bytes(), Path(f"{written}.json").read_bytes())
    return found


def caffemodels() -> list[bytes]:
    plain, _, _ = _files(False)
    old = caffe_pb2.NetParameter(name="old")
    layer = old.layers.add(name="fc", type=caffe_pb2.V1LayerParameter.INNER_PRODUCT, bottom=["data"], top=["fc"],
                           blobs_lr=[1, 2], weight_decay=[1, 0])
    layer.blobs.add(num=1, channels=1, height=5, width=64, data=[0.5] * 320)
    layer.blobs.add(double_data=[1, 2, 3, 4, 5]).shape.dim.append(5)
    halves = caffe_pb2.NetParameter(name="NVCaffe")
    layer = halves.layer.add(name="fc", type="InnerProduct", bottom=["data"], top=["fc"])
    for kind, shape in (("<f2", (5, 64)), ("<f8", (5,))):
        blob = layer.blobs.add(raw_data_type=2 if kind == "<f2" else 0, raw_data=np.ones(shape, kind).tobytes())
        blob.shape.dim.extend(shape)
    return [plain, old.SerializeToString(), halves.SerializeToString()]


def mean_images() -> list[bytes]:
    image = blobs.array_blob(np.arange(48, dtype=np.float32).reshape(1, 3, 4, 4), fast=False)
    old = caffe_pb2.BlobProto(num=1, channels=1, height=2, width=3, data=range(6))
    return [image.SerializeToString(), old.SerializeToString()]


# ------------------------------------------------------------------ data
def datum_message(path: Path) -> None:
    datum.array(datum.parse(path.read_bytes()))


def datums() -> list[bytes]:
    raw = caffe_pb2.Datum(channels=3, height=4, width=5, label=7, data=bytes(60))
    floats = caffe_pb2.Datum(channels=1, height=2, width=2, float_data=[1, 2, 3, 4])
    encoded = [caffe_pb2.Datum(encoded=True, data=image) for image in images()]
    return [message.SerializeToString() for message in (raw, floats, *encoded)]


def images() -> list[bytes]:
    pixels = np.arange(8 * 9 * 3, dtype=np.uint8).reshape(8, 9, 3)
    found = []
    for kind in ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP"):
        with io.BytesIO() as file:
            Image.fromarray(pixels).save(file, kind)
            found.append(file.getvalue())
    return found


def lmdb_record(path: Path) -> None:
    """The input is a record, and its beginning the key."""
    content = path.read_bytes()
    with tempfile.TemporaryDirectory(dir=".") as folder:
        with LmdbWriter(f"{folder}/records") as out:
            out.put(content[:511] or b"0", content)
        _net_of(RECORDS, f"{folder}/records")


def _net_of(template: str, source: str) -> None:
    listed = Path("source.prototxt")
    listed.write_text(template % source)
    caffe.Net(str(listed), caffe.TEST).forward()


def hdf5_data(path: Path) -> None:
    Path("rows.txt").write_text(f"{path}\n")
    _net_of(ROWS, "rows.txt")


def hdf5_list(path: Path) -> None:
    Path("rows.h5").write_bytes(rows()[0])
    _net_of(ROWS, str(path))


def image_list(path: Path) -> None:
    Path("a.png").write_bytes(images()[1])
    _net_of(IMAGES, str(path))


def onnx_file(path: Path) -> None:
    import_onnx(path)


def onnx_graphs() -> list[Any]:
    values = np.random.default_rng(1)
    weights = [onnx.numpy_helper.from_array(values.normal(size=shape).astype(np.float32), name)
               for name, shape in (("w", (4, 3, 3, 3)), ("b", (4,)), ("fc", (64, 5)))]
    nodes = [onnx.helper.make_node("Conv", ["x", "w", "b"], ["c"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
             onnx.helper.make_node("Relu", ["c"], ["r"]),
             onnx.helper.make_node("MaxPool", ["r"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
             onnx.helper.make_node("Flatten", ["p"], ["f"]), onnx.helper.make_node("Gemm", ["f", "fc"], ["y"])]
    sides = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
             for name, shape in (("x", (1, 3, 8, 8)), ("y", (1, 5)))]
    graph = onnx.helper.make_graph(nodes, "tiny", sides[:1], sides[1:], weights)
    return [onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)]


def safetensors_file(path: Path) -> None:
    """No small file is one of the nets that are known, so a sound one is refused too, by the names in it."""
    try:
        import_torchvision(path)
    except caffe.WeightsError:
        pass


def rows() -> list[bytes]:
    found = []
    for settings in ({}, {"chunks": True, "compression": "gzip"}):
        with io.BytesIO() as file:
            with h5py.File(file, "w") as f:
                f.create_dataset("data", data=np.arange(24, dtype=np.float32).reshape(4, 6), **settings)
                f.create_dataset("label", data=np.arange(4, dtype=np.int64), **settings)
            found.append(file.getvalue())
    return found


TARGETS = {
    "net_prototxt": Target(net_prototxt, net_texts, ".prototxt", schema_words),
    "net_build": Target(net_build, net_texts, ".prototxt", schema_words, net_messages, to_text),
    "solver_prototxt": Target(solver_prototxt, lambda: [(SOLVER % net).encode() for net in SOLVER_NETS], ".prototxt",
                              schema_words, solver_messages, to_text),
    "caffemodel": Target(caffemodel, caffemodels, ".caffemodel", list,
                         lambda: [caffe_pb2.NetParameter.FromString(data) for data in caffemodels()], to_bytes),
    "caffemodel_hdf5": Target(lambda path: _solver().net.copy_from(path), lambda: [_files(True)[0]], ".caffemodel.h5"),
    "solverstate": Target(solverstate, lambda: [_state()], ".solverstate", list,
                          lambda: [caffe_pb2.SolverState.FromString(_state())], to_bytes),
    "solverstate_hdf5": Target(solverstate, lambda: [_state(True)], ".solverstate.h5"),
    "sidecar": Target(sidecar, lambda: [_files(False)[2]], ".solverstate.json",
                      lambda: [b"train", b"test", b"random", b"losses", b"cuda", b"NaN", b"null", b"conv"]),
    "mean": Target(mean, mean_images, ".binaryproto", list,
                   lambda: [caffe_pb2.BlobProto.FromString(data) for data in mean_images()], to_bytes),
    "datum": Target(datum_message, datums, "", list,
                    lambda: [caffe_pb2.Datum.FromString(data) for data in datums()], to_bytes),
    "lmdb_record": Target(lmdb_record, datums, "", list,
                          lambda: [caffe_pb2.Datum.FromString(data) for data in datums()], to_bytes),
    "hdf5_data": Target(hdf5_data, rows, ".h5"),
    "onnx": Target(onnx_file, lambda: [to_bytes(model) for model in onnx_graphs()], ".onnx", list, onnx_graphs,
                   to_bytes),
    "safetensors": Target(safetensors_file, lambda: [safetensors.numpy.save(
        {name: np.ones((4, 3), np.float32) for name in ("features.0.weight", "features.0.bias")})], ".safetensors"),
    "hdf5_list": Target(hdf5_list, lambda: [b"rows.h5\nrows.h5\n"], ".txt", lambda: [b"rows", b"source", b"/"]),
    "image_list": Target(image_list, lambda: [b"a.png 0\na.png 3\n"], ".txt", lambda: [b"a.png", b"/", b"source"]),
}


def forbid_python_layers() -> None:
    """No input may choose code to run."""
    os.environ["CAFFE_PYTHON_LAYERS"] = "none"
