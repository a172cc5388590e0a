"""The VOC palette, palette PNG files, pictures of labels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from data import DataError, colorize, overlay, voc_palette, write_indexed_png

pytestmark = pytest.mark.unit


@pytest.mark.tiny
def test_colours_are_vocs():
    # from the legend of the VOC segmentation challenge
    known = {
        0: (0, 0, 0),
        1: (128, 0, 0),
        2: (0, 128, 0),
        3: (128, 128, 0),
        4: (0, 0, 128),
        7: (128, 128, 128),
        8: (64, 0, 0),
        15: (192, 128, 128),
        16: (0, 64, 0),
        20: (0, 64, 128),
        255: (224, 224, 192),
    }
    palette = voc_palette()
    assert palette.shape == (256, 3) and palette.dtype == np.uint8
    assert {c: tuple(palette[c].tolist()) for c in known} == known


def test_no_two_classes_share_a_colour():
    assert len({tuple(c) for c in voc_palette().tolist()}) == 256


@given(arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_file_keeps_indices_and_palette(tmp_path_factory, labels):
    path = tmp_path_factory.mktemp("png") / "sub" / "x.png"
    write_indexed_png(path, labels)
    with Image.open(path) as image:
        assert image.mode == "P"
        np.testing.assert_array_equal(np.array(image), labels)
        np.testing.assert_array_equal(np.array(image.convert("RGB")), colorize(labels))


def test_file_takes_net_output_and_a_short_palette(tmp_path):
    colours = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)
    write_indexed_png(tmp_path / "x.png", np.array([[[0.0, 1.0, 1.0]]], np.float32), colours)
    with Image.open(tmp_path / "x.png") as image:
        assert np.array(image.convert("RGB")).tolist() == [[[1, 2, 3], [4, 5, 6], [4, 5, 6]]]


@pytest.mark.parametrize(
    "labels", [np.zeros((2, 3, 4)), np.array([[0.5]]), np.array([[256]]), np.array([[-1]])]
)
def test_file_refuses_what_is_no_index(tmp_path, labels):
    with pytest.raises(DataError, match="help: "):
        write_indexed_png(tmp_path / "x.png", labels)
    assert not (tmp_path / "x.png").exists()


def test_overlay_mixes_objects_and_leaves_ground_and_void():
    image = np.full((1, 3, 3), 100, np.uint8)
    labels = np.array([[0, 1, 255]])
    out = overlay(image, labels, alpha=0.25)
    assert out.tolist() == [[[100] * 3, [107, 75, 75], [100] * 3]]  # 0.75 * 100 + 0.25 * (128, 0, 0)
    np.testing.assert_array_equal(overlay(image, labels, alpha=0), image)


def test_overlay_refuses_another_size():
    with pytest.raises(DataError, match=r"image \(4, 4, 3\), labels \(2, 2\)"):
        overlay(np.zeros((4, 4, 3), np.uint8), np.zeros((2, 2), np.uint8))
