"""The reader of PASCAL-Context, on a tiny copy with the numbers and names of the original."""

import shutil

import numpy as np
import pytest

from data import DataError, open_dataset
from data.context import CONTEXT_CLASSES, PASCALContext, read_names
from data.prepare import prepare
from tests.data.layouts import write_context

pytestmark = pytest.mark.unit
SPLITS = {"train": ["2008_000002", "2008_000003"], "val": ["2010_000001"]}


@pytest.fixture
def context(tmp_path):
    """(annotations, folder above VOC2010, labels)"""
    root, voc = tmp_path / "context", tmp_path / "VOCdevkit"
    return root, voc, write_context(root, voc / "VOC2010", SPLITS, CONTEXT_CLASSES[1:])


@pytest.mark.tiny
def test_all_classes_become_59_and_background(context):
    root, voc, made = context
    found = PASCALContext(root, voc)
    assert found.classes == CONTEXT_CLASSES and found.splits() == ("train", "val")
    assert found.ids("train") == SPLITS["train"]
    index = CONTEXT_CLASSES.index
    for i, label in made.items():
        got = found.label(i)
        assert got.dtype == np.uint8 and found.image(i).shape == (7, 9, 3)
        np.testing.assert_array_equal(got, label)
        # accordion, aeroplane, bedclothes, cloth, table, tv monitor, number 459, nothing, bicycle
        assert got[0].tolist() == [0, 1, index("bedcloth"), index("clothes"), index("diningtable"), 20, 0, 0, 2]


def test_the_task_may_come_with_the_set(context):
    root, voc, made = context
    names = [*reversed(CONTEXT_CLASSES[1:])]
    (root / "59_labels.txt").write_text("".join(f"{n}: {name}\n" for n, name in enumerate(names, start=1)))
    found = PASCALContext(root, voc)
    assert found.classes == ("background", *names)
    label = made["2010_000001"]
    np.testing.assert_array_equal(found.label("2010_000001"), np.where(label > 0, 60 - label, 0))


def test_prepared_from_its_archive(context, tmp_path, monkeypatch):
    root, voc, _ = context
    archive = shutil.make_archive(str(tmp_path / "trainval"), "gztar", root)
    with pytest.raises(DataError, match="'voc2010' is not here") as error:   # and not: the archive is wrong
        prepare("context", archive)
    assert "VOCtrainval_03-May-2010.tar" in str(error.value) and "archive does not hold" not in str(error.value)
    monkeypatch.setenv("CAFFE_LUNGO_VOC2010", str(voc))
    prepare("context", archive)
    assert open_dataset("context").ids("val") == ["2010_000001"]


def test_what_is_missing_or_wrong(context, tmp_path):
    root, voc, _ = context
    with pytest.raises(DataError, match="(?s)'context' is not here: no labels.txt.*trainval.tar.gz"):
        PASCALContext(tmp_path / "VOCdevkit", voc)
    text = (root / "labels.txt").read_text()
    (root / "labels.txt").write_text(text.replace(": table\n", ": tables\n"))
    with pytest.raises(DataError, match="labels.txt: no class 'diningtable'"):
        PASCALContext(root, voc)
    (root / "labels.txt").write_text("1 accordion\n")
    with pytest.raises(DataError, match="not a list of classes"):
        read_names(root / "labels.txt")
