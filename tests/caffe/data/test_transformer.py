"""transform_param against its definition, pixel by pixel; random crops and mirrors; what does not fit."""
import numpy as np
import pytest
from google.protobuf import text_format

import caffe
from caffe.data.transformer import Transformer
from caffe.proto import caffe_pb2

pytestmark = pytest.mark.unit
IMAGE = np.random.default_rng(1).integers(0, 256, (3, 6, 7), dtype=np.uint8)
MEAN = np.random.default_rng(2).uniform(0, 255, (3, 6, 7)).astype(np.float32)


def transformer(text: str, phase: int = caffe.TEST) -> Transformer:
    return Transformer(text_format.Parse(text, caffe_pb2.TransformationParameter()), phase, "it")


@pytest.fixture
def mean_file(tmp_path):
    path = tmp_path / "mean.binaryproto"
    path.write_bytes(caffe.io.array_to_blobproto(MEAN[None]).SerializeToString())
    return path


def by_pixel(image, mean, scale, size, top, left, mirror):
    height, width = (size, size) if size else image.shape[1:]
    out = np.empty((len(image), height, width), np.float32)
    for c in range(len(image)):
        for y in range(height):
            for x in range(width):
                value = (np.float32(image[c, top + y, left + x]) - mean[c, top + y, left + x]) * np.float32(scale)
                out[c, y, width - 1 - x if mirror else x] = value
    return out


def test_centre_crop_mean_values_and_scale():
    per_channel = np.broadcast_to(np.float32([1, 2, 3])[:, None, None], IMAGE.shape)
    got = transformer("crop_size: 3 scale: 0.5 mean_value: 1 mean_value: 2 mean_value: 3").apply(IMAGE)
    np.testing.assert_array_equal(got, by_pixel(IMAGE, per_channel, 0.5, 3, 1, 2, False))   # (6-3)//2, (7-3)//2
    got = transformer("mean_value: 7").apply(IMAGE)
    np.testing.assert_array_equal(got, IMAGE.astype(np.float32) - 7)
    assert got.dtype == np.float32


def test_a_mean_image_is_cropped_with_the_image(mean_file):
    got = transformer(f'crop_size: 4 mean_file: "{mean_file}"').apply(IMAGE)
    np.testing.assert_array_equal(got, by_pixel(IMAGE, MEAN, 1, 4, 1, 1, False))


@pytest.mark.parametrize("size", [0, 5])
def test_random_crops_and_mirrors_are_all_equally_likely(mean_file, size):
    it = transformer(f'crop_size: {size} mirror: true scale: 2 mean_file: "{mean_file}"', caffe.TRAIN)
    places = [(y, x) for y in range(2) for x in range(3)] if size else [(0, 0)]
    expected = {by_pixel(IMAGE, MEAN, 2, size, y, x, mirror).tobytes(): 0 for y, x in places for mirror in (0, 1)}
    random = np.random.default_rng(0)
    for _ in range(600):
        expected[it.apply(IMAGE, random).tobytes()] += 1   # KeyError: an image that cannot be
    n = 600 / len(expected)
    assert all(abs(count - n) < 5 * n ** 0.5 for count in expected.values())


def test_randomness_is_the_callers():
    it = transformer("crop_size: 2 mirror: true", caffe.TRAIN)
    a, b = (it.apply(IMAGE, np.random.default_rng(9)) for _ in range(2))
    np.testing.assert_array_equal(a, b)
    with pytest.raises(caffe.LayerError, match="random numbers"):
        it.apply(IMAGE)
    assert not transformer("crop_size: 2").random and transformer("mirror: true").random


def test_the_image_itself_is_not_changed():
    floats = IMAGE.astype(np.float32)
    transformer("mean_value: 7 scale: 3").apply(floats)
    np.testing.assert_array_equal(floats, IMAGE)


@pytest.mark.parametrize("text, says", [
    ("crop_size: 7", "smaller than crop_size"), ("mean_value: 1 mean_value: 2", "once per channel"),
])
def test_images_that_do_not_fit(text, says):
    for call in (transformer(text).apply, transformer(text).shape):
        with pytest.raises(caffe.DataError, match=says) as e:
            call(IMAGE)
        assert e.value.layer == "it" and e.value.help


def test_mean_files_that_do_not_fit(mean_file, tmp_path):
    with pytest.raises(caffe.DataError, match="another shape than mean_file"):
        transformer(f'mean_file: "{mean_file}"').apply(IMAGE[:, :5])
    for content in (None, b"", b"<html></html>", mean_file.read_bytes()[:100],
                    caffe.io.array_to_blobproto(MEAN[0]).SerializeToString()):
        path = tmp_path / "bad.binaryproto"
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(caffe.DataError, match="bad.binaryproto.*mean_file") as e:
            transformer(f'mean_file: "{path}"')
        assert e.value.layer == "it" and e.value.help


@pytest.mark.parametrize("text", ['mean_file: "m" mean_value: 1', "force_color: true force_gray: true"])
def test_settings_that_exclude_each_other(text):
    with pytest.raises(caffe.LayerError, match="has both"):
        transformer(text)
