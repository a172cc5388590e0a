"""AR@N: equal to pycocotools' COCOeval on random pictures; to R@x of all regions where a region finds one object."""

import contextlib
import io
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from data.coco import COCO as Folder
from proposals import average_recall
from proposals.errors import DataError
from proposals.propose import Proposal
from proposals.recall import THRESHOLDS, objects_of, recall_at
from tests.proposals.drawn import an_instance, pictures, random_objects, whole_mask


def encoded(mask):
    found = coco.encode(np.asfortranarray(mask, np.uint8))
    return {**found, "counts": found["counts"].decode()}


def record(image, mask, score):
    return Proposal(0, 0, 0, score, encoded(mask)).record(image)


def cocoeval(truth, results, limits):
    """COCOeval's recall, thresholds x ranges x limits, of pictures as a COCO data set; -1 as NaN."""
    images = [{"id": picture, "height": 1, "width": 1} for picture in truth]
    annotations = [{"image_id": picture, "category_id": 1, "segmentation": encoded(one.mask), "area": one.area,
                    "iscrowd": int(one.crowd)} for picture, instances in truth.items() for one in instances]
    data = COCO()
    data.dataset = {"images": images, "categories": [{"id": 1, "name": "object"}],
                    "annotations": [{**one, "id": n} for n, one in enumerate(annotations, 1)]}   # 0 means no match
    with contextlib.redirect_stdout(io.StringIO()):
        data.createIndex()
    return evaluated(data, results, limits)


def evaluated(data, results, limits):
    with contextlib.redirect_stdout(io.StringIO()):
        found = COCOeval(data, data.loadRes([dict(one) for one in results]), "segm")
        found.params.useCats, found.params.maxDets = 0, sorted(limits)
        found.evaluate()
        found.accumulate()
    assert found.params.iouThrs.tolist() == THRESHOLDS.tolist()
    assert found.params.areaRng == [[int(low) if low else low, high] for low, high in average_recall.RANGES.values()]
    assert found.params.areaRngLbl == list(average_recall.RANGES)
    return np.where(found.eval["recall"][:, 0] < 0, np.nan, found.eval["recall"][:, 0])


@pytest.mark.unit
@given(st.integers(0, 2**32), st.sampled_from([0, 0.3, 1]), st.sampled_from([(1, 2, 50), (3, 7), (10, 100, 1000)]))
@settings(max_examples=80, deadline=None)
def test_equal_to_cocoeval(seed, crowd, limits):
    """Objects that overlap, areas of all ranges and their ends, proposals near objects, ties of score and of I/U."""
    numbers = np.random.default_rng(seed)
    truth, results = {}, []
    for picture in numbers.permutation(9)[:numbers.integers(1, 4)]:
        objects = random_objects(numbers, 20, 20, numbers.integers(0, 6), crowd=crowd)
        area = numbers.choice([5, 1024, 2000, 9216, 10000], len(objects))
        truth[int(picture)] = [an_instance(o.mask, float(a), o.crowd) for o, a in zip(objects, area, strict=True)]
        for _ in range(numbers.integers(0, 15)):
            mask = random_objects(numbers, 20, 20, 1)[0].mask
            if objects:
                mask = np.roll(objects[numbers.integers(len(objects))].mask, numbers.integers(-1, 2), 0)
            results.append(record(int(picture), mask, float(numbers.integers(0, 4))))
    found = average_recall.recalls(truth, results, limits)
    if results:   # loadRes wants one
        np.testing.assert_array_equal(found, cocoeval(truth, results, limits))
    else:
        assert np.nansum(found) == 0
    np.testing.assert_array_equal(found[:, 0].mean(0), list(
        average_recall.average_recall(truth, results, limits)["all"].values()))


def all_regions(planes, instances):
    """Every region as a result, by plane, y, x."""
    height, width = instances[0].mask.shape
    return [record(1, whole_mask(plane, y, x, height, width), float(plane.scores[y, x]))
            for plane in planes for y, x in np.ndindex(plane.grid)]


