"""Discs: their shape and areas, and the radii that are chosen are those that no other choice of one beats."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from halide_kernels.nms import Pathway
from proposals import baseline
from proposals.errors import DataError
from proposals.overlap import areas
from proposals.recall import objects_of
from tests.proposals.drawn import an_instance, pictures


@pytest.mark.tiny
@pytest.mark.parametrize("side, cell, radius", [(14, 4, 5), (18, 8, 7.5), (5, 3, 2)])
def test_a_disc_is_near_the_circle(side, cell, radius):
    plane = baseline.disc(baseline.grid_of("one", Pathway(0, 0, 40, cell, side), (2, 3)), radius)
    window = side * cell
    y, x = np.mgrid[:window, :window] - (window - 1) / 2
    wrong = plane.mask(0, 0, window, window) ^ (np.hypot(y, x) < radius * cell)
    assert abs(np.hypot(y, x)[wrong] - radius * cell).max(initial=0) < cell / 2   # within half a cell of the circle
    assert plane.grid == (2, 3) and (plane.cells[:, 1, 2] == plane.cells[:, 0, 0]).all() and not plane.scores.any()


@pytest.mark.unit
@given(pictures(), st.floats(0, 4))
@settings(max_examples=100, deadline=None)
def test_areas_of_discs(case, radius):
    planes, instances = case
    for plane in (baseline.disc(plane, radius) for plane in planes):
        size = instances[0].mask.shape
        np.testing.assert_array_equal(baseline.disc_areas(plane, *size), areas(plane, *size))


def drawn(seed):
    """Pictures of discs of two sizes, near the discs that two pathways can have."""
    numbers, found = np.random.default_rng(seed), []
    y, x = np.mgrid[:60, :80]
    for _ in range(2):
        planes = [baseline.grid_of("fine", Pathway(-9, -9, 3, 3, 6), (21, 27)),
                  baseline.grid_of("coarse", Pathway(-30, -30, 10, 10, 6), (7, 9))]
        masks = [np.hypot(y - numbers.uniform(10, 50), x - numbers.uniform(10, 70)) < r for r in (5, 6, 20)]
        found.append((planes, [an_instance(mask, 1.0, crowd) for mask, crowd in zip(masks, (0, 0, 0), strict=True)]
                      + [an_instance(masks[0], 1.0, True)]))
    return found


@pytest.mark.unit
@pytest.mark.parametrize("seed", range(2))
def test_no_other_radius_of_one_pathway_is_better(seed):
    given, tried = drawn(seed), [[1, 1.5, 2, 2.5], [0.7, 1.5, 2, 3]]
    choice = baseline.best_radii(given, tried)
    abo = {}
    for radii in itertools.product(*tried):
        best = [objects_of([baseline.disc(plane, r) for plane, r in zip(planes, radii, strict=True)], instances).overlap
                for planes, instances in given]
        abo[radii] = np.concatenate(best).mean()
    assert choice.abo == pytest.approx(abo[choice.radius])
    assert choice.abo >= max(abo[radii] for radii in abo if sum(
        a != b for a, b in zip(radii, choice.radius, strict=True)) <= 1) - 1e-12
    assert choice.radius[1] >= 2   # for the large objects


@pytest.mark.tiny
def test_radii_and_refusals():
    assert baseline.radii(14, 3) == pytest.approx([1, 7**0.5, 7]) and baseline.radii(1, 2) == [0.5, 0.5]
    given = drawn(0)
    assert baseline.best_radii(given).tried == (tuple(baseline.radii(6)),) * 2
    with pytest.raises(DataError, match="without objects"):
        baseline.best_radii([])
    with pytest.raises(DataError, match="without objects"):
        baseline.best_radii([(given[0][0], [])])
    with pytest.raises(DataError, match="differ in their pathways"):
        baseline.best_radii([given[0], (given[1][0][:1], given[1][1])])
