"""Weights into larger layers: what a spread kernel computes, what a new channel sees, and what does not fit."""

import numpy as np
import pytest

import caffe
from surgery import grow
from surgery.errors import LayerError, ShapeError
from surgery.grow import more_channels, spread_kernel

pytestmark = pytest.mark.unit

NET = """
layer {{ name: "data" type: "Input" top: "data" input_param {{ shape {{ dim: 1 dim: 3 dim: 20 dim: 20 }} }} }}
layer {{ name: "pool" type: "Pooling" bottom: "data" top: "pool" pooling_param {{ kernel_size: 2 stride: {stride} }} }}
layer {{ name: "fc" type: "Convolution" bottom: "pool" top: "fc"
  convolution_param {{ num_output: 4 kernel_size: {kernel} weight_filler {{ type: "gaussian" std: 1 }} }} }}
"""


def net(tmp_path, **values):
    path = tmp_path / "net.prototxt"
    path.write_text(NET.format(**values))
    return caffe.Net(str(path), caffe.TEST)


def test_a_spread_kernel_keeps_the_scores_of_the_coarse_net(tmp_path):
    """Pooling of stride 1 below it: every second score of every second row is the old net's (3.2.2)."""
    coarse, fine = net(tmp_path, stride=2, kernel=3), net(tmp_path, stride=1, kernel=6)
    for flat in (False, True):   # a fully connected layer's weights have a row for each output
        weights, bias = (blob.data.copy() for blob in coarse.params["fc"])
        grow(fine, "fc", [weights.reshape(4, -1) if flat else weights, bias])
        image = np.random.default_rng(0).normal(size=(1, 3, 20, 20)).astype(np.float32)
        old, new = (n.forward(data=image)["fc"] for n in (coarse, fine))
        assert new.shape == (1, 4, 14, 14)
        np.testing.assert_allclose(new[:, :, ::2, ::2], old[:, :, :7, :7], rtol=1e-5, atol=1e-5)


def test_a_new_channel_sees_what_a_gray_image_shows():
    weights = np.random.default_rng(1).normal(size=(2, 3, 3, 3))
    grown = more_channels(weights, 4)
    assert np.array_equal(grown[:, :3], weights)
    np.testing.assert_allclose(grown[:, 3], weights.mean(1))
    assert spread_kernel(weights, 2)[:, :, 1::2].any() == np.False_


def test_what_does_not_fit_is_refused(tmp_path):
    fine = net(tmp_path, stride=1, kernel=6)
    with pytest.raises(ShapeError, match="cannot be grown"):
        grow(fine, "fc", [np.zeros((4, 3, 4, 4)), np.zeros(4)])
    with pytest.raises(LayerError, match="no such layer"):
        grow(fine, "fc8", [np.zeros((4, 3, 3, 3))])
