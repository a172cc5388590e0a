"""pycaffe's io: images in every mode, resizing against plain loops, the Transformer step by step, and
messages."""

from __future__ import annotations

import io as bytes_io
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

import caffe
from caffe import io
from caffe.errors import CaffeError, DataError
from caffe.proto import blobs, caffe_pb2

pytestmark = pytest.mark.unit


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


def save(path, array, mode=None):
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path)
    return path


@pytest.mark.tiny
def test_load_image_in_colour(pixels, tmp_path):
    image = io.load_image(save(tmp_path / "a.png", pixels))
    assert image.dtype == np.float32 and image.shape == (5, 7, 3)
    np.testing.assert_allclose(image, pixels / 255, atol=1e-7)


def test_load_image_in_gray(pixels, tmp_path):
    image = io.load_image(save(tmp_path / "a.png", pixels), color=False)
    assert image.dtype == np.float32 and image.shape == (5, 7, 1)
    red, green, blue = (pixels / 255).transpose(2, 0, 1)
    np.testing.assert_allclose(image[:, :, 0], 0.2125 * red + 0.7154 * green + 0.0721 * blue, atol=1e-6)


def test_load_gray_files(pixels, tmp_path):
    gray = pixels[:, :, 0]
    path = save(tmp_path / "a.png", gray)
    np.testing.assert_allclose(io.load_image(path, color=False)[:, :, 0], gray / 255, atol=1e-7)
    np.testing.assert_allclose(io.load_image(path), np.stack([gray / 255] * 3, 2), atol=1e-7)
    deep = np.array(gray * 257.0 - 3 * (gray > 0), np.uint16)
    for color, channels in ((True, 3), (False, 1)):
        image = io.load_image(save(tmp_path / "b.png", deep), color)
        np.testing.assert_allclose(image, np.stack([deep / 65535] * channels, 2), atol=1e-6)
    real = (gray / 50).astype(np.float32)
    np.testing.assert_array_equal(io.load_image(save(tmp_path / "c.tiff", real), False)[:, :, 0], real)
    np.testing.assert_array_equal(np.unique(io.load_image(save(tmp_path / "d.png", gray > 99))), [0, 1])


def test_transparency_is_dropped_not_blended(pixels, tmp_path):
    rgba = np.dstack([pixels, np.full((5, 7), 10, np.uint8)])
    np.testing.assert_allclose(io.load_image(save(tmp_path / "a.png", rgba)), pixels / 255, atol=1e-7)
    both = np.dstack([pixels[:, :, 0], rgba[:, :, 3]])
    np.testing.assert_allclose(
        io.load_image(save(tmp_path / "b.png", both), False)[:, :, 0], both[:, :, 0] / 255, atol=1e-7
    )
    palette = Image.fromarray(pixels).quantize(8)
    palette.info["transparency"] = bytes(range(8))
    palette.save(tmp_path / "p.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_allclose(
            io.load_image(tmp_path / "p.png"), np.array(palette.convert("RGBA"))[..., :3] / 255, atol=1e-7
        )


@pytest.mark.parametrize("content", [None, b"", b"<html>", b"\x89PNG\r\n\x1a\nbroken"])
def test_images_that_cannot_be_read(content, tmp_path):
    path = tmp_path / "a.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match="not there" if content is None else "cannot be read") as error:
        io.load_image(path)
    assert error.value.file == str(path) and error.value.help


def test_a_cut_image_is_refused(pixels, tmp_path):
    path = save(tmp_path / "a.png", np.tile(pixels, (20, 20, 1)))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match="cannot be read"):
        io.load_image(path)


def bilinear(image, height, width):
    """Pixel-centred bilinear sampling in which pixels beyond the border are the image's minimum, by loops."""
    low = image.min()
    padded = np.pad(image.astype(float), ((1, 1), (1, 1), (0, 0)), constant_values=low)
    out = np.zeros((height, width, image.shape[2]))
    for i in range(height):
        for j in range(width):
            y = (i + 0.5) * image.shape[0] / height - 0.5 + 1
            x = (j + 0.5) * image.shape[1] / width - 0.5 + 1
            top, left = int(y), int(x)
            for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
                weight = (1 - abs(top + row - y)) * (1 - abs(left + column - x))
                if weight > 0:
                    out[i, j] += weight * padded[top + row, left + column]
    return out


@pytest.mark.tiny
@settings(max_examples=40, deadline=None)
@given(
    hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 6), st.integers(1, 6), st.sampled_from([1, 3])),
        elements=st.floats(-4, 4, width=32),
    ),
    st.integers(1, 9),
    st.integers(1, 9),
)
def test_resize_one_and_three_channels(image, height, width):
    resized = io.resize_image(image, (height, width))
    assert resized.dtype == np.float32
    np.testing.assert_allclose(resized, bilinear(image, height, width), atol=1e-5)


