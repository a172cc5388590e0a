"""The reader of the VOC layout, on tiny copies of it."""

import numpy as np
import pytest
from PIL import Image

from data import DataError, open_dataset
from data.palette import voc_palette, write_indexed_png
from data.voc import VOC, VOC_CLASSES

pytestmark = pytest.mark.unit


@pytest.mark.tiny
def test_reads_what_was_written(voc):
    root, pictures = voc
    dataset = VOC(root)
    assert (dataset.name, dataset.root) == ("VOC2012", root)
    assert dataset.classes == ("ground", "tree", "car")
    assert dataset.splits() == ("train", "val")
    assert dataset.ids("train") == ["a", "b", "c"]
    for i, (image, label) in pictures.items():
        np.testing.assert_array_equal(dataset.image(i), image)
        np.testing.assert_array_equal(dataset.label(i), label)
    np.testing.assert_array_equal(dataset.palette, voc_palette())


@pytest.mark.parametrize("nest", ["VOCdevkit/VOC2012", "TrainVal/VOCdevkit/VOC2011", "VOC2012", ""])
def test_finds_the_set_inside_the_devkit(tmp_path, make_voc, nest):
    made = make_voc(tmp_path / nest, {"val": ["x"]}, ending=".jpg")
    dataset = open_dataset(tmp_path)
    assert dataset.root == tmp_path / nest
    assert dataset.classes == VOC_CLASSES and len(VOC_CLASSES) == 21
    assert dataset.image_path("x").name == "x.jpg"
    # JPEG is lossy: it only has to be the same picture
    assert dataset.image("x").shape == made["x"][0].shape


def test_two_years_below_one_folder_need_a_name(tmp_path, make_voc):
    for year in ("VOC2011", "VOC2012"):
        make_voc(tmp_path / "VOCdevkit" / year, {"val": [year]})
    with pytest.raises(DataError, match="2 data sets below one folder: VOC2011, VOC2012"):
        VOC(tmp_path)
    assert VOC(tmp_path, "voc2011").ids("val") == ["VOC2011"]


def test_lists_are_read_as_they_are_written_elsewhere(voc):
    root, _ = voc
    (root / "ImageSets/Segmentation/train.txt").write_bytes(b"\xef\xbb\xbfb\r\n\r\na \r\n")
    assert VOC(root).ids("train") == ["b", "a"]


def test_missing_parts_are_named(tmp_path, voc):
    root, _ = voc
    with pytest.raises(DataError, match=r"no 'ImageSets|no ImageSets/Segmentation/ in it"):
        VOC(tmp_path / "VOC2012" / "JPEGImages")
    with pytest.raises(DataError, match="no such folder"):
        VOC(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"no split 'tset'.*found train, val"):
        VOC(root).ids("tset")
    (root / "SegmentationClass").rename(root / "SegmentationObject")
    with pytest.raises(DataError, match="no SegmentationClass/ in it"):
        VOC(root)


@pytest.mark.parametrize("text", ["", "a\nb\na\n"])
def test_bad_class_names(voc, text):
    root, _ = voc
    (root / "classes.txt").write_text(text)
    with pytest.raises(DataError, match="classes.txt: class names must be"):
        VOC(root)


def test_grayscale_image_becomes_three_channels(voc):
    root, _ = voc
    Image.new("L", (5, 4), 77).save(root / "JPEGImages/a.png")
    image = VOC(root).image("a")
    assert image.shape == (4, 5, 3) and (image == 77).all()


def test_gray_label_file_is_indices_too(voc):
    root, pictures = voc
    Image.fromarray(pictures["a"][1]).save(root / "SegmentationClass/a.png")
    np.testing.assert_array_equal(VOC(root).label("a"), pictures["a"][1])


def test_palette_of_the_set_itself(voc):
    root, pictures = voc
    own = np.arange(768).reshape(256, 3).astype(np.uint8)
    write_indexed_png(root / "SegmentationClass/a.png", pictures["a"][1], own)
    np.testing.assert_array_equal(VOC(root).palette, own)


def test_colour_coded_labels_are_refused(voc):
    root, _ = voc
    Image.new("RGB", (5, 4), (128, 0, 0)).save(root / "SegmentationClass/b.png")
    with pytest.raises(DataError, match=r"b\.png: labels must be class indices \(found colour-coded"):
        VOC(root).label("b")
    Image.new("I;16", (5, 4), 300).save(root / "SegmentationClass/b.png")
    with pytest.raises(DataError, match=r"b\.png: .*mode I;16"):
        VOC(root).label("b")


def test_damaged_files_are_named(voc):
    root, _ = voc
    dataset = VOC(root)
    whole = (root / "SegmentationClass/a.png").read_bytes()
    (root / "SegmentationClass/a.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"a\.png: the label"):
        dataset.label("a")
    (root / "JPEGImages/a.png").write_text("<html>please log in</html>")
    with pytest.raises(DataError, match=r"a\.png: the image is not a readable image"):
        dataset.image("a")
    with pytest.raises(DataError, match=r"nobody\.jpg: no image file"):
        dataset.image("nobody")


def test_cut_jpeg_is_named(tmp_path, make_voc):
    make_voc(tmp_path, {"val": ["x"]}, ending=".jpg", size=(64, 64))
    path = tmp_path / "JPEGImages/x.jpg"
    path.write_bytes(path.read_bytes()[:1500])
    with pytest.raises(DataError, match=r"x\.jpg: the image cannot be decoded"):
        VOC(tmp_path).image("x")
