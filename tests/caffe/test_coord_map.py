"""Coordinate maps against the pixels that layers really connect, and crops against the published nets'
offsets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import caffe
from caffe import layers as L
from caffe import params as P
from caffe.coord_map import (
    AxisMismatchException,
    CropError,
    UnconnectedError,
    UndefinedMapException,
    compose,
    coord_map,
    coord_map_from_to,
    crop,
    crop_params,
    inverse,
)
from caffe.errors import LayerError

pytestmark = pytest.mark.unit


def data():
    return L.Input(shape=dict(dim=[1, 1, 100, 100]))


def as_floats(mapping):
    axis, scale, shift = mapping
    return axis, np.asarray(scale, float).tolist(), np.asarray(shift, float).tolist()


WINDOW = dict(
    kernel=st.integers(1, 7), stride=st.integers(1, 5), pad=st.integers(0, 6), dilation=st.integers(1, 3)
)


@settings(max_examples=60, deadline=None)
@given(output=st.integers(0, 9), **WINDOW)
def test_convolution_sits_in_the_middle_of_the_pixels_it_reads(kernel, stride, pad, dilation, output):
    read = [output * stride - pad + k * dilation for k in range(kernel)]
    params = dict(kernel_size=kernel, stride=stride, pad=pad, dilation=dilation)
    for layer in (L.Convolution, L.Im2col):
        axis, scale, shift = coord_map(layer(data(), convolution_param=params).fn)
        assert axis == 1
        assert scale * np.mean(read) + shift == pytest.approx(output, abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(source=st.integers(0, 9), **WINDOW)
def test_deconvolution_sits_in_the_middle_of_the_pixels_it_writes(kernel, stride, pad, dilation, source):
    written = [source * stride - pad + k * dilation for k in range(kernel)]
    top = L.Deconvolution(
        data(), convolution_param=dict(kernel_size=kernel, stride=stride, pad=pad, dilation=dilation)
    )
    axis, scale, shift = coord_map(top.fn)
    assert scale * source + shift == pytest.approx(np.mean(written))
    _, back, offset = inverse((axis, scale, shift))
    assert back * np.mean(written) + offset == pytest.approx(source)


def test_parameters_in_every_spelling():
    rect = L.Pooling(data(), kernel_h=2, kernel_w=4, stride_h=1, stride_w=3, pad_w=1)
    assert as_floats(coord_map(rect.fn)) == (1, [1, 1 / 3], [-0.5, -0.5 / 3])
    same = L.Pooling(data(), pooling_param=dict(kernel_size=3, stride=2))
    assert as_floats(coord_map(same.fn)) == as_floats(
        coord_map(L.Pooling(data(), kernel_size=3, stride=2).fn)
    )
    lists = L.Convolution(data(), kernel_size=[3, 5], stride=[1, 2], pad=[0, 10])
    assert as_floats(coord_map(lists.fn)) == (1, [1, 0.5], [-1, 4])
    assert coord_map(L.Convolution(data(), kernel_size=1, axis=2).fn)[0] == 2


def test_layers_without_a_map():
    for top in (
        L.InnerProduct(data()),
        L.Pooling(data(), global_pooling=True),
        L.Concat(data(), data(), axis=2),
        L.Flatten(data()),
        L.YourLayer(data()),
    ):
        with pytest.raises(UndefinedMapException):
            coord_map(top.fn)
    with pytest.raises(LayerError, match="no kernel size"):
        coord_map(L.Convolution(data()).fn)


@pytest.mark.parametrize(
    "top",
    [
        L.ReLU(data()),
        L.Dropout(data()),
        L.LRN(data()),
        L.Concat(data(), data()),
        L.Slice(data(), slice_dim=1),
        L.Eltwise(data(), data()),
        L.Scale(data()),
    ],
    ids=lambda top: top.fn.type_name,
)
def test_layers_that_pass_coordinates_on(top):
    assert coord_map(top.fn) == (None, 1, 0)


def test_crop_params_and_map():
    axis, offset = crop_params(L.Crop(data(), data()).fn)
    assert axis == 2 and offset.tolist() == [0]
    top = L.Crop(data(), data(), crop_param=dict(axis=1, offset=[3, 4]))
    assert as_floats(coord_map(top.fn)) == (0, 1, [-3, -4])


maps = st.tuples(st.sampled_from([None, 1]), st.floats(0.1, 10), st.floats(-9, 9))


@given(maps, maps, st.floats(-9, 9))
def test_compose_and_inverse_are_those_of_functions(first, second, x):
    axis, scale, shift = compose(second, first)
    assert axis == (1 if 1 in (first[0], second[0]) else None)
    assert scale * x + shift == pytest.approx(second[1] * (first[1] * x + first[2]) + second[2], abs=1e-9)
    _, one, zero = compose(inverse(first), first)
    assert (one, zero) == (pytest.approx(1), pytest.approx(0, abs=1e-9))
    with pytest.raises(AxisMismatchException):
        compose((1, 1, 0), (2, 1, 0))


def conv(bottom, kernel, pad=0, stride=1):
    return L.ReLU(
        L.Convolution(bottom, kernel_size=kernel, pad=pad, stride=stride, num_output=2), in_place=True
    )


def pool(bottom, kernel=2, stride=2):
    return L.Pooling(bottom, kernel_size=kernel, stride=stride, pool=P.Pooling.MAX)


def up(bottom, kernel, stride):
    return L.Deconvolution(bottom, convolution_param=dict(kernel_size=kernel, stride=stride, num_output=2))


def offsets(top):
    return list(top.to_proto().layer[-1].crop_param.offset)


@pytest.mark.tiny
def test_offsets_of_the_vgg_nets():
    """FCN-32s, -16s and -8s as published (shelhamer/fcn.berkeleyvision.org): 19; 5, 27; 5, 9, 31."""
    image = data()
    top, pools = image, []
    for block, convolutions in enumerate((2, 2, 3, 3, 3)):
        for i in range(convolutions):
            top = conv(top, 3, pad=100 if block == i == 0 else 1)
        top = pool(top)
        pools.append(top)
    score = conv(conv(conv(top, 7), 1), 1)
    assert offsets(crop(up(score, 64, 32), image)) == [19]
    twice = up(score, 4, 2)
    pool4 = crop(conv(pools[3], 1), twice)
    assert offsets(pool4) == [5]
    fused = L.Eltwise(twice, pool4)
    assert offsets(crop(up(fused, 32, 16), image)) == [27]
    again = up(fused, 4, 2)
    pool3 = crop(conv(pools[2], 1), again)
    assert offsets(pool3) == [9]
    final = crop(up(L.Eltwise(again, pool3), 16, 8), image)
    layer = final.to_proto().layer[-1]
    assert layer.type == "Crop" and list(layer.crop_param.offset) == [31] and layer.crop_param.axis == 2


def test_offset_of_the_alexnet_net():
    image = data()
    top = pool(conv(image, 11, pad=100, stride=4), 3)
    top = pool(conv(top, 5, pad=2), 3)
    for _ in range(3):
        top = conv(top, 3, pad=1)
    assert offsets(crop(up(conv(conv(pool(top, 3), 6), 1), 63, 32), image)) == [18]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 5), st.integers(1, 7), st.integers(0, 3)), min_size=1, max_size=4),
    st.integers(0, 5),
)
def test_cropped_pixels_lie_where_they_should(stack, before):
    """The middle of what output pixel `offset` comes from is input pixel 0, or `crop` refuses."""
    image = data()
    top, stride, start = image, 1, 0.0  # start: the input coordinate of output pixel 0
    for kernel, step, pad in stack:
        top = conv(top, kernel, pad, step)
        start += ((kernel - 1) / 2 - pad) * stride
        stride *= step
    kernel = 2 * stride
    upscaled = up(top, kernel, stride)
    start -= (kernel - 1) / 2  # of the upscaled image, whose pixels are 1 apart again
    if start > 0 or start != int(start):
        with pytest.raises(AssertionError):
            crop(upscaled, image)
    else:
        assert offsets(crop(upscaled, image)) == [-int(start)]
        again = L.Crop(upscaled, image, offset=before)
        if -start >= before:
            assert offsets(crop(again, image)) == [-int(start) - before]


def test_blobs_of_one_size_are_cropped_at_zero():
    image = data()
    assert crop(L.ReLU(image), L.LRN(image)).to_proto().layer[-1].crop_param.offset == [0]


def test_many_paths_take_no_longer():
    top = image = data()
    for _ in range(60):  # 3 ** 60 paths
        top = L.Concat(conv(top, 1), conv(top, 3, 1), conv(top, 5, 2))
    assert as_floats(coord_map_from_to(top, image)) == (1, [1], [0])


def test_what_cannot_be_aligned():
    image = data()
    with pytest.raises(UnconnectedError, match="no coordinate map") as error:
        coord_map_from_to(L.InnerProduct(image), image)
    assert isinstance(error.value, RuntimeError) and isinstance(error.value, caffe.CaffeError)
    with pytest.raises(CropError, match="differ in scale") as error:
        crop(up(pool(image, 3, 3), 4, 2), image)
    assert isinstance(error.value, AssertionError)
    with pytest.raises(CropError, match="negative offset"):
        crop(conv(image, 11), image)
    with pytest.raises(CropError, match=r"fractional offset.*found offset 0.5"):
        crop(conv(image, 2, 1), image)
    with pytest.raises(AxisMismatchException):
        crop(L.Convolution(conv(image, 1), kernel_size=1, axis=2), image)


def test_the_second_bottom_of_a_crop_is_no_ancestor():
    one, other = data(), data()
    with pytest.raises(UnconnectedError):
        coord_map_from_to(L.Crop(one, other), other)
