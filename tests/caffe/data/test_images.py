"""Images as OpenCV gives them: channel order, gray, transparency, bilinear resizing, and what is refused."""
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import caffe
from caffe.data.images import decode_image, read_image, resize_linear

pytestmark = pytest.mark.unit
RGB = np.random.default_rng(3).integers(0, 256, (5, 7, 3), dtype=np.uint8)


def encoded(image, kind="PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_colour_is_bgr():
    for color in (None, True):
        np.testing.assert_array_equal(decode_image(encoded(RGB), color), RGB[:, :, ::-1])


def luminance(bgr):
    return bgr @ np.array([0.114, 0.587, 0.299])


def test_gray_from_colour_is_its_luminance():
    got = decode_image(encoded(RGB), color=False)
    assert got.shape == (5, 7, 1) and np.abs(got[:, :, 0] - luminance(RGB[:, :, ::-1])).max() <= 1
    jpeg = encoded(RGB // 4 + 96, "JPEG")   # far from black and white, where JPEG's colours saturate
    assert np.abs(decode_image(jpeg, False)[:, :, 0] - luminance(decode_image(jpeg))).max() <= 1.5


def test_a_gray_image_stays_gray_unless_colour_is_asked_for():
    gray = RGB[:, :, 0]
    assert decode_image(encoded(gray)).shape == (5, 7, 1)
    np.testing.assert_array_equal(decode_image(encoded(gray), True), np.repeat(gray[:, :, None], 3, 2))
    np.testing.assert_array_equal(decode_image(encoded(gray), False)[:, :, 0], gray)


def test_transparency_is_a_fourth_channel_or_dropped():
    rgba = np.dstack([RGB, np.arange(35, dtype=np.uint8).reshape(5, 7)])
    np.testing.assert_array_equal(decode_image(encoded(rgba)), rgba[:, :, [2, 1, 0, 3]])
    np.testing.assert_array_equal(decode_image(encoded(rgba), True), RGB[:, :, ::-1])


def test_palettes_bits_and_16_bits():
    palette = Image.fromarray(RGB // 64 * 64).quantize(16)
    np.testing.assert_array_equal(decode_image(encoded(palette)), np.asarray(palette.convert("RGB"))[:, :, ::-1])
    bits = Image.fromarray(RGB[:, :, 0] > 128)
    np.testing.assert_array_equal(decode_image(encoded(bits))[:, :, 0], (RGB[:, :, 0] > 128) * 255)
    deep = (np.arange(35).reshape(5, 7) * 1800).astype(np.uint16)
    np.testing.assert_array_equal(decode_image(encoded(deep), False)[:, :, 0], deep >> 8)
    with pytest.raises(caffe.DataError, match="16 bits"):
        decode_image(encoded(deep))


@pytest.mark.parametrize("damage", [lambda d: d[:60], lambda d: b"", lambda d: b"<html>", lambda d: d[:-30]])
def test_what_is_no_image(damage, tmp_path):
    (tmp_path / "x.png").write_bytes(damage(encoded(RGB)))
    with pytest.raises(caffe.DataError, match="x.png.*no readable image") as e:
        read_image(tmp_path / "x.png")
    assert e.value.help


def test_a_missing_image(tmp_path):
    with pytest.raises(caffe.DataError, match="gone.png.*cannot be read"):
        read_image(tmp_path / "gone.png")
    with pytest.raises(caffe.DataError, match="no path"):
        read_image("a\0b")


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["PNG", "JPEG", "BMP", "TIFF"]), st.integers(0, 250), st.binary(min_size=1, max_size=8))
def test_damaged_images_raise_nothing_else(kind, at, junk):
    data = bytearray(encoded(RGB, kind))
    data[at : at + len(junk)] = junk
    try:
        decode_image(bytes(data))
    except caffe.DataError:
        pass


def bilinear(image, height, width):
    """The definition, one pixel after the other, in floats."""
    def near(i, n, new):
        at = min(max((i + 0.5) * n / new - 0.5, 0), n - 1)
        low = min(int(at), n - 1)
        return low, min(low + 1, n - 1), at - low

    out = np.empty((height, width, image.shape[2]))
    for y in range(height):
        a, b, v = near(y, image.shape[0], height)
        for x in range(width):
            c, d, u = near(x, image.shape[1], width)
            out[y, x] = ((image[a, c] * (1 - u) + image[a, d] * u) * (1 - v)
                         + (image[b, c] * (1 - u) + image[b, d] * u) * v)
    return out


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 12), st.integers(1, 12), st.sampled_from([1, 3]))
def test_resizing_is_bilinear_without_smoothing(h, w, height, width, channels):
    image = np.random.default_rng(h * 100 + w).integers(0, 256, (h, w, channels), dtype=np.uint8)
    got = resize_linear(image, height, width)
    assert got.dtype == np.uint8 and got.shape == (height, width, channels)
    assert np.abs(got - bilinear(image.astype(float), height, width)).max() <= 1


def test_read_image_resizes(tmp_path):
    (tmp_path / "x.png").write_bytes(encoded(RGB))
    got = read_image(tmp_path / "x.png", size=(10, 14))
    np.testing.assert_array_equal(got, resize_linear(RGB[:, :, ::-1], 10, 14))
