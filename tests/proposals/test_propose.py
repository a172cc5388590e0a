"""Proposals: what greedy suppression of all masks keeps, and files that pycocotools reads."""

import contextlib
import io
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco
from pycocotools.coco import COCO

from halide_kernels import nms
from halide_kernels.nms import Pathway
from proposals import propose
from proposals.errors import DataError
from proposals.plane import Plane
from tests.proposals.drawn import pictures, whole_mask

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")   # pycocotools' decode


def expected(planes, height, width, threshold):
    """(plane, y, x, mask) that the definition of suppression keeps, best first, those with no pixel left out."""
    masks = [plane.cells > 0 for plane in planes]
    kept = nms.with_pixels([plane.place for plane in planes], masks, [plane.scores for plane in planes], threshold)
    regions = [(p, y, x) for p, plane in enumerate(planes) for y, x in np.ndindex(plane.grid)]
    regions = [region for region, keep in zip(regions, kept, strict=True) if keep]
    regions.sort(key=lambda region: (-planes[region[0]].scores[region[1:]], region))
    found = [(p, y, x, whole_mask(planes[p], y, x, height, width)) for p, y, x in regions]
    return [one for one in found if one[3].any()]


@pytest.mark.unit
@given(pictures(), st.sampled_from([0, 0.3, 0.5, 0.8, 1]), st.integers(1, 30))
@settings(max_examples=60, deadline=None)
def test_keeps_what_the_definition_keeps(case, threshold, most):
    planes, instances = case
    height, width = instances[0].mask.shape
    found = propose.propose(planes, height, width, threshold, most)
    wanted = expected(planes, height, width, threshold)[:most]
    assert [(one.plane, one.y, one.x) for one in found] == [region[:3] for region in wanted]
    for one, (p, y, x, mask) in zip(found, wanted, strict=True):
        assert one.score == planes[p].scores[y, x]
        np.testing.assert_array_equal(coco.decode(one.segmentation), mask)


@pytest.mark.unit
def test_a_file_that_pycocotools_reads(tmp_path):
    numbers = np.random.default_rng(0)
    plane = Plane("one", Pathway(-6, -6, 4, 4, 5), numbers.integers(-3, 4, (25, 6, 7)).astype(np.float32),
                  numbers.random((6, 7), np.float32))
    found = propose.propose([plane], 30, 40, 0.9, 20)
    records = [one.record(3) for one in found]
    propose.write_results(tmp_path / "results.json", records)
    assert propose.read_results(tmp_path / "results.json") == records and len(records) == 20
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results.json"]
    truth = COCO()
    truth.dataset = {"images": [{"id": 3, "height": 30, "width": 40}], "annotations": [], "categories": [{"id": 1}]}
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        results = truth.loadRes(str(tmp_path / "results.json"))
    for one, annotation in zip(found, results.loadAnns(results.getAnnIds()), strict=True):
        mask = whole_mask(plane, one.y, one.x, 30, 40)
        np.testing.assert_array_equal(results.annToMask(annotation), mask)
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert annotation["bbox"] == [columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1]
        assert annotation["category_id"] == 1 and annotation["score"] == plane.scores[one.y, one.x]


@pytest.mark.unit
def test_no_region_no_plane_no_score():
    cells, scores = np.ones((4, 1, 3), np.float32), np.array([[np.nan, -np.inf, 2]], np.float32)
    place = Pathway(0, 0, 4, 2, 2)
    assert [one.x for one in propose.propose([Plane("one", place, cells, scores)], 9, 12)] == [2]
    assert propose.propose([Plane("one", place, -cells, scores)], 9, 12) == propose.propose([], 9, 12) == []
    assert propose.propose([Plane("outside", Pathway(40, 0, 4, 2, 2), cells, scores)], 9, 12) == []


@pytest.mark.tiny
@pytest.mark.parametrize("threshold, most", [(-0.1, 1), (1.1, 1), (float("nan"), 1), (0.5, 0)])
def test_refused_options(threshold, most):
    with pytest.raises(DataError, match="0 to 1, and 1 or more"):
        propose.propose([], 9, 12, threshold, most)


@pytest.mark.tiny
@pytest.mark.parametrize("text", ["{", json.dumps({}), json.dumps([{"image_id": 1, "bbox": [0, 0, 1, 1], "score": 1}])])
def test_refused_files(tmp_path, text):
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(DataError, match="results.json"):
        propose.read_results(path)
