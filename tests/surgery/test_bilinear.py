"""Bilinear kernels against NumPy's linear interpolation, and the layers that `interp` refuses."""

import numpy as np
import pytest

from surgery import interp, upsample_filt
from surgery.errors import LayerError, ShapeError

DECONVOLUTION = "up Deconvolution data convolution_param {{ num_output: {} bias_term: false {} }}"


def interpolated(image: np.ndarray, size: int) -> np.ndarray:
    """`image` (h x w) upsampled by a deconvolution of kernel `size`: linear between samples, and to 0 one
    sample beyond the edge."""
    factor = (size + 1) // 2
    out = np.pad(image.astype(float), 1)
    for axis in (0, 1):
        n = out.shape[axis] - 2
        # output o lies at input coordinate (o - (size - 1) / 2) / factor; the padding adds 1
        places = (np.arange(factor * (n - 1) + size) - (size - 1) / 2) / factor + 1
        out = np.apply_along_axis(lambda row, at=places: np.interp(at, np.arange(len(row)), row), axis, out)
    return out


@pytest.mark.unit
@pytest.mark.parametrize("size", [1, 2, 3, 4, 7, 16, 31])
def test_filter_is_separable_and_adds_up_to_one_per_output(size):
    kernel = upsample_filt(size)
    factor = (size + 1) // 2
    assert kernel.shape == (size, size) and np.linalg.matrix_rank(kernel) == 1
    for top in range(factor):
        for left in range(factor):
            assert kernel[top::factor, left::factor].sum() == pytest.approx(1)


@pytest.mark.tiny
@pytest.mark.parametrize("size", [3, 4, 7, 16])
@pytest.mark.parametrize("group", ["", "group: 3"])
def test_interp_upsamples_each_channel_like_numpy(make_net, size, group):
    factor = (size + 1) // 2
    fields = f"kernel_size: {size} stride: {factor} {group}"
    net = make_net(DECONVOLUTION.format(3, fields), (1, 3, 4, 5))
    interp(net, ["up"])  # from random weights: what is not on the diagonal must go
    image = np.random.default_rng(1).normal(size=(1, 3, 4, 5)).astype(np.float32)
    found = net.forward(data=image)["up"][0]
    for channel in range(3):
        np.testing.assert_allclose(found[channel], interpolated(image[0, channel], size), atol=1e-5)


@pytest.mark.unit
@pytest.mark.parametrize(
    ("layer", "error", "words"),
    [
        (DECONVOLUTION.format(2, "kernel_size: 4 stride: 2"), ShapeError, "3 in, 2 out"),
        (DECONVOLUTION.format(3, "kernel_h: 4 kernel_w: 2 stride: 2"), ShapeError, "4 x 2"),
        ("up InnerProduct data inner_product_param { num_output: 3 }", ShapeError, "4 axes"),
        ("low Convolution data convolution_param { num_output: 3 kernel_size: 1 }", LayerError, "low"),
    ],
)
def test_other_layers_are_refused(make_net, layer, error, words):
    net = make_net(layer, (1, 3, 4, 4))
    before = {name: blobs[0].data.copy() for name, blobs in net.params.items()}
    with pytest.raises(error) as caught:
        interp(net, ["up"])
    assert words in str(caught.value) and "'up'" in str(caught.value)
    assert all((net.params[name][0].data == value).all() for name, value in before.items())
