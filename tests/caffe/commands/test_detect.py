"""Detector and `caffe detect`: windows, context and the mean beyond the border."""
import csv

import numpy as np
import pytest
from PIL import Image

import caffe

pytestmark = pytest.mark.unit
FACTORS = np.array([1, 2, 3])
WINDOWS = [[0, 0, 4, 6], [3, 2, 7, 8], [5, 1, 9, 11]]


@pytest.fixture
def image(tmp_path):
    """An image file of 10 x 12 pixels, and its values from 0 to 1."""
    pixels = np.random.default_rng(0).integers(0, 256, (10, 12, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    return str(tmp_path / "a.png"), pixels / 255


def test_windows_without_context(deploy, image):
    file, pixels = image
    # an iterator and arrays, as pycaffe programs give them
    found = caffe.Detector(*deploy, raw_scale=10).detect_windows(iter([(file, np.array(WINDOWS[:2])), (file, [])]))
    assert [one["filename"] for one in found] == [file, file]
    for one, (y0, x0, y1, x1) in zip(found, WINDOWS, strict=False):
        assert list(one["window"]) == [y0, x0, y1, x1]   # 4 x 6: not resized
        np.testing.assert_allclose(one["prediction"], pixels[y0:y1, x0:x1].mean((0, 1)) * 10 * FACTORS, rtol=1e-4)


def test_context_is_what_surrounds_the_window(deploy):
    net = caffe.Detector(*deploy, context_pad=1)   # input 4 x 6: 2 x 4 pixels show the window
    ramp = np.zeros((30, 30, 3), np.float32) + np.arange(30)[:, None, None]
    crop = net.crop(ramp, [10, 10, 19, 19])
    assert crop.shape == (4, 6, 3)
    # 10 rows and columns (both ends count) grow to 20 x 15 about (15, 15): rows 5 to 25
    np.testing.assert_allclose(crop[:, :, 0].mean(), 14.5, atol=0.5)
    assert crop[0, 0, 0] < 8 and crop[-1, 0, 0] > 21


def test_the_mean_lies_beyond_the_border(deploy):
    mean = np.array([30.0, 20, 10])
    net = caffe.Detector(*deploy, mean=mean, raw_scale=255, channel_swap=(2, 1, 0), context_pad=1)
    crop = net.crop(np.ones((30, 30, 3), np.float32), [0, 0, 19, 19])   # 20 x 20 grow to 40 x 30 about (10, 10)
    np.testing.assert_allclose(crop[0], np.tile(mean[::-1] / 255, (6, 1)), rtol=1e-5)   # a quarter is outside
    np.testing.assert_allclose(crop[1:, 1:], 1)
    prepared = net.transformer.preprocess("data", crop)
    np.testing.assert_allclose(prepared[:, 0], 0, atol=1e-4)


@pytest.mark.parametrize("context_pad", [0, 1])
@pytest.mark.parametrize("window", [[20, 20, 25, 25], [5, 5, 5, 9, 1], [-9, -9, -7, -7]])
def test_windows_that_show_nothing(deploy, image, window, context_pad):
    with pytest.raises(caffe.DataError) as error:
        caffe.Detector(*deploy, context_pad=context_pad).detect_windows([(image[0], [window])])
    assert "a.png" in str(error.value) and "list of windows" in str(error.value)


def test_refusals(deploy, image):
    with pytest.raises(caffe.ShapeError, match="context_pad leaves nothing"):
        caffe.Detector(*deploy, context_pad=2)
    with pytest.raises(caffe.DataError, match="no images"):
        caffe.Detector(*deploy).detect_windows([])
    with pytest.raises(caffe.DataError, match="selective_search"):
        caffe.Detector(*deploy).detect_selective_search([image[0]])


def test_command(command, deploy, image, tmp_path):
    h5py = pytest.importorskip("h5py")
    text = "filename, xmin, ymin, xmax, ymax\n" + "".join(f"a.png,{x0},{y0},{x1},{y1}\n" for y0, x0, y1, x1 in WINDOWS)
    (tmp_path / "windows.csv").write_text(text)
    np.save(tmp_path / "mean.npy", np.arange(3 * 4 * 6.0).reshape(3, 4, 6))
    flags = ["-model_def", deploy[0], "-pretrained_model", deploy[1], "-context_pad", 0, "-mean_file", "mean.npy"]
    for output in ("out.csv", "out.h5"):
        status, said = command("detect", "windows.csv", output, *flags)
        assert status == 0 and "Processed 3 windows" in said
    with open("out.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    mean = np.arange(72.0).reshape(3, 24).mean(1)
    for row, (y0, x0, y1, x1) in zip(rows, WINDOWS, strict=True):
        assert [int(row[name]) for name in ("ymin", "xmin", "ymax", "xmax")] == [y0, x0, y1, x1]
        if (y1 - y0, x1 - x0) == (4, 6):
            expected = (image[1][y0:y1, x0:x1, ::-1].mean((0, 1)) * 255 - mean) * FACTORS
            np.testing.assert_allclose([float(row[f"class{i}"]) for i in range(3)], expected, rtol=1e-4)
    with h5py.File("out.h5") as file:
        np.testing.assert_array_equal(file["window"][()], WINDOWS)
        np.testing.assert_allclose(file["prediction"][()], [[float(row[f"class{i}"]) for i in range(3)]
                                                            for row in rows], rtol=1e-6)
        assert list(file["filename"].asstr()) == ["a.png"] * 3


@pytest.mark.parametrize("name, text, words", [
    ("w.csv", "a.png,1,2,3,4\n", "head line"), ("w.csv", "filename,ymin,xmin,ymax,xmax\na.png,1,2,3\n", "w.csv:2"),
    ("w.csv", "filename,ymin,xmin,ymax,xmax\n", "lists no windows"), ("w.txt", "a.png\n", "selective_search"),
    ("w.doc", "", "-crop_mode"), ("w.csv", "filename,ymin,xmin,ymax,xmax\na.png,1,2,3,inf\n", "is no window")])
def test_refused_lists(command, deploy, image, tmp_path, name, text, words):
    (tmp_path / name).write_text(text)
    status, said = command("detect", name, "out.csv", "-model_def", deploy[0], "-pretrained_model", deploy[1],
                           "-context_pad", 1)
    assert status == 1 and words in said and "help:" in said and not (tmp_path / "out.csv").exists()
