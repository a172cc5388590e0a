"""The upgrade commands: files of 2013 and 2014 become files of today that Caffe's schema reads without upgrading."""
import numpy as np
import pytest
from google.protobuf import text_format

import caffe
from caffe.proto import caffe_pb2

pytestmark = pytest.mark.unit

V0 = """
input: "data" input_dim: 1 input_dim: 3 input_dim: 9 input_dim: 9
layers { layer { name: "pad" type: "padding" pad: 2 } bottom: "data" top: "pad" }
layers { layer { name: "conv" type: "conv" num_output: 4 kernelsize: 5 blobs_lr: 1. blobs_lr: 2. }
  bottom: "pad" top: "conv" }
"""
V1 = """
layers { name: "ip" type: INNER_PRODUCT bottom: "x" top: "ip" blobs_lr: 3 inner_product_param { num_output: 2 }
  blobs { num: 1 channels: 1 height: 2 width: 3 data: [1, 2, 3, 4, 5, 6] } }
"""


def test_net_of_2013(command, tmp_path):
    (tmp_path / "old.prototxt").write_text(V0)
    status, said = command("upgrade_net_proto_text", "old.prototxt", "new.prototxt")
    assert status == 0 and "Wrote upgraded NetParameter text proto to new.prototxt" in said
    net = text_format.Parse((tmp_path / "new.prototxt").read_text(), caffe_pb2.NetParameter())
    assert not net.layers and not net.input and [layer.type for layer in net.layer] == ["Input", "Convolution"]
    conv = net.layer[1]
    assert list(conv.convolution_param.pad) == [2] and [p.lr_mult for p in conv.param] == [1, 2]
    assert caffe.Net("new.prototxt", caffe.TEST).blobs["conv"].data.shape == (1, 4, 9, 9)


def test_caffemodel_of_2014(command, tmp_path):
    (tmp_path / "old.caffemodel").write_bytes(
        text_format.Parse(V1, caffe_pb2.NetParameter()).SerializeToString())
    status, said = command("upgrade_net_proto_binary", "old.caffemodel", "new.caffemodel")
    assert status == 0 and "binary proto to new.caffemodel" in said
    net = caffe_pb2.NetParameter.FromString((tmp_path / "new.caffemodel").read_bytes())
    assert not net.layers and net.layer[0].type == "InnerProduct" and net.layer[0].param[0].lr_mult == 3
    np.testing.assert_array_equal(net.layer[0].blobs[0].data, [1, 2, 3, 4, 5, 6])


def test_solver(command, tmp_path):
    (tmp_path / "s.prototxt").write_text('net: "n" base_lr: 0.1 solver_type: ADAM')
    assert command("upgrade_solver_proto_text", "s.prototxt", "s.prototxt")[0] == 0   # onto itself
    solver = text_format.Parse((tmp_path / "s.prototxt").read_text(), caffe_pb2.SolverParameter())
    assert solver.type == "Adam" and not solver.HasField("solver_type") and not solver.HasField("snapshot_prefix")


@pytest.mark.parametrize("kind, text", [("net_proto_text", 'name: "n"'), ("solver_proto_text", "base_lr: 0.5")])
def test_a_file_of_today_is_written_as_it_is(command, tmp_path, kind, text):
    (tmp_path / "in").write_text(text)
    status, said = command(f"upgrade_{kind}", "in", "out")
    assert status == 0 and "already in latest proto format: in" in said
    assert (tmp_path / "out").read_text().split() == text.split()


@pytest.mark.parametrize("kind, text, words", [
    ("net_proto_text", "nam: 3", "did you mean name?"), ("net_proto_binary", "name: 'x'", "in:"),
    ("solver_proto_text", 'solver_type: SGD type: "SGD"', "in: both solver_type and type")])
def test_refusals_write_nothing(command, tmp_path, kind, text, words):
    (tmp_path / "in").write_text(text)
    status, said = command(f"upgrade_{kind}", "in", "out")
    assert status == 1 and words in said and "help:" in said and not (tmp_path / "out").exists()
