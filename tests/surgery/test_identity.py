"""Identity matrices: what comes in comes out; other shapes are refused."""

import numpy as np
import pytest

import caffe
from surgery import identity

pytestmark = pytest.mark.unit

NET = """
layer {{ name: "data" type: "Input" top: "data" input_param {{ shape {{ dim: 2 dim: 6 dim: 3 dim: 4 }} }} }}
layer {{ name: "product" type: "Convolution" bottom: "data" top: "product" convolution_param {{
  num_output: {outputs} kernel_size: {kernel}
  weight_filler {{ type: "xavier" }} bias_filler {{ type: "constant" value: 3 }} }} }}
"""


@pytest.fixture
def build(tmp_path):
    def build(outputs=6, kernel=1):
        path = tmp_path / "net.prototxt"
        path.write_text(NET.format(outputs=outputs, kernel=kernel))
        return caffe.Net(str(path), caffe.TEST)

    return build


def test_what_comes_in_comes_out(build):
    net = build()
    net.blobs["data"].data[...] = np.random.default_rng(0).normal(size=(2, 6, 3, 4))
    identity(net, ["product"])
    np.testing.assert_array_equal(net.forward()["product"], net.blobs["data"].data)


@pytest.mark.parametrize("options", [dict(outputs=5), dict(kernel=3)])
def test_no_square_matrix(build, options):
    with pytest.raises(caffe.ShapeError, match="no square matrix"):
        identity(build(**options), ["product"])