@pytest.mark.parametrize("channels", [2, 5])
def test_resize_other_numbers_of_channels(channels):
    image = np.random.default_rng(1).normal(size=(4, 5, channels)).astype(np.float32)
    resized = io.resize_image(image, (7, 9))
    assert resized.shape == (7, 9, channels) and resized.dtype == np.float32
    # Corners stay, and every second row and column is the original: a grid of half steps.
    np.testing.assert_allclose(resized[::2, ::2], image, atol=1e-5)
    np.testing.assert_allclose(resized[1, ::2], (image[0] + image[1]) / 2, atol=1e-5)


def test_resize_details():
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    np.testing.assert_allclose(io.resize_image(image, (2, 4)), image)
    np.testing.assert_array_equal(
        io.resize_image(image, (4, 8), interp_order=0), image.repeat(2, 0).repeat(2, 1)
    )
    np.testing.assert_array_equal(io.resize_image(np.full((2, 2, 3), 9), (3, 5)), np.full((3, 5, 3), 9))
    for bad, dims in ((image[0], (2, 2)), (image, (2,)), (image, 4 * [2])):
        with pytest.raises(ValueError, match="three axes"):
            io.resize_image(bad, dims)


@given(st.integers(2, 7), st.integers(2, 7), st.data())
def test_oversample(height, width, draw):
    crop = (draw.draw(st.integers(1, height)), draw.draw(st.integers(1, width)))
    images = np.random.default_rng(0).normal(size=(2, height, width, 3)).astype(np.float32)
    crops = io.oversample(images, crop)
    assert crops.shape == (20, *crop, 3) and crops.dtype == np.float32
    for n, image in enumerate(images):
        ten = crops[10 * n : 10 * n + 10]
        np.testing.assert_array_equal(ten[0], image[: crop[0], : crop[1]])
        np.testing.assert_array_equal(ten[1], image[: crop[0], width - crop[1] :])
        np.testing.assert_array_equal(ten[2], image[height - crop[0] :, : crop[1]])
        np.testing.assert_array_equal(ten[3], image[height - crop[0] :, width - crop[1] :])
        top, left = int(height / 2 - crop[0] / 2), int(width / 2 - crop[1] / 2)
        np.testing.assert_array_equal(ten[4], image[top : top + crop[0], left : left + crop[1]])
        np.testing.assert_array_equal(ten[5:], ten[:5, :, ::-1])
    with pytest.raises(ValueError, match="does not fit"):
        io.oversample(images, (height + 1, 1))


@pytest.fixture
def transformer():
    return io.Transformer({"data": (10, 3, 4, 6)})


@pytest.mark.tiny
def test_transformer(transformer):
    image = np.random.default_rng(0).random((4, 6, 3)).astype(np.float32)
    before = image.copy()
    np.testing.assert_array_equal(transformer.preprocess("data", image), image)
    transformer.set_transpose("data", (2, 0, 1))
    transformer.set_channel_swap("data", (2, 1, 0))
    transformer.set_raw_scale("data", 255)
    transformer.set_mean("data", np.array([104, 117, 123]))
    transformer.set_input_scale("data", 0.017)
    out = transformer.preprocess("data", image)
    assert out.dtype == np.float32
    expected = (image[:, :, ::-1] * 255 - [104, 117, 123]) * 0.017
    np.testing.assert_allclose(out, expected.transpose(2, 0, 1), atol=1e-4)
    np.testing.assert_allclose(transformer.deprocess("data", out[np.newaxis]), image, atol=1e-5)
    np.testing.assert_array_equal(image, before)  # the caller's arrays stay as they are


def test_transformer_resizes(transformer):
    image = np.random.default_rng(0).random((9, 5, 3)).astype(np.float32)
    transformer.set_transpose("data", (2, 0, 1))
    np.testing.assert_allclose(
        transformer.preprocess("data", image).transpose(1, 2, 0), bilinear(image, 4, 6), atol=1e-5
    )


def test_mean_images(transformer):
    mean = np.random.default_rng(0).random((3, 4, 6))
    transformer.set_mean("data", mean)
    np.testing.assert_array_equal(transformer.mean["data"], mean)
    transformer.set_mean("data", mean[:, :2, :3])
    np.testing.assert_allclose(
        transformer.mean["data"].transpose(1, 2, 0),
        bilinear(mean[:, :2, :3].transpose(1, 2, 0), 4, 6),
        atol=1e-5,
    )
    transformer.set_mean("data", mean[0])
    np.testing.assert_array_equal(transformer.mean["data"], mean[:1])
    for bad in (np.zeros(2), np.zeros((2, 4, 6)), np.zeros((1, 3, 4, 6)), np.float32(3)):
        with pytest.raises(ValueError, match="mean"):
            transformer.set_mean("data", bad)