@pytest.mark.unit
@given(pictures(disjoint=True, crowd=0.2))
@settings(max_examples=80, deadline=None)
def test_equal_to_recall_of_all_regions_where_objects_are_disjoint(case):
    """Whatever the scores. At exactly 1/2 a region may find two objects, of which pycocotools gives it one."""
    planes, instances = case
    results, overlap = all_regions(planes, instances), objects_of(planes, instances).overlap
    found = cocoeval({1: instances}, results, (len(results),))[:, 0, 0]
    for x, value in zip(THRESHOLDS, found, strict=True):
        if x > 0.5 and len(overlap):
            assert value == recall_at(overlap, x)
        assert not len(overlap) or value <= recall_at(overlap, x)


@pytest.mark.unit
@given(pictures(largest=6))
@settings(max_examples=60, deadline=None)
def test_at_most_recall_of_all_regions_and_equal_where_each_finds_one_object(case):
    planes, instances = case
    results, overlap = all_regions(planes, instances), objects_of(planes, instances).overlap
    pairs = coco.iou([one["segmentation"] for one in results], [encoded(one.mask) for one in instances],
                     [0] * len(instances))
    found = average_recall.recalls({1: instances}, results, (len(results),))[:, 0, 0]
    for x, value in zip(THRESHOLDS, found, strict=True):
        assert value <= recall_at(overlap, x)
        if ((pairs >= x).sum(1) <= 1).all():
            assert value == recall_at(overlap, x)


@pytest.mark.tiny
def test_one_region_over_two_objects_is_where_they_differ():
    """A region that is two objects of the same size: R@50 counts both, AR@N one of them."""
    halves = np.zeros((2, 4, 4), bool)
    halves[0, :, :2], halves[1, :, 2:] = True, True
    truth = {1: [an_instance(half, 8.0) for half in halves]}
    found = average_recall.recalls(truth, [record(1, halves.any(0), 1.0)], (10,))
    assert found[:2, 0, 0].tolist() == [0.5, 0]


@pytest.mark.tiny
def test_results_of_other_pictures_are_refused_and_nothing_is_nan():
    with pytest.raises(DataError, match="without ground truth.*7"):
        average_recall.recalls({1: []}, [record(7, np.ones((2, 2), bool), 1.0)])
    found = average_recall.average_recall({1: []}, [])
    assert list(found) == ["all", "small", "medium", "large"] and np.isnan(found["all"][10])
    assert average_recall.average_recall({1: [an_instance(np.ones((2, 2), bool), 4.0)]}, [])["small"][1000] == 0


@pytest.mark.tiny
def test_of_two_objects_alike_the_later_is_taken():
    """So that the second proposal, which overlaps the first object alone, finds it."""
    line = np.arange(8)[None]
    truth = {1: [an_instance((line >= low) & (line < low + 6), 6.0) for low in (0, 2)]}
    results = [record(1, (line >= 1) & (line < 7), 2.0), record(1, line < 5, 1.0)]
    found = average_recall.recalls(truth, results, (1, 10))
    assert found[4, 0].tolist() == [0.5, 1]   # at 0.70; 5/7 of either object
    np.testing.assert_array_equal(found, cocoeval(truth, results, (1, 10)))


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")   # pycocotools' decode
def test_equal_to_cocoeval_on_cocos_annotations():
    """Polygons, crowds, objects that overlap: the masks of objects, some shifted, some grown together, as proposals."""
    folder = os.environ.get("CAFFE_LUNGO_COCO")
    if not folder:
        pytest.skip("set CAFFE_LUNGO_COCO to a folder in COCO's layout")
    numbers, data = np.random.default_rng(0), Folder(folder)
    split = data.splits()[-1]
    truth, results = {int(picture): data.instances(picture) for picture in data.ids(split)[:80]}, []
    for picture, objects in truth.items():
        masks = [np.roll(one.mask, numbers.integers(-4, 5, 2), (0, 1)) for one in objects for _ in range(3)]
        masks += [one.mask | two.mask for one, two in zip(objects, objects[1:], strict=False)]
        results += [record(picture, mask, float(numbers.integers(0, 9))) for mask in masks]
    found = average_recall.recalls(truth, results, (10, 100))
    api = data.api(split)
    api.dataset = {**api.dataset, "images": api.dataset["images"][:80]}
    assert found.min() < 0.1 and found.max() > 0.9
    np.testing.assert_array_equal(found, evaluated(api, results, (10, 100)))
