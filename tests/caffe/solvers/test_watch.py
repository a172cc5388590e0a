"""Trouble in training is told in words: NaN, a loss that is stuck, layers that cannot learn."""
import numpy as np
import pytest

import caffe
from caffe.solvers import watch

pytestmark = pytest.mark.tiny

def test_nan_stops_and_keeps_the_last_good_snapshot(toy, tmp_path):
    solver = caffe.get_solver(toy("snapshot: 2"))
    solver.step(4)
    solver.net.params["ip2"][1].data[1] = np.nan
    with pytest.raises(caffe.SolverError) as error:
        solver.step(10)
    text = str(error.value)
    assert "the loss is nan at iteration 4" in text and "parameter 1 of layer 'ip2'" in text
    assert "snap_iter_4.solverstate" in text and "lower base_lr (now 0.1)" in text
    with pytest.raises(caffe.SolverError, match="weights are no numbers"):
        solver.snapshot()
    assert (tmp_path / "snap_iter_4.caffemodel").exists() and not list(tmp_path.glob("snap_iter_5*"))


def test_nan_in_the_data_is_traced_to_its_blob(toy):
    solver = caffe.get_solver(toy(net="""
        layer { name: "data" type: "Input" top: "x" top: "t"
          input_param { shape { dim: 4 dim: 5 } shape { dim: 4 dim: 3 } } }
        layer { name: "ip" type: "InnerProduct" bottom: "x" top: "y" inner_product_param { num_output: 3 } }
        layer { name: "loss" type: "EuclideanLoss" bottom: "y" bottom: "t" top: "loss" }"""))
    solver.net.blobs["x"].data[2, 3] = np.inf
    with pytest.raises(caffe.SolverError, match="blob 'x', computed by layer 'data'"):
        solver.step(1)


def softmax_net(normalization, filler="constant"):
    return f"""
name: "stuck"
layer {{ name: "data" type: "DummyData" top: "x" top: "y" dummy_data_param {{
  shape {{ dim: 2 dim: 3 dim: 4 dim: 4 }} shape {{ dim: 2 dim: 1 dim: 4 dim: 4 }}
  data_filler {{ type: "gaussian" std: 1 }} data_filler {{ type: "uniform" min: 0 max: 0 }} }} }}
layer {{ name: "conv" type: "Convolution" bottom: "x" top: "h"
  convolution_param {{ num_output: 4 kernel_size: 1 weight_filler {{ type: "{filler}" }} }} }}
layer {{ name: "relu" type: "ReLU" bottom: "h" top: "h" }}
layer {{ name: "score" type: "Convolution" bottom: "h" top: "s"
  convolution_param {{ num_output: 5 kernel_size: 1 bias_term: false }} }}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "s" bottom: "y" top: "loss" loss_weight: 3
  loss_param {{ normalization: {normalization} }} }}
"""


@pytest.mark.parametrize("normalization", ["VALID", "FULL", "BATCH_SIZE", "NONE"])
def test_a_stuck_loss_is_told_once(toy, lines, normalization):
    solver = caffe.get_solver(toy("max_iter: 200", net=softmax_net(normalization)))
    solver.step(130)
    told = [m for m in lines() if "ln(5)" in m]
    assert len(told) == 1 and "for 50 iterations" in told[0] and "not loaded" in told[0]


def test_a_learning_net_is_not_called_stuck(toy, lines):
    solver = caffe.get_solver(toy("max_iter: 200", net=softmax_net("VALID", "xavier")))
    solver.step(80)
    text = lines()
    assert not any("ln(5)" in m or "cannot learn" in m for m in text)
    assert any("start from all-zero weights: score." in m for m in text)


def conv(name, bottom, filler="", lr=1):
    return (f'layer {{ name: "{name}" type: "Convolution" bottom: "{bottom}" top: "{name}" '
            f'param {{ lr_mult: {lr} }} convolution_param {{ num_output: 2 kernel_size: 1 {filler} }} }}\n')


DATA = ('layer { name: "x" type: "DummyData" top: "x" '
        'dummy_data_param { shape { dim: 1 dim: 2 dim: 3 dim: 3 } } }\n')
GOOD = 'weight_filler { type: "xavier" }'
BIASED = 'bias_filler { type: "constant" value: 1 }'
RELU = 'layer { name: "r" type: "ReLU" bottom: "a" top: "a" }\n'


@pytest.mark.parametrize("layers, zero, stuck", [
    (conv("a", "x", GOOD) + conv("b", "a"), ["b"], []),                     # a new scoring layer
    (conv("a", "x") + conv("b", "a", GOOD), ["a"], []),                     # gets a gradient through b
    (conv("a", "x") + RELU + conv("b", "a", GOOD), ["a"], ["a"]),           # no gradient at 0 of a ReLU
    (conv("a", "x", BIASED) + RELU + conv("b", "a", GOOD), ["a"], []),
    (conv("a", "x") + conv("b", "a"), ["a", "b"], ["a", "b"]),              # each waits for the other
    (conv("a", "x", BIASED) + conv("b", "a"), ["a", "b"], []),
    (conv("a", "x", "", lr=0), ["a"], ["a"]),                               # frozen at zero
    (conv("a", "x") + conv("b", "x", GOOD)
     + 'layer { name: "e" type: "Eltwise" bottom: "a" bottom: "b" top: "e" }\n' + conv("c", "e"),
     ["a", "c"], []),
])
def test_which_zero_layers_can_learn(tmp_path, layers, zero, stuck):
    path = tmp_path / "net.prototxt"
    path.write_text(DATA + layers)
    found = watch.zero_layers(caffe.Net(str(path), caffe.TRAIN))
    assert found[0] == zero and sorted(found[1]) == stuck


def test_zero_layers_are_told_when_training_starts(toy, lines):
    solver = caffe.get_solver(toy(net=softmax_net("VALID")))
    solver.step(1)
    solver.step(1)
    told = [m for m in lines() if "cannot learn" in m]
    assert len(told) == 1 and "'conv'" in told[0] and "weight_filler" in told[0]
