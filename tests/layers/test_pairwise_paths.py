"""What section 4.3.2 says of pairwise networks, on nets of the layers: products are paths, and refine each other."""

import itertools

import numpy as np
import pytest
from scipy.sparse import csgraph

import caffe

pytestmark = pytest.mark.unit

HEIGHT, WIDTH = 2, 4
INPUT = """layer {{ name: "{0}" type: "Input" top: "{0}" input_param {{
  shape {{ dim: 1 dim: {1} dim: {2} dim: {3} }} }} }}
"""
LAYER = """layer {{ name: "{0}" type: "Python" {1} top: "{0}" python_param {{
  module: "layers.pairwise" layer: "{2}" param_str: "{3}" }} }}
"""
# plus and times of each semiring, and what the sum of no terms is
PLUS = {"sum_product": np.add, "min_sum": np.minimum, "max_min": np.maximum, "max_product": np.maximum,
        "logsumexp_sum": np.logaddexp}
TIMES = {"sum_product": np.multiply, "min_sum": np.add, "max_min": np.minimum, "max_product": np.multiply,
         "logsumexp_sum": np.add}
ZERO = {"sum_product": 0, "min_sum": np.inf, "max_min": -np.inf, "max_product": 0, "logsumexp_sum": -np.inf}
ONE = {"sum_product": 1, "min_sum": 0, "max_min": np.inf, "max_product": 1, "logsumexp_sum": 0}


@pytest.fixture
def chain(tmp_path):
    """chain(semiring, [p1, p2, ...], R or None) is p1 p2 ... from the left, by a net of PairwiseMatMul layers."""
    def product(semiring, blobs, r=None):
        text, last = "", "p0"
        for k, p in enumerate(blobs):
            text += INPUT.format(f"p{k}", *p.shape[1:])
        for k in range(1, len(blobs)):
            params = {"semiring": semiring} | ({"R": r} if r else {})
            text += LAYER.format(f"product{k}", f'bottom: "{last}" bottom: "p{k}"', "PairwiseMatMul", params)
            last = f"product{k}"
        (tmp_path / "net.prototxt").write_text(text)
        net = caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST)
        return net.forward(**{f"p{k}": p for k, p in enumerate(blobs)})[last].copy()

    return product


def transposed(tmp_path, p):
    (tmp_path / "net.prototxt").write_text(
        INPUT.format("p", *p.shape[1:]) + LAYER.format("t", 'bottom: "p"', "PairwiseTranspose", ""))
    return caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST).forward(p=p)["t"].copy()


def window(p):
    return int(p.shape[1] ** 0.5)


