"""seg11valid: VOC 2011 val without SBD train."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data import DataError, open_dataset
from data.splits import compare_published, seg11valid

pytestmark = pytest.mark.unit

ids = st.lists(st.integers(0, 30).map(str), unique=True)


@pytest.mark.tiny
@given(ids, ids)
def test_is_the_difference_in_vocs_order(val, train):
    expected = [i for i in val if not any(i == j for j in train)]
    if expected:
        assert seg11valid(val, train) == expected
    else:
        with pytest.raises(DataError, match="empty"):
            seg11valid(val, train)


def test_the_real_lists_must_leave_736():
    val = [f"v{i}" for i in range(1111)]
    rest = [f"s{i}" for i in range(8498 - 375)]
    assert len(seg11valid(val, val[:375] + rest)) == 736
    with pytest.raises(DataError, match=r"found 737 ids, expected 736 ids"):
        seg11valid(val, val[:374] + rest + ["one more"])


def test_composite_set_takes_labels_from_both(tmp_path, make_voc, make_sbd):
    named = tmp_path / "named"
    voc = make_voc(named / "voc2011/VOCdevkit/VOC2011", {"train": ["t"], "val": ["a", "b", "c"]})
    sbd = make_sbd(named / "sbd/benchmark_RELEASE/dataset", {"train": ["b", "p"], "val": ["a"]})
    dataset = open_dataset("seg11valid")
    assert dataset.splits() == ("train", "seg11valid")
    assert dataset.ids("train") == ["b", "p"]
    assert dataset.ids("val") == dataset.ids("seg11valid") == ["a", "c"]
    np.testing.assert_array_equal(dataset.label("b"), sbd["b"])
    np.testing.assert_array_equal(dataset.label("a"), voc["a"][1])
    assert (
        dataset.image_path("a").parent.name == "JPEGImages" and dataset.image_path("p").parent.name == "img"
    )
    with pytest.raises(DataError, match="no split 'test'"):
        dataset.ids("test")


def test_needs_both_sets_and_names_the_missing_one(tmp_path, make_voc):
    with pytest.raises(DataError, match="data.prepare voc2011"):
        open_dataset("seg11valid")
    make_voc(tmp_path / "named/voc2011", {"val": ["a"]})
    with pytest.raises(DataError, match="data.prepare sbd"):
        open_dataset("seg11valid")


def test_published_list_is_compared(tmp_path, make_voc, make_sbd):
    voc, sbd = tmp_path / "named/voc2011", tmp_path / "named/sbd"
    make_voc(voc, {"val": ["a", "b", "c"]})
    make_sbd(sbd, {"train": ["b"]})
    published = voc / "ImageSets/Segmentation/seg11valid.txt"
    published.write_text("c\na\n")
    assert open_dataset("seg11valid").ids("val") == ["a", "c"]
    published.write_text("a\nz\n")
    with pytest.raises(DataError, match=r"only derived \['c'\], 1 only published \['z'\]"):
        open_dataset("seg11valid")
    compare_published(["z", "a"], published)
