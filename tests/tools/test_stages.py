"""Nets of a stage: fillers for training from nothing, and files that name the data set."""

import pytest
from google.protobuf import text_format

import caffe
from caffe.proto import caffe_pb2
from prototxt import build
from surgery import check_weights
from tools.run_folder import RunFolder
from tools.stages import fill, initialise, write_nets

pytestmark = pytest.mark.unit


def test_fill_lets_a_net_on_a_classifier_train_from_nothing(tmp_path):
    net = build("squeezenet-fcn4s", "deploy", shape=(1, 3, 64, 64))
    fill(net)
    path = tmp_path / "net.prototxt"
    path.write_text(text_format.MessageToString(net))
    built = caffe.Net(str(path), caffe.TEST)
    initialise(built, "squeezenet-fcn4s", [(None, "")])
    check_weights(built)
    assert built.params["conv1"][0].data.std() > 0
    assert not built.params["score_fr"][0].data.any() and not built.params["score_fire3"][0].data.any()


def test_write_nets(tiny_plan, tiny_set, tmp_path):
    plan, folder = tiny_plan(seed=7), RunFolder(tmp_path / "run")
    folder.begin({}, {}, [])
    write_nets(plan, 1, folder)
    read = {}
    for kind in ("train", "val", "deploy"):
        read[kind] = text_format.Parse(folder.net("small-fcn16s", kind).read_text(), caffe_pb2.NetParameter())
    param_str = read["train"].layer[0].python_param.param_str
    assert str(tiny_set) in param_str and "'seed': 7" in param_str and "'split': 'train'" in param_str
    assert "'split': 'val'" in read["val"].layer[0].python_param.param_str
    scores = next(layer for layer in read["deploy"].layer if layer.name == "score_fr")
    assert scores.convolution_param.num_output == 3
    text = folder.net("small-fcn16s", "solver").read_text()
    settings = text_format.Parse(text, caffe_pb2.SolverParameter())
    assert (settings.max_iter, settings.random_seed, len(settings.test_net)) == (4, 7, 0)
    assert settings.snapshot_prefix == str(folder.prefix("small-fcn16s"))