def at(p, here, there):
    """p(here, there - here); None where that is no cell."""
    r = window(p)
    i, j = (there[axis] - here[axis] + r // 2 for axis in (0, 1))
    return p[0, i * r + j, here[0], here[1]] if 0 <= i < r and 0 <= j < r else None


def places(p):
    return list(np.ndindex(p.shape[2:]))


def over_paths(semiring, steps, here, there):
    """The definition: the sum over all paths of one cell of each of `steps` in turn, of the product along the path."""
    total, lengths = ZERO[semiring], 0
    for between in itertools.product(places(steps[0]), repeat=len(steps) - 1):
        path = [here, *between, there]
        values = [at(p, a, b) for p, a, b in zip(steps, path, path[1:], strict=False)]
        if None not in values:
            value = values[0]
            for other in values[1:]:
                value = TIMES[semiring](value, other)
            total, lengths = PLUS[semiring](total, value), lengths + 1
    return total if lengths else None


def random_steps(semiring, seed, stay=None, height=HEIGHT, width=WIDTH):
    """A blob of 3 x 3 steps; `stay`, the value at offset 0, makes the identity there."""
    p = np.random.default_rng(seed).integers(1, 64, (1, 9, height, width)) / np.float32(64)
    if stay is not None:
        p[:, 4] = stay
    return p.astype(np.float32)


def check(semiring, found, steps):
    for here, there in itertools.product(places(found), repeat=2):
        expected, value = over_paths(semiring, steps, here, there), at(found, here, there)
        if expected is not None:
            np.testing.assert_allclose(value, expected, rtol=2e-5)
        else:   # out of reach
            assert value is None or value == 0


@pytest.mark.parametrize("semiring", PLUS)
def test_products_of_one_blob_are_paths_of_exactly_k_steps(chain, semiring):
    p = random_steps(semiring, 0)
    for k in (2, 3):
        check(semiring, chain(semiring, [p] * k), [p] * k)


@pytest.mark.parametrize("semiring", ["min_sum", "max_min", "max_product"])
def test_with_the_identity_at_offset_0_they_are_paths_of_at_most_k_steps(chain, semiring):
    """Where plus is min or max, a step that stands still at no cost makes the best path of k steps the best of at most
    k real ones: compared with the best over lengths of a blob that cannot stand still."""
    moving = random_steps(semiring, 1, ZERO[semiring])
    p = random_steps(semiring, 1, ONE[semiring])
    found = chain(semiring, [p] * 3)
    for here, there in itertools.product(places(p), repeat=2):
        lengths = [over_paths(semiring, [moving] * k, here, there) for k in (1, 2, 3)]
        best = ONE[semiring] if here == there else ZERO[semiring]
        for value in lengths:
            best = best if value is None else PLUS[semiring](best, value)
        value = at(found, here, there)
        if value is not None and best != ZERO[semiring]:
            np.testing.assert_allclose(value, best, rtol=2e-5)


@pytest.mark.parametrize("semiring", PLUS)
def test_distinct_factors_are_costs_that_change_with_time(chain, semiring):
    """The k-th step of a path is taken in the k-th factor, so the order of factors matters."""
    steps = [random_steps(semiring, seed) for seed in (2, 3, 4)]
    found = chain(semiring, steps)
    check(semiring, found, steps)
    assert not np.allclose(found, chain(semiring, steps[::-1]))


@pytest.mark.parametrize("semiring", ["min_sum", "max_min", "max_product"])
def test_a_symmetric_blob_is_an_undirected_graph(chain, tmp_path, semiring):
    """With p(x, D) = p(x + D, -D) every product of one blob is symmetric too; with other blobs it is not."""
    p = random_steps(semiring, 5)
    symmetric = np.maximum(p, transposed(tmp_path, p))
    inside = transposed(tmp_path, np.ones_like(p)) > 0
    np.testing.assert_array_equal(symmetric[inside], transposed(tmp_path, symmetric)[inside])
    for factor, same in ((symmetric, True), (p, False)):
        product = chain(semiring, [factor] * 3)
        inside = transposed(tmp_path, np.ones_like(product)) > 0
        assert np.allclose(product[inside], transposed(tmp_path, product)[inside]) == same


def test_min_sum_is_shortest_paths_of_the_grid(chain):
    """Squared until a path may lead through every place; walls cost infinity. SciPy's Dijkstra on the same graph."""
    draw = np.random.default_rng(6)
    height, width = 4, 5
    p = random_steps("min_sum", 6, 0, height, width)
    p[(draw.random(p.shape) < 0.6) & (np.arange(9)[:, None, None] != 4)] = np.inf
    graph = np.full((height * width,) * 2, np.inf)
    for (a, here), (b, there) in itertools.product(enumerate(places(p)), repeat=2):
        if at(p, here, there) is not None and a != b:
            graph[a, b] = at(p, here, there)
    expected = csgraph.dijkstra(csgraph.csgraph_from_dense(graph, null_value=np.inf))
    for _ in range(5):   # 32 steps; a path has 19 at most
        p = chain("min_sum", [p, p], min(2 * window(p) - 1, 2 * width - 1))
    found = [[at(p, here, there) for there in places(p)] for here in places(p)]
    np.testing.assert_allclose(np.array(found, np.float64), expected, rtol=1e-6)
    assert np.isinf(expected).any() and np.isfinite(expected).sum() > height * width


def same_label(labels, r, spread=1):
    """1 for a pair of places with the same label, for the cells whose offset is a multiple of `spread`, else 0."""
    p = np.zeros((1, r * r, *labels.shape), np.float32)
    for i, j in itertools.product(range(0, r, spread), repeat=2):
        for y, x in np.ndindex(labels.shape):
            there = y + i - r // 2, x + j - r // 2
            if 0 <= there[0] < labels.shape[0] and 0 <= there[1] < labels.shape[1]:
                p[0, i * r + j, y, x] = labels[y, x] == labels[there]
    return p


def test_a_finer_window_refines_a_coarser_one(chain):
    """Coarse to fine, on the grid of the finer one: of a grid of half the stride, a coarser window knows the even
    offsets. Its 5 x 5 cells are 9 x 9 there, of which 25 are known. The finer window has 3 x 3 cells, so every offset
    is one step of it from a known one. The product in (max, min) says that a place belongs to x's region where it
    agrees with a place next to it that does: the region to the cell, where every one of its places has such a
    neighbour. The coarse window alone, each cell spread over its 2 x 2 places, is wrong along the edges.
    """
    labels = np.zeros((12, 14), int)
    labels[:, 5:] = 1
    labels[7:, 3:] = 2
    coarse, fine, exact = same_label(labels, 9, 2), same_label(labels, 3), same_label(labels, 9)
    refined = chain("max_min", [coarse, fine], 9)
    np.testing.assert_array_equal(refined, exact)
    nearest = coarse.reshape(9, 9, *labels.shape)[::2, ::2].repeat(2, 0).repeat(2, 1)[:9, :9].reshape(exact.shape)
    assert (nearest != exact).mean() > 0.02
    assert (coarse[exact > 0] == 0).mean() > 0.5   # and alone it knows less than half of the cells
