"""Datum messages to arrays: bytes, floats, encoded images, and sizes that are not true."""
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import caffe
from caffe.data import datum
from caffe.proto import caffe_pb2

pytestmark = pytest.mark.unit


def test_bytes_and_floats():
    values = np.arange(24).reshape(2, 3, 4)
    for dtype in (np.uint8, np.float32):
        message = datum.parse(caffe.io.array_to_datum(values.astype(dtype), 5).SerializeToString())
        got = datum.array(message)
        assert got.dtype == dtype and message.label == 5
        np.testing.assert_array_equal(got, values)


def test_encoded_images_are_channels_first_bgr():
    rgb = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "PNG")
    message = caffe_pb2.Datum(data=buffer.getvalue(), encoded=True)
    np.testing.assert_array_equal(datum.array(message), rgb[:, :, ::-1].transpose(2, 0, 1))
    assert datum.array(message, color=False).shape == (1, 4, 5)


@pytest.mark.parametrize("fields", [
    {"channels": 3, "height": 2, "width": 2, "data": b"12345"}, {"channels": 1, "height": 2, "width": 2},
    {"data": b"1234"}, {"channels": -1, "height": -2, "width": 2, "data": b"1234"},
    {"channels": 2**31 - 1, "height": 2**31 - 1, "width": 2**31 - 1, "data": b"1"},
    {"channels": 1, "height": 1, "width": 2, "float_data": [1.0]},
])
def test_sizes_that_are_not_true(fields):
    with pytest.raises(caffe.DataError, match="does not hold what it says") as e:
        datum.array(caffe_pb2.Datum(**fields))
    assert e.value.help


def test_an_encoded_datum_without_an_image():
    with pytest.raises(caffe.DataError, match="no readable image"):
        datum.array(caffe_pb2.Datum(data=b"pixels", encoded=True))


@given(st.binary(max_size=60))
def test_random_bytes_raise_nothing_else(data):
    try:
        datum.array(datum.parse(data))
    except caffe.DataError:
        pass
