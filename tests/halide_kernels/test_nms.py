"""Non-max suppression: all back ends keep what the quadratic definition keeps, for any grids, in linear time."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from halide_kernels import backend, nms, nms_within

NUMPY = nms.BACKENDS["numpy"]


@st.composite
def regions(draw):
    """Pathways of any geometry, wide cells among them whose rows take several words; scores tie often."""
    numbers = np.random.default_rng(draw(st.integers(0, 2**32)))
    pathways, masks, scores = [], [], []
    for _ in range(draw(st.integers(1, 3))):
        cell = draw(st.integers(1, 5)) * draw(st.sampled_from([1, 1, 1, 29]))
        side = draw(st.integers(1, 7 if cell < 9 else 3))
        p = nms.Pathway(draw(st.integers(-9, 9)), draw(st.integers(-9, 9)), draw(st.integers(1, 6)), cell, side)
        shape = draw(st.integers(1, 4)), draw(st.integers(1, 4))
        density = draw(st.sampled_from([0, 0.5, 0.9, 1]))
        pathways.append(p)
        masks.append(numbers.random((side**2, *shape)) < density * numbers.integers(0, 2, shape))
        scores.append(numbers.choice([-np.inf, 0, 1, 2, np.nan], shape, p=[.1, .3, .3, .2, .1]).astype(np.float32))
    return pathways, masks, scores


def check(case, threshold, kernels):
    kept, _ = nms.suppress(nms.pack(*case, kernels), threshold, kernels)
    np.testing.assert_array_equal(kept, nms.with_pixels(*case, threshold))
    return kept


thresholds = st.sampled_from([0, 0.1, 0.25, 1 / 3, 0.5, 0.7, 1])


@pytest.mark.unit
@given(regions(), thresholds)
@settings(max_examples=60)
def test_numpy_keeps_what_the_definition_keeps(case, threshold):
    check(case, threshold, NUMPY)


@pytest.mark.unit
@given(case=regions(), threshold=thresholds)
@settings(max_examples=80)
def test_back_ends_keep_what_the_definition_keeps(back_end, case, threshold):
    check(case, threshold, nms.BACKENDS[back_end.name])


@st.composite
def dense(draw):
    """One pathway whose windows meet cell on cell, of rows up to 64 bits; regions alike, so that many conflict."""
    numbers = np.random.default_rng(draw(st.integers(0, 2**32)))
    side, cell = draw(st.sampled_from([1, 2, 3, 5, 14, 17, 33])), draw(st.integers(1, 3))
    p = nms.Pathway(-3, 5, cell * draw(st.integers(1, 3)), cell, side)
    shape = draw(st.integers(1, 3)), draw(st.integers(1, 20 if side < 17 else 6))
    one = numbers.random((side**2, 1, 1)) < draw(st.sampled_from([0.1, 0.6, 1]))
    masks = one ^ (numbers.random((side**2, *shape)) < draw(st.sampled_from([0, 0.1, 0.5])))
    return [p], [masks], [numbers.integers(0, 9, shape).astype(np.float32)]


@pytest.mark.unit
@given(case=dense(), threshold=thresholds)
@settings(max_examples=80)
def test_a_pathway_that_meets_itself_cell_on_cell(back_end, case, threshold):
    kernels = nms.BACKENDS[back_end.name]
    assert kernels.within is None or nms_within.suits(nms.pack(*case, kernels).paths[0])
    check(case, threshold, kernels)


@pytest.mark.unit
@pytest.mark.skipif(backend.find("halide")[0] is None, reason="Halide is missing")
@given(case=regions())
@settings(max_examples=50)
def test_halide_packs_the_same_bits(case):
    one, two = (nms.pack(*case, nms.BACKENDS[name]) for name in ("numpy", "halide"))
    for field in ("words", "area", "order", "rank"):
        np.testing.assert_array_equal(getattr(one, field), getattr(two, field))


@pytest.mark.unit
@given(regions(), st.sampled_from([0, 0.3, 0.7]), st.integers(0, 60))
@settings(max_examples=50)
def test_the_best_of_those_that_are_kept(case, threshold, most):
    for kernels in (NUMPY, nms.BACKENDS["halide"]) if backend.find("halide")[0] else (NUMPY,):
        packed = nms.pack(*case, kernels)
        kept, best = (nms.suppress(packed, threshold, kernels, limit)[0] for limit in (None, most))
        assert packed.order[best[packed.order]].tolist() == packed.order[kept[packed.order]][:most].tolist()


def discs(pathways, shapes, radii, seed=0):
    """A disc in each window, of a size that varies, and scores."""
    draw, masks, scores = np.random.default_rng(seed), [], []
    for p, shape, radius in zip(pathways, shapes, radii, strict=True):
        i, j = np.mgrid[:p.side, :p.side] - (p.side - 1) / 2
        size = radius * (0.5 + draw.random(shape))
        masks.append(np.hypot(i, j).reshape(-1, 1, 1) <= size)
        scores.append(draw.random(shape).astype(np.float32))
    return pathways, masks, scores


@pytest.mark.unit
@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.8])
def test_more_regions_than_a_chunk_and_the_thesiss_windows(back_end, threshold):
    """Windows of 28, 144 and 576 pixels: cells of 2, 8 and 32, on grids of different strides and phases."""
    case = discs([nms.Pathway(-13, -13, 2, 2, 14), nms.Pathway(-68, -68, 8, 8, 18),
                  nms.Pathway(-272, -272, 32, 32, 18)], [(17, 19), (5, 4), (2, 2)], [5, 6, 3])
    for kernels in (NUMPY, nms.BACKENDS[back_end.name]):
        kept = check(case, threshold, kernels)
        assert kept.size > 2 * nms._FIRST and 0 < kept.sum() < kept.size


@pytest.mark.tiny
def test_highest_score_first_ties_by_index_and_empty_masks_stay():
    p = nms.Pathway(0, 0, 1, 1, 3)
    full, empty = np.ones((9, 1, 3), bool), np.zeros((9, 1, 3), bool)
    for mask, score, expected in ((full, [0, 0, 0], [1, 0, 1]), (full, [0, 1, 0], [0, 1, 0]),
                                  (full, [0, np.nan, -np.inf], [1, 0, 0]), (empty, [0, 1, 0], [1, 1, 1])):
        kept, _ = nms.suppress(nms.pack([p], [mask], [np.array([score], np.float32)]), 1 / 3)
        assert kept.tolist() == [bool(k) for k in expected], (mask.any(), score)


@pytest.mark.tiny
def test_the_iou_of_cells_of_two_sizes_is_that_of_their_pixels():
    """A 4 x 4 cell of the second pathway covers 2 x 2 cells of 2 pixels, but for a shift by one pixel: 9 in common."""
    pathways = [nms.Pathway(0, 0, 9, 2, 2), nms.Pathway(1, 1, 9, 4, 1)]
    packed = nms.pack(pathways, [np.ones((4, 1, 1), bool), np.ones((1, 1, 1), bool)], [np.ones((1, 1))] * 2)
    for threshold, removed in ((9 / 23 - 1e-6, True), (9 / 23 + 1e-6, False)):
        assert nms.suppress(packed, threshold)[0].tolist() == [True, not removed]


@pytest.mark.unit
@pytest.mark.parametrize("threshold", [0.5, 0.95])
def test_pairs_grow_with_the_regions_and_not_their_square(threshold):
    """At most so many pairs for each region as windows overlap its own: with R 5 and every cell a centre, 9 x 9."""
    each = []
    for side in (15, 30, 60):
        case = discs([nms.Pathway(0, 0, 4, 4, 5)], [(side, side)], [2])
        pairs = sum(nms.suppress(nms.pack(*case), threshold, NUMPY)[1])
        assert pairs <= side**2 * (9 * 9 - 1) / 2   # each pair from one side only
        each.append(pairs / side**2)
    assert each[2] < 1.3 * each[1]   # the border's regions have fewer neighbours


@pytest.mark.unit
def test_a_region_far_from_all_is_compared_with_none():
    case = discs([nms.Pathway(0, 0, 20, 4, 5)], [(8, 8)], [2])
    kept, pairs = nms.suppress(nms.pack(*case), 0.0, NUMPY)
    assert kept.all() and sum(pairs) == 0
