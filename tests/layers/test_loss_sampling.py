"""The LossSampling layer in nets and solvers: which labels stay, resuming, phases, and what it refuses."""

import numpy as np
import pytest

import caffe
from prototxt.files import text
from prototxt.sampling import sampled
from surgery import read_net

pytestmark = pytest.mark.unit

NET = """
layer {{ name: "label" type: "Input" top: "label" input_param {{ shape {{ dim: 2 dim: 1 dim: 24 dim: 32 }} }} }}
layer {{ name: "grid" type: "Input" top: "grid" input_param {{ shape {{ dim: 2 dim: 5 dim: 3 dim: 4 }} }} }}
layer {{ name: "sample" type: "Python" bottom: "label" {bottom} top: "sampled" python_param {{
  module: "layers.loss_sampling" layer: "LossSampling" param_str: "{params}" }} }}
"""
LABELS = (np.arange(2 * 24 * 32).reshape(2, 1, 24, 32) % 21).astype(np.float32)


@pytest.fixture
def sampling(tmp_path):
    def build(params, bottom="", phase=caffe.TRAIN):
        path = tmp_path / "sampling.prototxt"
        path.write_text(NET.format(params=params, bottom=bottom))
        net = caffe.Net(str(path), phase)

        def draw():
            net.forward(label=LABELS, grid=net.blobs["grid"].data)
            return net.blobs["sampled"].data.copy()

        return net, draw

    return build


@pytest.mark.tiny
def test_cells_stay_or_go_and_each_pass_draws_anew(sampling):
    _, draw = sampling({"p": 0.5, "cell": 8})
    draws = [draw() for _ in range(20)]
    for out in draws:
        kept = (out == LABELS).reshape(2, 3, 8, 4, 8).mean((2, 4))
        assert set(np.unique(kept)) <= {0, 1} and set(np.unique(out[out != LABELS])) <= {255}
    assert len({out.tobytes() for out in draws}) == 20
    assert abs(np.mean([out == LABELS for out in draws]) - 0.5) < 5 * 0.5 / np.sqrt(20 * 24)


def test_a_second_bottom_says_how_many_cells(sampling):
    _, by_grid = sampling({"p": 0.5}, 'bottom: "grid"')
    _, by_size = sampling({"p": 0.5, "cell": 8})   # 24 x 32 into 3 x 4
    np.testing.assert_array_equal(by_grid(), by_size())


def test_phase_test_passes_the_labels(sampling):
    _, draw = sampling({"p": 0.1}, phase=caffe.TEST)
    np.testing.assert_array_equal(draw(), LABELS)


def test_state_goes_on_where_it_was(sampling):
    net, draw = sampling({"p": 0.5, "seed": 3})
    draw()
    state = net.layers[2].get_state()
    expected = [draw(), draw()]
    other, again = sampling({"p": 0.5})
    other.layers[2].set_state(state)
    for one in expected:
        np.testing.assert_array_equal(again(), one)


def test_classes_by_list_and_by_dict_and_the_rarer_stays_where_the_commoner_does(sampling):
    _, by_list = sampling({"p": 1, "cell": 8, "class_p": [0.2] + [1] * 20})
    _, by_dict = sampling({"p": 1, "cell": 8, "class_p": {0: 0.2}})
    out = by_list()
    np.testing.assert_array_equal(out, by_dict())
    assert (out[LABELS > 0] == LABELS[LABELS > 0]).all()
    ground = LABELS == 0
    assert 0 < (out[ground] == 0).mean() < 1


def test_solvers_that_train_together_draw_differently(sampling, monkeypatch):
    monkeypatch.setattr(caffe, "solver_count", lambda: 2)
    draws = []
    for rank in (0, 1):
        monkeypatch.setattr(caffe, "solver_rank", lambda rank=rank: rank)
        _, draw = sampling({"p": 0.5})
        draws += [draw(), draw()]
    assert len({out.tobytes() for out in draws}) == 4


def test_it_says_once_what_it_runs_on(sampling, monkeypatch):
    said = []
    monkeypatch.setattr(caffe, "log", said.append)
    _, draw = sampling({"p": 0.5})
    draw()
    draw()
    assert len(said) == 1 and ("Halide" in said[0] or "NumPy" in said[0])


@pytest.mark.parametrize(
    ("params", "bottom", "words"),
    [
        ({}, "", "lacks 'p'"),
        ({"p": 1.5}, "", "from 0 to 1"),
        ({"p": 1, "cell": 0}, "", "at least 1"),
        ({"p": 1, "class_p": [2]}, "", "for each class"),
        ({"p": 1, "class_p": {255: 0.5}}, "", "for each class"),
        ({"p": 1, "class_p": {"sky": 0.5}}, "", "for each class"),
        ({"p": 1, "cells": 3}, "", "did you mean 'cell'"),
        ({"p": 1, "cell": 2}, 'bottom: "grid"', "given twice"),
        ({"p": 1}, 'bottom: "grid" bottom: "grid"', "3 bottoms"),
    ],
)
def test_what_it_refuses(sampling, params, bottom, words):
    with pytest.raises(caffe.CaffeError, match=words) as error:
        sampling(params, bottom)
    assert "sample" in str(error.value) and "help:" in str(error.value)


TRAINED = """
layer {{ name: "data" type: "Python" top: "data" top: "label" python_param {{ module: "layers.segdata"
  layer: "SegDataLayer" param_str: "{{'data': '{data}', 'split': 'train', 'batch': 2, 'shift': 4}}" }} }}
layer {{ name: "score" type: "Convolution" bottom: "data" top: "score" convolution_param {{
  num_output: 3 kernel_size: 3 pad: 1 weight_filler {{ type: "gaussian" std: 0.001 }} }} }}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "score" bottom: "label" top: "loss"
  loss_param {{ ignore_label: 255 }} }}
"""


def test_a_resumed_run_is_the_unbroken_one(six, tmp_path):
    """With shifts and a sampled loss, bit by bit; without the layer's state it would be another run."""
    net = tmp_path / "net.prototxt"
    net.write_text(TRAINED.format(data=six[0]))
    net.write_text(text(sampled(read_net(net), 0.5, 4)))

    def solver(prefix):
        path = tmp_path / f"{prefix}.prototxt"
        path.write_text(f'train_net: "{net}" base_lr: 1e-4 lr_policy: "fixed" momentum: 0.9 iter_size: 2 '
                        f'random_seed: 3 max_iter: 7 snapshot_prefix: "{tmp_path / prefix}"')
        return caffe.get_solver(str(path))

    unbroken, broken = solver("a"), solver("b")
    unbroken.step(7)
    broken.step(3)
    broken.snapshot()
    results = []
    for forget in (False, True):
        resumed = solver("c")
        resumed.restore(str(tmp_path / "b_iter_3.solverstate"))
        if forget:
            resumed.net.layer_dict["sample_label"].set_state({"passes": 0, "seed": 1337})
        resumed.step(4)
        results.append((resumed.net.params["score"][0].data == unbroken.net.params["score"][0].data).all())
    assert results == [True, False]
