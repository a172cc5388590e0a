"""Trouble after loading weights is said in words."""

import pytest

from surgery import check_weights, interp, transplant
from surgery.errors import WeightsError

NET = """
conv Convolution data convolution_param { num_output: 4 kernel_size: 3 }
score_fr Convolution conv convolution_param { num_output: 2 kernel_size: 1 }
upscore Deconvolution score_fr convolution_param { num_output: 2 kernel_size: 4 stride: 2 bias_term: false }
"""
SHAPE = (1, 3, 6, 6)


@pytest.mark.unit
def test_a_net_with_its_weights_raises_nothing(make_net):
    old, new = make_net(NET, SHAPE), make_net(NET.replace("upscore ", "upscore2 "), SHAPE, seed=None)
    report = transplant(new, old, print_report=False)
    interp(new, ["upscore2"])
    assert check_weights(new, report) == []


@pytest.mark.unit
def test_zero_scores_are_intended_and_other_zeros_are_not(make_net):
    net = make_net(NET, SHAPE)
    net.params["score_fr"][0].data[...] = 0
    assert check_weights(net) == []
    with pytest.raises(WeightsError, match="score_fr"):
        check_weights(net, zero_init=())
    net.params["conv"][0].data[...] = 0
    with pytest.raises(WeightsError, match="'conv'.*\n.*transplant"):
        check_weights(net)


@pytest.mark.unit
def test_forgotten_upsampling_is_told_apart(make_net):
    net = make_net(NET, SHAPE)
    net.params["upscore"][0].data[...] = 0
    with pytest.raises(WeightsError, match="surgery.interp"):
        check_weights(net)


@pytest.mark.unit
def test_weights_of_another_net(make_net):
    net = make_net(NET, SHAPE)
    other = make_net("ip InnerProduct data inner_product_param { num_output: 4 }", SHAPE)
    with pytest.raises(WeightsError, match="another net.*ip.*conv"):
        check_weights(net, transplant(net, other, print_report=False))


@pytest.mark.unit
def test_layers_left_at_their_filler_are_named(make_net):
    more = NET + "extra Convolution conv convolution_param { num_output: 2 kernel_size: 1 }\n"
    old, new = make_net(NET, SHAPE), make_net(more, SHAPE)
    (sentence,) = check_weights(new, transplant(new, old, print_report=False))
    assert "'extra'" in sentence
