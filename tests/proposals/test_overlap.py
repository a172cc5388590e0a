"""Best overlaps equal those of all pairs of whole masks, region included, at every density."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from halide_kernels.nms import Pathway
from proposals import overlap
from proposals.errors import DataError
from proposals.plane import Plane, thin, thinned
from tests.proposals.drawn import an_instance, pictures, whole_mask


def brute_force(planes, instances):
    """For each instance: I/U, plane, y and x of the best region, the first of those that tie."""
    height, width = instances[0].mask.shape
    found = [(0.0, -1, -1, -1)] * len(instances)
    for p, plane in enumerate(planes):
        for y, x in np.ndindex(plane.grid):
            mask = whole_mask(plane, y, x, height, width)
            for g, instance in enumerate(instances):
                either = np.count_nonzero(mask | instance.mask)
                value = np.count_nonzero(mask & instance.mask) / either if either else 0.0
                if value > found[g][0]:
                    found[g] = value, p, y, x
    return found


def as_rows(best):
    return list(zip(best.overlap, best.plane, best.y, best.x, strict=True))


@pytest.mark.unit
@given(pictures())
@settings(max_examples=200, deadline=None)
def test_equal_to_all_pairs_of_whole_masks(case):
    planes, instances = case
    assert as_rows(overlap.best_overlaps(planes, instances)) == brute_force(planes, instances)


@pytest.mark.unit
@given(pictures())
@settings(max_examples=100, deadline=None)
def test_areas_and_masks_are_those_of_the_kernel(case):
    planes, instances = case
    height, width = instances[0].mask.shape
    for plane in planes:
        area = overlap.areas(plane, height, width)
        for y, x in np.ndindex(plane.grid):
            mask = whole_mask(plane, y, x, height, width)
            np.testing.assert_array_equal(plane.mask(y, x, height, width), mask)
            assert area[y, x] == np.count_nonzero(mask)


@pytest.mark.unit
def test_chunks_of_a_large_picture(monkeypatch):
    """A few pixels at a time, so that all loops turn; and the thesis's coarsest window, larger than the picture."""
    numbers = np.random.default_rng(0)
    planes = [Plane(f"r{cell}", Pathway(-9 * cell, -9 * cell, cell, cell, 18),
                    numbers.integers(-4, 5, (324, 60 // cell, 70 // cell)).astype(np.float32),
                    np.zeros((60 // cell, 70 // cell), np.float32)) for cell in (8, 32)]
    y, x = np.mgrid[:60, :70]
    instances = [an_instance(np.hypot(y - cy, x - cx) < r, 1) for cy, cx, r in ((20, 20, 4), (30, 40, 25), (50, 5, 50))]
    expected = brute_force(planes, instances)
    for pixels in (overlap._PIXELS, 1000, 1):
        monkeypatch.setattr(overlap, "_PIXELS", pixels)
        assert as_rows(overlap.best_overlaps(planes, instances)) == expected


@pytest.mark.unit
@given(pictures(), st.lists(st.integers(1, 8), min_size=1, max_size=3, unique=True))
@settings(max_examples=60, deadline=None)
def test_thinner_grids_hold_the_same_regions_at_the_same_pixels(case, steps):
    planes, instances = case
    for step, best in overlap.by_density(planes, instances, steps).items():
        few = [thinned(plane, step) for plane in planes]
        assert as_rows(best) == brute_force(few, instances)
        for plane, full in zip(few, planes, strict=True):
            at_y, at_x = thin(np.stack(np.indices(full.grid)), step)
            assert plane.grid == at_y.shape and min(plane.grid) > 0
            for y, x in np.ndindex(plane.grid):
                assert plane.corner(y, x) == full.corner(at_y[y, x], at_x[y, x])
                np.testing.assert_array_equal(plane.region(y, x), full.region(at_y[y, x], at_x[y, x]))


@pytest.mark.tiny
def test_a_region_that_is_the_object_an_empty_object_and_no_object():
    plane = Plane("one", Pathway(0, 0, 4, 2, 3), np.ones((9, 2, 2), np.float32), np.zeros((2, 2), np.float32))
    same, empty = np.zeros((12, 12), bool), np.zeros((12, 12), bool)
    same[4:10, :6] = True
    best = overlap.best_overlaps([plane], [an_instance(same, 36.0), an_instance(empty, 0.0)])
    assert as_rows(best) == [(1.0, 0, 1, 0), (0.0, -1, -1, -1)]
    assert as_rows(overlap.best_overlaps([], [an_instance(same, 36.0)])) == [(0.0, -1, -1, -1)]
    assert as_rows(overlap.best_overlaps([plane], [])) == []
    assert as_rows(overlap.by_density([plane], [], [2])[2]) == []


@pytest.mark.tiny
def test_refusals():
    place = Pathway(0, 0, 4, 2, 3)
    plane = Plane("one", place, np.ones((9, 2, 2), np.float32), np.zeros((2, 2), np.float32))
    with pytest.raises(DataError, match="8, 2, 2.*expected 9 x H x W"):
        Plane("one", place, np.ones((8, 2, 2), np.float32), np.zeros((2, 2), np.float32))
    with pytest.raises(DataError, match="not one score"):
        Plane("one", place, np.ones((9, 2, 2), np.float32), np.zeros((2, 3), np.float32))
    with pytest.raises(DataError, match="every m-th"):
        thinned(plane, 0)
    with pytest.raises(DataError, match="no size in common"):
        overlap.best_overlaps([plane], [an_instance(np.ones((2, width), bool), 4) for width in (2, 3)])