def test_what_a_transformer_refuses(transformer):
    for call in (
        lambda: transformer.preprocess("dta", np.zeros((4, 6, 3))),
        lambda: transformer.deprocess("dta", 0),
        lambda: transformer.set_raw_scale("dta", 1),
        lambda: transformer.set_mean("dta", np.zeros(3)),
        lambda: transformer.set_input_scale("dta", 1),
    ):
        with pytest.raises(DataError, match=r"no input 'dta' \(expected data\)"):
            call()
    for order in ((0, 1), (0, 1, 1), (0, 1, 3), (0, 1, 2, 3)):
        with pytest.raises(CaffeError, match="no permutation of the axes"):
            transformer.set_transpose("data", order)
        with pytest.raises(CaffeError, match="no permutation of the channels"):
            transformer.set_channel_swap("data", order)


arrays = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=0, max_dims=5, max_side=3),
    elements=st.floats(-1e9, 1e9, width=32),
)


@settings(max_examples=50, deadline=None)
@given(arrays, st.booleans())
def test_blob_protos(array, with_diff):
    blob = io.array_to_blobproto(array, diff=array + 1 if with_diff else None)
    assert isinstance(blob, caffe_pb2.BlobProto)
    assert list(blob.shape.dim) == list(array.shape) and len(blob.diff) == (array.size if with_diff else 0)
    np.testing.assert_array_equal(io.blobproto_to_array(blob), array)
    if with_diff:
        np.testing.assert_array_equal(io.blobproto_to_array(blob, return_diff=True), array + 1)
    again = io.blobprotovector_str_to_arraylist(io.arraylist_to_blobprotovector_str([array, array * 2]))
    np.testing.assert_array_equal(again[0], array)
    np.testing.assert_array_equal(again[1], array * 2)


def test_blob_protos_by_hand():
    blob = caffe_pb2.BlobProto(data=range(100))
    with pytest.raises(ValueError, match="100 values"):
        io.blobproto_to_array(blob)
    blob.num, blob.channels, blob.height, blob.width = 1, 1, 10, 10
    assert io.blobproto_to_array(blob).shape == (1, 1, 10, 10)
    assert io.blobproto_to_array(caffe_pb2.BlobProto(data=[123])) == 123
    array = io.blobproto_to_array(caffe_pb2.BlobProto(double_data=[1, 2], shape=dict(dim=[2])))
    array += 1  # a copy of its own
    assert array.tolist() == [2, 3]
    raw = blobs.array_blob(np.ones(3))
    io.blobproto_to_array(raw)[0] = 5
    assert io.blobproto_to_array(raw)[0] == 1


def test_datums():
    small = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    datum = io.array_to_datum(small, label=7)
    assert (datum.channels, datum.height, datum.width, datum.label) == (2, 3, 4, 7)
    assert datum.data == small.tobytes() and not datum.float_data
    back = io.datum_to_array(datum)
    np.testing.assert_array_equal(back, small)
    assert back.dtype == np.uint8 and back.flags.writeable
    real = io.array_to_datum(small / 2)
    assert not real.data and not real.HasField("label")
    np.testing.assert_array_equal(io.datum_to_array(real), small / 2)
    for bad in (np.zeros(3), np.zeros((1, 1, 1, 1))):
        with pytest.raises(ValueError, match="three axes"):
            io.array_to_datum(bad)
    datum.height = 5
    with pytest.raises(ValueError, match="do not fit"):
        io.datum_to_array(datum)


def test_encoded_datums(pixels):
    file = bytes_io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    datum = caffe_pb2.Datum(data=file.getvalue(), encoded=True)
    np.testing.assert_array_equal(io.datum_to_array(datum), pixels[:, :, ::-1].transpose(2, 0, 1))
    file = bytes_io.BytesIO()
    Image.fromarray(pixels[:, :, 0]).save(file, "png")
    datum.data = file.getvalue()
    np.testing.assert_array_equal(io.datum_to_array(datum), pixels[np.newaxis, :, :, 0])
    datum.data = b"no image"
    with pytest.raises(DataError, match="no readable image"):
        io.datum_to_array(datum)


def test_io_is_an_attribute_of_caffe():
    assert caffe.io is io
