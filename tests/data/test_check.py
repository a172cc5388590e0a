"""check: histograms against brute force, and one test for each thing that can be wrong."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.check import check, default_splits
from data.palette import write_indexed_png
from data.voc import VOC
from tools.check_data import main

pytestmark = pytest.mark.unit


def kinds(report):
    return sorted(problem.kind for problem in report.problems)


@pytest.mark.tiny
def test_histogram_is_the_count_of_pixels(voc):
    root, pictures = voc
    report = check(VOC(root))
    assert [split.split for split in report.splits] == ["train", "val"] and not report.problems
    for split, ids in zip(report.splits, (["a", "b", "c"], ["d"]), strict=True):
        labels = [pictures[i][1] for i in ids]
        assert split.pixels == [sum(int((label == c).sum()) for label in labels) for c in range(3)]
        assert split.images == [sum(bool((label == c).any()) for label in labels) for c in range(3)]
        assert (split.void, split.void_images) == (len(ids), len(ids))
        assert sum(split.percent) == pytest.approx(100)
        assert split.void_percent == pytest.approx(100 / 108)


def test_all_is_well(voc, capsys):
    assert main([str(voc[0])]) == 0
    out = capsys.readouterr()
    assert "no problems found" in out.out and "tree" in out.out and not out.err


def spoil(root, what):
    """Make one thing wrong in a tiny set; returns the file that the report must name."""
    image, label = root / "JPEGImages/b.png", root / "SegmentationClass/b.png"
    if what == "missing image":
        image.unlink()
        return image.with_suffix(".jpg")
    if what == "missing label":
        label.unlink()
        return label
    if what == "unreadable image":
        image.write_bytes(image.read_bytes()[:150])
        return image
    if what == "unreadable label":
        label.write_bytes(b"<html>")
        return label
    if what == "grayscale image":
        Image.new("L", (12, 9), 3).save(image)
        return image
    if what == "size mismatch":
        write_indexed_png(label, np.zeros((12, 9)))
        return label
    if what == "value out of range":
        write_indexed_png(label, np.full((9, 12), 3))
        return label
    if what == "colour-coded label":
        Image.new("RGB", (12, 9), (128, 0, 0)).save(label)
        return label
    if what == "all void":
        write_indexed_png(label, np.full((9, 12), 255))
        return label
    lists = root / "ImageSets/Segmentation/train.txt"
    lists.write_text("" if what == "empty split" else "a\nb\na\n")
    return "train"


WRONG = [
    "missing image",
    "missing label",
    "unreadable image",
    "unreadable label",
    "grayscale image",
    "size mismatch",
    "value out of range",
    "colour-coded label",
    "all void",
    "empty split",
    "listed twice",
]


@pytest.mark.parametrize("what", WRONG)
def test_finds(voc, what, capsys):
    root, _ = voc
    where = spoil(root, what)
    report = check(VOC(root))
    assert kinds(report) == [what]
    assert report.problems[0].where == str(where)
    assert main([str(root)]) == 1
    assert f"1 problem:\n  {what}: {where}" in capsys.readouterr().err


def test_out_of_range_names_value_and_range(voc):
    root, _ = voc
    spoil(root, "value out of range")
    assert check(VOC(root)).problems[0].message == "value 3 in 108 pixels; the classes are 0..2, void is 255"


def test_json_holds_everything(voc, capsys):
    root, _ = voc
    spoil(root, "all void")
    assert main([str(root), "--json", "--split", "train"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["classes"] == ["ground", "tree", "car"] and len(told["splits"]) == 1
    assert told["splits"][0]["pictures"] == 3 and told["splits"][0]["problems"][0]["kind"] == "all void"
    assert len(told["splits"][0]["percent"]) == 3


def test_chooses_splits_that_can_be_read(tmp_path, make_voc):
    make_voc(tmp_path, {"train": ["a"], "val": ["b"], "trainval": ["a", "b"], "test": ["c"], "extra": ["a"]})
    (tmp_path / "SegmentationClass/c.png").unlink()
    assert default_splits(VOC(tmp_path)) == ["train", "val", "extra"]


def test_a_set_without_lists_is_a_problem(voc):
    root, _ = voc
    for path in (root / "ImageSets/Segmentation").iterdir():
        path.unlink()
    assert kinds(check(VOC(root))) == ["empty split"]


def test_long_lists_of_problems_are_cut(voc, capsys):
    root, _ = voc
    (root / "ImageSets/Segmentation/train.txt").write_text("".join(f"{i}\n" for i in range(40)))
    assert main([str(root)]) == 1
    err = capsys.readouterr().err
    assert "80 problems:" in err and "... and 30 more" in err


def test_wrong_name_or_split_ends_with_words(voc, capsys):
    assert main(["shaeps"]) == 1
    assert main([str(voc[0]), "--split", "vla"]) == 1
    err = capsys.readouterr().err
    assert "did you mean 'shapes'" in err and "no split 'vla'" in err


@pytest.mark.data
def test_camvid_has_its_published_histogram():
    """The counts in the description of the 11-class edition (SegNet's), val split."""
    where = os.environ.get("CAFFE_LUNGO_CAMVID")
    if not where or not Path(where).is_dir():
        pytest.skip("set CAFFE_LUNGO_CAMVID to the folder of CamVid in VOC layout")
    report = check(VOC(where), ["val"])
    assert not report.problems
    assert report.splits[0].pixels == [
        1601620,
        4531180,
        98499,
        5053176,
        1521751,
        2851125,
        155724,
        537197,
        304716,
        113531,
        387010,
    ]
    assert report.splits[0].void == 297271
