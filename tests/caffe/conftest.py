"""What the tests of solvers, snapshots and the command share: a small net and its solver."""
import logging
import textwrap

import pytest
from google.protobuf import text_format

from caffe import glog
from caffe.proto.caffe_pb2 import SolverParameter

NET = """
name: "toy"
layer { name: "data" type: "DummyData" top: "x" top: "y" dummy_data_param {
  shape { dim: 8 dim: 5 } shape { dim: 8 }
  data_filler { type: "gaussian" std: 1 } data_filler { type: "constant" value: 1 } } }
layer { name: "ip1" type: "InnerProduct" bottom: "x" top: "h"
  inner_product_param { num_output: 6 weight_filler { type: "xavier" } } }
layer { name: "relu" type: "ReLU" bottom: "h" top: "h" }
layer { name: "drop" type: "Dropout" bottom: "h" top: "h" }
layer { name: "ip2" type: "InnerProduct" bottom: "h" top: "s"
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "s" bottom: "y" top: "loss" }
layer { name: "acc" type: "Accuracy" bottom: "s" bottom: "y" top: "acc" include { phase: TEST } }
"""
BASE = 'base_lr: 0.1 momentum: 0.9 lr_policy: "fixed" random_seed: 3 max_iter: 20 snapshot_prefix: "snap"\n'


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """write(solver="", net=NET) -> path of a solver prototxt, BASE overridden; in a fresh working folder."""
    monkeypatch.chdir(tmp_path)

    def write(solver: str = "", net: str = NET, base: str = BASE) -> str:
        param = text_format.Parse(base, SolverParameter())
        own = text_format.Parse(solver, SolverParameter())
        if not any(field.name.startswith(("net", "train_net")) for field, _ in own.ListFields()):
            param.net = "net.prototxt"
        param.MergeFrom(own)
        (tmp_path / "net.prototxt").write_text(textwrap.dedent(net))
        (tmp_path / "solver.prototxt").write_text(text_format.MessageToString(param))
        return "solver.prototxt"

    return write


@pytest.fixture
def lines(caplog):
    """A function that returns the messages logged so far, in order."""
    caplog.set_level(logging.INFO, logger="caffe")
    caplog.set_level(logging.INFO, logger="caffe.solver")
    return lambda: [record.getMessage() for record in caplog.records]


@pytest.fixture
def the_log_as_it_was():
    """The loggers' levels and handlers are put back after a test that runs the command in this process."""
    levels = glog.logger.level, glog.solver_logger.level
    handlers = list(glog.logger.handlers)
    yield
    for handler in glog.logger.handlers:
        if handler not in handlers:
            handler.close()
    glog.logger.handlers[:] = handlers
    glog.logger.setLevel(levels[0])
    glog.solver_logger.setLevel(levels[1])
