"""The reader of SIFT Flow, on a tiny copy with both kinds of labels."""

import shutil

import numpy as np
import pytest

from data import DataError, open_dataset
from data.check import check
from data.prepare import prepare
from data.siftflow import UNLABELLED, SIFTFlow
from tests.data.layouts import SIFT_FOLDER, write_siftflow

pytestmark = pytest.mark.unit
SPLITS = {"trainval": ["street_b", "coast_a"], "test": ["forest_c"]}


@pytest.mark.tiny
def test_both_labels_are_what_was_stored(tmp_path):
    made = write_siftflow(tmp_path / "SiftFlowDataset", SPLITS)
    sift = SIFTFlow(tmp_path)
    assert sift.splits() == ("trainval", "test") and sift.ids("trainval") == SPLITS["trainval"]
    assert len(sift.classes_of("sem")) == 33 and sift.classes_of("geo") == ("sky", "horizontal", "vertical")
    for i, tops in made.items():
        for top in ("sem", "geo"):
            got = sift.top(i, top)
            assert got.dtype == np.uint8 and 255 in tops["geo"]
            np.testing.assert_array_equal(got, tops[top])
        np.testing.assert_array_equal(sift.label(i), tops["sem"])
        assert sift.top(i, "data").shape == (8, 8, 3)


def test_splits_of_the_archive_leave_unlabelled_pictures_out(tmp_path):
    write_siftflow(tmp_path, {**SPLITS, "test": ["forest_c", UNLABELLED[0]]}, True, [UNLABELLED[1]])
    sift = open_dataset(tmp_path)
    assert isinstance(sift, SIFTFlow) and sift.splits() == ("trainval", "test")
    assert sift.ids("trainval") == ["coast_a", "street_b"] and sift.ids("test") == ["forest_c"]
    with pytest.raises(DataError, match="no split 'val'.*found trainval, test"):
        sift.ids("val")


def test_prepared_from_its_archive(tmp_path):
    write_siftflow(tmp_path / "SiftFlowDataset", SPLITS, True)
    archive = shutil.make_archive(str(tmp_path / "SiftFlowDataset"), "zip", tmp_path, "SiftFlowDataset")
    prepare("siftflow", archive)
    assert open_dataset("siftflow").ids("test") == ["forest_c"]


def test_missing_parts_are_named(tmp_path):
    with pytest.raises(DataError, match="(?s)'siftflow' is not here.*SiftFlowDataset.zip"):
        SIFTFlow(tmp_path)
    write_siftflow(tmp_path, SPLITS)
    shutil.rmtree(tmp_path / "GeoLabels")
    with pytest.raises(DataError, match="no GeoLabels/spatial_envelope"):
        SIFTFlow(tmp_path)


def test_check_counts_both_kinds_and_names_the_file(tmp_path):
    made = write_siftflow(tmp_path, SPLITS)
    (tmp_path / "GeoLabels" / SIFT_FOLDER / "coast_a.mat").unlink()
    (tmp_path / "SemanticLabels" / SIFT_FOLDER / "forest_c.mat").write_bytes(b"MATLAB")
    report = check(SIFTFlow(tmp_path))
    assert [(r.split, r.label) for r in report.splits] == [
        (split, label) for split in ("trainval", "test") for label in ("sem", "geo")]
    sem, geo, _, test_geo = report.splits
    assert sem.pixels == [sum(int((made[i]["sem"] == c).sum()) for i in SPLITS["trainval"]) for c in range(33)]
    assert geo.pixels == [int((made["street_b"]["geo"] == c).sum()) for c in range(3)]
    assert test_geo.void == int((made["forest_c"]["geo"] == 255).sum())
    assert sorted((p.kind, p.where.split("/")[-3]) for p in report.problems) == [
        ("missing label", "GeoLabels"), ("unreadable label", "SemanticLabels")]
    assert "trainval, geo: 2 pictures" in report.table() and "vertical" in report.table()
