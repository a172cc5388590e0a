"""Caffemodels and solver states without copies: the same messages as protobuf's own reader and writer give."""
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import caffe
from caffe.errors import WeightsError
from caffe.proto import blobs, caffe_pb2, wire

pytestmark = pytest.mark.tiny
# not the largest numbers: twice them is more than a float32 holds, and NumPy warns
VALUES = st.floats(-(2.0**100), 2.0**100, width=32) | st.sampled_from([np.inf, -np.inf, np.nan])
ARRAYS = hnp.arrays(np.float32, hnp.array_shapes(min_dims=0, max_dims=4, max_side=5), elements=VALUES)


@settings(max_examples=60, deadline=None)
@given(st.lists(ARRAYS, max_size=3), st.booleans())
def test_pieces_are_the_message_that_protobuf_makes(arrays, with_diff):
    expected, pieces = caffe_pb2.LayerParameter(), []
    for array in arrays:
        diff = array * 2 if with_diff else None
        pieces += wire.field(7, wire.blob(array, diff))
        expected.blobs.append(blobs.array_blob(array, diff, fast=False))
    assert b"".join(map(bytes, pieces)) == expected.SerializeToString()


@settings(max_examples=60, deadline=None)
@given(ARRAYS, ARRAYS, st.sampled_from(["layer", "layers", "old"]))
def test_an_outline_and_its_file_hold_what_the_file_holds(first, second, where):
    net = caffe_pb2.NetParameter(name="net", input_dim=[1, 2])
    layer = getattr(net, "layer" if where == "layer" else "layers").add()
    if where == "old":
        layer = layer.layer
    layer.name = "a"
    layer.blobs.append(blobs.array_blob(first, fast=False))
    one = layer.blobs.add(double_data=second.ravel().tolist())
    one.shape.dim.extend(second.shape)
    one = layer.blobs.add(num=1, channels=1, height=1, width=2, raw_data=b"\0\x3c\0\xc0", raw_data_type=2)
    data = net.SerializeToString()
    light = wire.outline(data, "NetParameter")
    found = blobs.NetParameter.FromString(light)
    layer = found.layer[0] if where == "layer" else found.layers[0].layer if where == "old" else found.layers[0]
    assert (found.name, list(found.input_dim), layer.name) == ("net", [1, 2], "a")
    for blob, array in zip(layer.blobs, [first, second, np.float32([[[[1, -2]]]])], strict=True):
        np.testing.assert_array_equal(blobs.blob_array(blob, store=data), array)


def packed(net):
    return net.SerializeToString()


UNUSUAL = {
    "cut short": packed(caffe_pb2.NetParameter(name="longer"))[:-1],
    "a length past the end": b"\xa2\x06\x7fabc",
    "a group": b"\x0b\x0c",
    "a number without end": b"\x80" * 50,
    "numbers one by one": wire.varint(100 << 3 | 2) + b"\x08\x3a\x06\x2d\0\0\x80\x3f\x2d",
    "an array in two parts": b"".join(wire.field(100, wire.field(7, [*wire.field(5, [bytes(4)]) * 2]))),
    "too many fields to look at": b"\x0a\x00" * 300_000,
}


@pytest.mark.parametrize("name", UNUSUAL)
def test_what_is_unusual_is_left_to_protobuf(name):
    assert wire.outline(UNUSUAL[name], "NetParameter") is None


def test_a_handle_in_a_file_is_an_array_like_any_other(tmp_path):
    """16 bytes that look as if they said where an array lies are four numbers."""
    trap = np.frombuffer(np.uint64([0, 2**40]).tobytes(), np.float32)
    net = caffe_pb2.NetParameter()
    layer = net.layer.add(name="ip", type="InnerProduct")
    layer.blobs.append(blobs.array_blob(trap.reshape(2, 2), fast=False))
    (tmp_path / "w.caffemodel").write_bytes(net.SerializeToString())
    (tmp_path / "n.prototxt").write_text(
        'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 2 } } }\n'
        'layer { name: "ip" type: "InnerProduct" bottom: "x" top: "y" '
        "inner_product_param { num_output: 2 bias_term: false } }")
    built = caffe.Net(str(tmp_path / "n.prototxt"), caffe.TEST, weights=str(tmp_path / "w.caffemodel"))
    assert built.params["ip"][0].data.tobytes() == trap.tobytes()


def test_saved_nets_are_read_by_protobuf_and_back(tmp_path):
    (tmp_path / "n.prototxt").write_text("""name: "é"
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 dim: 5 dim: 5 } } }
layer { name: "c" type: "Convolution" bottom: "x" top: "y" convolution_param { num_output: 2 kernel_size: 3
  weight_filler { type: "gaussian" } } include { not_stage: "z" } }""")
    net = caffe.Net(str(tmp_path / "n.prototxt"), caffe.TEST)
    net.save(str(tmp_path / "w.caffemodel"))
    message = caffe_pb2.NetParameter.FromString((tmp_path / "w.caffemodel").read_bytes())
    assert message.name == "é" and [layer.name for layer in message.layer] == ["x", "c"]
    layer = message.layer[1]
    assert layer.include[0].not_stage == ["z"] and layer.convolution_param.num_output == 2
    for blob, saved in zip(net.params["c"], layer.blobs, strict=True):
        np.testing.assert_array_equal(blobs.blob_array(saved), blob.data)


def test_a_message_above_protobufs_limit(tmp_path):
    zeros = np.broadcast_to(np.uint8(0), (2**31,))      # no memory
    with pytest.raises(WeightsError, match="2 GiB"):
        blobs.write_pieces([zeros], tmp_path / "w")
    assert not list(tmp_path.iterdir())
