"""The energy: the text's sums; brute force; belief propagation is exact on chains and near the minimum on grids."""

import itertools

import numpy as np
import pytest

from correspondence import energy as e
from correspondence.errors import DataError

pytestmark = pytest.mark.unit


def random_energy(height, width, labels, beta, seed=0, ties=False):
    draw = np.random.default_rng(seed)
    data = draw.random((height, width, *labels)).astype(np.float32)
    return e.Energy(np.round(3 * data) if ties else data, np.zeros((height, width, 2), np.float32), beta)


def by_the_text(source, target, w, beta):
    """E(w) written as in the thesis."""
    total = 0.0
    for p in np.ndindex(source.shape[:2]):
        total += np.linalg.norm(source[p].astype(float) - target[tuple(int(v) for v in p + w[p])])
    for (y, x) in np.ndindex(source.shape[:2]):
        for q in ((y + 1, x), (y, x + 1)):
            if q[0] < source.shape[0] and q[1] < source.shape[1]:
                total += beta * np.sum((w[y, x] - w[q]) ** 2)
    return total


@pytest.mark.parametrize("centred", [False, True])
def test_the_energy_is_that_of_the_text(centred):
    draw = np.random.default_rng(0)
    source, target = draw.random((4, 5, 6)), draw.random((7, 4, 6))
    centres = draw.integers(-3, 4, (4, 5, 2)) if centred else None
    energy = e.between(source, target, 2, 0.3, centres)
    free = np.isfinite(energy.costs)
    for seed in range(5):
        pick = np.random.default_rng(seed)
        labels = np.array([[pick.choice(np.flatnonzero(free[y, x])) for x in range(5)] for y in range(4)])
        w = energy.displacement(labels)
        assert energy.total(labels) == pytest.approx(by_the_text(source, target, w, 0.3), rel=1e-5)
        assert energy.deformation(labels) == pytest.approx(0.3 * e.roughness(w))
    # what is forbidden is exactly what leaves the target
    places = np.stack(np.indices((4, 5)), -1)[:, :, None] + energy.centres[:, :, None] + energy.steps
    assert (free == ((places >= 0) & (places <= [6, 3])).all(3)).all()
    assert free.any(2).all()


def test_equal_features_are_exactly_no_distance_apart():
    features = np.random.default_rng(0).random((5, 5, 300)).astype(np.float32)
    energy = e.between(features, features, 1)
    assert energy.data[:, :, 1, 1].max() < 1e-6


def test_independent_minimum_prefers_the_smaller_displacement():
    energy = e.between(np.zeros((3, 3, 2)), np.zeros((3, 3, 2)), 1)
    assert not energy.displacement(e.independent(energy)).any()


def test_brute_force_tries_everything():
    energy = random_energy(2, 2, (2, 2), 0.4)
    least = min(energy.total(np.array(labels).reshape(2, 2)) for labels in itertools.product(range(4), repeat=4))
    assert energy.total(e.brute_force(energy)) == pytest.approx(least)
    with pytest.raises(DataError, match="cannot be tried"):
        e.brute_force(random_energy(4, 4, (3, 3), 0.1))


@pytest.mark.parametrize("shape", [(1, 5), (5, 1)])
@pytest.mark.parametrize("beta", [0.05, 0.5])
@pytest.mark.parametrize("ties", [False, True])
def test_belief_propagation_is_exact_on_chains(shape, beta, ties):
    for seed in range(3):
        energy = random_energy(*shape, (2, 3), beta, seed, ties)
        least = energy.total(e.brute_force(energy))
        assert energy.total(e.belief_propagation(energy)) == pytest.approx(least, rel=1e-6)


@pytest.mark.parametrize("shape, labels", [((2, 4), (2, 2)), ((3, 3), (1, 3))])
def test_belief_propagation_is_within_a_percent_on_small_grids(shape, labels):
    """In the mean over random problems, from a weak to a strong prior, where it is worst (1.8 % at beta 1, 3 x 3);
    never below the minimum, and below the independent minimum and ICM."""
    ratios = []
    for seed, beta in itertools.product(range(6), (0.03, 0.1, 0.3, 1.0)):
        energy = random_energy(*shape, labels, beta, seed)
        least = energy.total(e.brute_force(energy))
        ratios.append([energy.total(found) / least for found in (
            e.belief_propagation(energy), e.belief_propagation(energy, levels=2), e.icm(energy),
            e.independent(energy))])
    plain, blocks, icm, independent = np.mean(ratios, axis=0)
    assert np.min(ratios) > 1 - 1e-6
    assert max(plain, blocks) < 1.01 and max(plain, blocks) <= icm <= independent


def test_icm_never_rises_and_ends_where_no_single_node_gains():
    energy = random_energy(4, 5, (3, 3), 0.2)
    totals = [energy.total(e.icm(energy, sweeps=sweeps)) for sweeps in (0, 1, 2, 5, 100)]
    assert totals == sorted(totals, reverse=True)
    labels = e.icm(energy)
    for p in np.ndindex(energy.shape):
        for label in range(9):
            other = labels.copy()
            other[p] = label
            assert energy.total(other) > energy.total(labels) - 1e-9


def test_blocks_need_one_centre():
    energy = e.between(np.ones((4, 4, 2)), np.ones((4, 4, 2)), 1, centres=np.indices((4, 4)).transpose(1, 2, 0) % 2)
    with pytest.raises(DataError, match="levels=1"):
        e.belief_propagation(energy, levels=2)
    assert energy.deformation(e.belief_propagation(energy)) == 0


def test_features_of_two_layers_are_refused():
    with pytest.raises(DataError, match="cannot be aligned"):
        e.between(np.ones((4, 4, 2)), np.ones((4, 4, 3)), 1)
