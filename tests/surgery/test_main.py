"""The command line of surgery."""

import numpy as np
import pytest

import caffe
from surgery.__main__ import main

CLASSIFIER = """
conv Convolution data convolution_param { num_output: 4 kernel_size: 3 }
fc InnerProduct conv inner_product_param { num_output: 5 }
"""
FCN = """
conv Convolution data convolution_param { num_output: 4 kernel_size: 3 }
fc Convolution conv convolution_param { num_output: 5 kernel_size: 4 }
up Deconvolution fc convolution_param { num_output: 5 kernel_size: 4 stride: 2 bias_term: false }
"""


@pytest.mark.unit
def test_convolutionalize_and_transplant(make_net, tmp_path, capsys):
    old, new = make_net(CLASSIFIER, (1, 3, 6, 6)), make_net(FCN, (1, 3, 6, 6), seed=None)
    weights, fcn, fcn_weights, out = (str(tmp_path / n) for n in ("w", "f.prototxt", "f.caffemodel", "o"))
    old.save(weights)
    assert main(["convolutionalize", str(old.source), weights, fcn, fcn_weights]) == 0
    assert "fc: window 4x4" in capsys.readouterr().out
    assert main(["transplant", str(new.source), fcn_weights, out, "--interp", "up"]) == 0
    assert "4 copied" in capsys.readouterr().out
    net = caffe.Net(str(new.source), caffe.TEST, weights=out)
    assert (net.params["fc"][0].data.ravel() == old.params["fc"][0].data.ravel()).all()
    assert np.count_nonzero(net.params["up"][0].data) == 5 * 16


@pytest.mark.unit
def test_an_error_is_one_message_and_status_1(make_net, tmp_path, capsys):
    old, new = make_net("ip InnerProduct data inner_product_param { num_output: 5 }", (1, 3, 6, 6)), make_net(
        FCN, (1, 3, 6, 6)
    )
    old.save(str(tmp_path / "w"))
    assert main(["transplant", str(new.source), str(tmp_path / "w"), str(tmp_path / "o")]) == 1
    assert capsys.readouterr().err.startswith("error: these weights belong to another net")
    assert not (tmp_path / "o").exists()
