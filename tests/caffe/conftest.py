"""What the tests of solvers, snapshots and the command share: a small net and its solver, written where they run."""
import logging
import textwrap

import pytest

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
    """write(solver_text="", net=NET) -> path of a solver prototxt; the working folder is a fresh one."""
    monkeypatch.chdir(tmp_path)

    def write(solver: str = "", net: str = NET, base: str = BASE) -> str:
        (tmp_path / "net.prototxt").write_text(textwrap.dedent(net))
        own = "" if "net" in solver else 'net: "net.prototxt"\n'
        (tmp_path / "solver.prototxt").write_text(own + base + solver)
        return "solver.prototxt"

    return write


@pytest.fixture
def lines(caplog):
    """A function that returns the messages logged so far, in order."""
    caplog.set_level(logging.INFO, logger="caffe")
    caplog.set_level(logging.INFO, logger="caffe.solver")
    return lambda: [record.getMessage() for record in caplog.records]
