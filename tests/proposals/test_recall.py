"""Recall, ABO and AR: by hand on a few objects; tables by size, pathway and density hold all objects once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from halide_kernels.nms import Pathway
from proposals import recall
from proposals.plane import Plane
from tests.proposals.drawn import an_instance


@pytest.mark.tiny
def test_by_hand():
    found = recall.measures([0.2, 0.5, 0.7, 1.0])
    assert found == pytest.approx({"R@50": 0.75, "R@70": 0.5, "ABO": 0.6, "AR": (0 + 1 + 5 + 10) / 4 / 10})
    assert all(np.isnan(value) for value in recall.measures([]).values())


@pytest.mark.unit
@given(arrays(float, st.integers(1, 40), elements=st.floats(0, 1)))
@settings(max_examples=100, deadline=None)
def test_average_recall_is_near_the_area_under_recall(overlap):
    """Twice the integral of R@x from 0.5 to 1 is twice the mean of what overlaps have above 0.5. Each term of the sum
    is the greatest recall of its step of 0.05, so the sum is larger, by at most the step / 0.5."""
    area = 2 * np.mean(np.maximum(overlap - 0.5, 0))
    assert area - 1e-9 <= recall.measures(overlap)["AR"] <= area + 0.1 + 1e-9


@pytest.mark.unit
@given(st.integers(0, 2**32), st.integers(0, 60))
@settings(max_examples=100, deadline=None)
def test_sizes_and_pathways_hold_each_object_once(seed, count):
    numbers = np.random.default_rng(seed)
    overlap = numbers.choice([0, 0.5, 0.6, 0.9], count)
    objects = recall.Objects(overlap, np.where(overlap, numbers.integers(0, 3, count), -1),
                             numbers.integers(1, 300, count).astype(float) ** 2)
    rows = recall.by_size(objects)
    assert sum(row["objects"] for row in rows) == count
    for name in ("R@50", "R@70", "ABO", "AR"):
        whole = sum(row[name] * row["objects"] for row in rows if row["objects"])
        assert count == 0 or whole / count == pytest.approx(recall.measures(overlap)[name])
    for row in rows:   # against a loop
        some = [o for o, a in zip(overlap, objects.area, strict=True) if row["from"] <= a**0.5 < row["to"]]
        assert row["objects"] == len(some) and (not some or row["ABO"] == pytest.approx(np.mean(some)))
    edges = np.linspace(0, 300, 13)
    for threshold in (0.5, 0.7):
        truth, found = recall.by_pathway(objects, 3, edges, threshold)
        assert truth.sum() == count and found.shape == (3, 12) and (found.sum(0) <= truth).all()
        assert found.sum(1).tolist() == [np.sum((overlap >= threshold) & (objects.pathway == p)) for p in range(3)]


@pytest.mark.tiny
def test_crowds_are_no_objects_and_pictures_add_up():
    plane = Plane("one", Pathway(0, 0, 4, 2, 2), np.ones((4, 2, 2), np.float32), np.zeros((2, 2), np.float32))
    mask = np.zeros((8, 8), bool)
    mask[4:, 4:] = True
    instances = [an_instance(mask, 15.5), an_instance(~mask, 48.0, crowd=True), an_instance(mask[::-1], 16.0)]
    objects = recall.objects_of([plane], instances)
    assert objects.overlap.tolist() == [1, 1] and objects.area.tolist() == [15.5, 16]
    both = recall.together([objects, recall.objects_of([plane], []), objects])
    assert both.overlap.tolist() == [1] * 4 and both.pathway.dtype == np.int64
    assert recall.together([]).overlap.shape == (0,)
    thin = recall.objects_by_density([plane], instances, (1, 2))
    assert thin[1].overlap.tolist() == [1, 1] and thin[2].overlap.tolist() == [0, 0]
    assert recall.density_table(thin)[2]["R@50"] == 0 and list(recall.density_table(thin)) == [1, 2]
