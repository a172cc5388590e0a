"""The embedded data set: the same pixels everywhere, VOC layout, geometry that needs a fine stride."""

import hashlib
import json
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from data import DataError, open_dataset, shapes
from data.check import check

pytestmark = pytest.mark.unit

# of the first 12 images and labels: whoever changes the drawing must raise shapes.VERSION and record it anew
FIRST_TWELVE = "77654dba9e07a5264605ad5c0acfd909da654c1fc3a7b1b6a29f88d1c0348658"


def test_pixels_are_the_same_everywhere():
    digest = hashlib.sha256()
    for index in range(12):
        for array in shapes.render(shapes.SEED, index):
            digest.update(array.tobytes())
    assert (shapes.VERSION, digest.hexdigest()) == (1, FIRST_TWELVE)


def test_pictures_differ_by_number_and_seed():
    one, again = shapes.render(1, 5), shapes.render(1, 5)
    np.testing.assert_array_equal(one[0], again[0])
    assert (one[0] != shapes.render(1, 6)[0]).any() and (one[0] != shapes.render(2, 5)[0]).any()


@given(arrays(np.uint8, st.tuples(st.integers(1, 7), st.integers(1, 7)), elements=st.integers(0, 3)))
def test_rim_is_where_a_higher_class_touches(label):
    height, width = label.shape
    expected = label.copy()
    for y in range(height):
        for x in range(width):
            for b, a in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                if 0 <= b < height and 0 <= a < width and label[b, a] > label[y, x]:
                    expected[y, x] = 255
    np.testing.assert_array_equal(shapes.void_rim(label), expected)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 10**6), st.sampled_from([32, 96, 160]))
def test_every_picture_is_trainable(seed, index, size):
    image, label = shapes.render(seed, index, size)
    assert image.shape == (size, size, 3) and image.dtype == label.dtype == np.uint8
    values = set(np.unique(label)) - {255}
    assert values <= set(range(len(shapes.CLASSES))) and values - {0}


def coarse(label, stride):
    """The labels seen at the middle of each cell of `stride` pixels, spread over the cell."""
    return np.kron(label[stride // 2 :: stride, stride // 2 :: stride], np.ones((stride, stride), np.uint8))


def test_stride_matters():
    """Labels sampled every 32, 16, 8 pixels keep more and more: the mean IU that a plain grid can reach."""
    labels = [shapes.render(shapes.SEED, index)[1] for index in range(24)]
    scores = []
    for stride in (32, 16, 8):
        seen = [(label, coarse(label, stride)) for label in labels]
        counts = np.zeros((7, 7))
        for truth, grid in seen:
            both = (truth != 255) & (grid != 255)
            np.add.at(counts, (truth[both], grid[both]), 1)
        inside = np.diag(counts)
        scores.append((inside / (counts.sum(0) + counts.sum(1) - inside)).mean())
    assert scores[0] + 0.1 < scores[1] and scores[1] + 0.1 < scores[2]


@pytest.mark.tiny
def test_written_in_voc_layout(tmp_path):
    shapes.write(tmp_path / "s", seed=3, counts={"train": 3, "val": 2}, size=64)
    dataset = open_dataset(tmp_path / "s")
    assert dataset.classes == shapes.CLASSES
    assert [len(dataset.ids(split)) for split in ("train", "val", "trainval")] == [3, 2, 5]
    for index, picture in enumerate(dataset.ids("trainval")):
        image, label = shapes.render(3, index, 64)
        np.testing.assert_array_equal(dataset.label(picture), label)
        assert np.abs(dataset.image(picture).astype(int) - image).mean() < 5  # JPEG of noise
        with Image.open(dataset.label_path(picture)) as file:
            assert file.mode == "P"
    assert not check(dataset).problems


def test_opened_by_name_it_is_drawn_once(tmp_path, monkeypatch):
    monkeypatch.setenv("CAFFE_LUNGO_DATA", str(tmp_path))
    monkeypatch.setattr(shapes, "COUNTS", {"train": 2, "val": 1})
    dataset = open_dataset("shapes")
    assert (dataset.name, dataset.root) == ("shapes", tmp_path / "shapes")
    first = dataset.image_path(dataset.ids("val")[0]).stat().st_mtime_ns
    time.sleep(0.01)
    again = open_dataset("shapes")
    assert again.image_path(again.ids("val")[0]).stat().st_mtime_ns == first
    monkeypatch.setattr(shapes, "VERSION", 2)
    open_dataset("shapes")
    assert again.image_path(again.ids("val")[0]).stat().st_mtime_ns > first
    assert json.loads((tmp_path / "shapes/shapes.json").read_text())["version"] == 2
    assert [path.name for path in tmp_path.iterdir()] == ["shapes"]  # no half-written folder is left


def test_never_replaces_what_it_did_not_draw(tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(DataError, match="not drawn by data.shapes"):
        shapes.write(tmp_path, counts={"train": 1})
    assert (tmp_path / "mine.txt").read_text() == "precious"


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        shapes.write(tmp_path / "file" / "shapes", counts={"train": 1})


def test_command(tmp_path, capsys):
    assert shapes.main(["--out", str(tmp_path / "s"), "--train", "2", "--val", "1", "--size", "32"]) == 0
    assert "2 train and 1 val pictures" in capsys.readouterr().out
    with pytest.raises(SystemExit) as caught:
        shapes.main(["--out", str(tmp_path), "--train", "1", "--val", "1", "--size", "32"])
    assert caught.value.code == 1 and "not drawn by data.shapes" in capsys.readouterr().err
