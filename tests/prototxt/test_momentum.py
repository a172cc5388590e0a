"""Momentum against batch size: the recursion of thesis 1.1.1 and 1.1.2 simulated, example by example."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prototxt import solver, training
from prototxt.errors import NetError
from prototxt.momentum import equivalent_momentum, equivalent_rate, weight_of_example
from prototxt.solvers import with_batch

pytestmark = pytest.mark.unit

momenta, sizes = st.floats(0.05, 0.99), st.integers(1, 12)


def simulate(gradient, rate, momentum, batch, updates):
    """g_t = -rate * (sum of the batch's gradients at the last theta) + momentum * g_(t-1); all g and theta."""
    theta, g, thetas, steps = 1.0, 0.0, [1.0], []
    for t in range(updates):
        g = -rate * sum(gradient(batch * t + i, theta) for i in range(batch)) + momentum * g
        theta += g
        thetas.append(theta)
        steps.append(g)
    return steps, thetas


@given(momentum=momenta, batch=sizes, seed=st.integers(0, 99))
def test_an_example_weighs_as_the_recursion_says(momentum, batch, seed):
    values = np.random.default_rng(seed).normal(size=batch * 9)
    steps, _ = simulate(lambda j, theta: values[j], 0.1, momentum, batch, 9)
    ages = np.arange(len(values))[::-1]   # the newest last
    assert steps[-1] == pytest.approx(-0.1 * float(weight_of_example(ages, momentum, batch) @ values), abs=1e-12)


@given(momentum=momenta, batch=sizes)
def test_the_expanded_sum_has_theta_of_one_step_earlier(momentum, batch):
    """docs/errata.md: printed is t-s; putting the recursion into itself gives t-s-1."""
    def gradient(j, theta):
        return 0.01 * (j + 1) * theta

    steps, thetas = simulate(gradient, 0.1, momentum, batch, 6)

    def expanded(shift):   # steps[5] is g_6 made from thetas[5]
        return sum(-0.1 * momentum**s * gradient(batch * (5 - s) + i, thetas[5 - s + shift])
                   for s in range(6) for i in range(batch))

    assert steps[5] == pytest.approx(expanded(0), rel=1e-9)
    assert steps[5] != pytest.approx(expanded(1), rel=1e-6)


@given(momentum=momenta, batch=sizes, new=sizes)
def test_weights_of_equivalent_pairs_stay_within_a_batch_of_each_other(momentum, batch, new):
    other = equivalent_momentum(momentum, batch, new)
    assert other ** (1 / new) == pytest.approx(momentum ** (1 / batch))
    assert equivalent_momentum(other, new, batch) == pytest.approx(momentum)
    ages = np.arange(100)
    smooth = momentum ** (ages / batch)   # without the floor
    for pair in ((momentum, batch), (other, new)):
        weights = weight_of_example(ages, *pair)
        assert (weights >= smooth - 1e-12).all() and (weights * pair[0] <= smooth + 1e-12).all()
    both = np.arange(0, 100, batch * new)   # where both begin a batch
    assert weight_of_example(both, momentum, batch) == pytest.approx(weight_of_example(both, other, new))


@settings(deadline=None, max_examples=30)
@given(momentum=st.floats(0.05, 0.9), batch=st.integers(1, 6), new=st.integers(1, 6))
def test_an_example_moves_the_weights_as_far_in_all(momentum, batch, new):
    """One gradient of 1, all others 0, losses averaged over the batch as iter_size does."""
    def moved(rate, p, k):
        _, thetas = simulate(lambda j, theta: float(j == 0) / k, rate, p, k, 900)
        return thetas[-1] - 1.0

    other = equivalent_momentum(momentum, batch, new)
    rate = equivalent_rate(0.1, momentum, batch, new)
    assert moved(rate, other, new) == pytest.approx(moved(0.1, momentum, batch), rel=1e-6)


@pytest.mark.tiny
def test_figure_1_1_and_the_recipe():
    assert equivalent_momentum(0.9, 20, 1) == pytest.approx(0.99475, abs=1e-5)
    single, thesis = training("fcn32s", "single"), training("fcn32s", "thesis")
    message = solver("fcn32s", "single", "train", "val", "x")
    assert (message.iter_size, message.momentum) == (1, pytest.approx(0.9 ** (1 / 20)))
    assert single.max_iter == 20 * thesis.max_iter   # as many images
    # a rate of 1/20 would move the weights 19 times as far
    assert single.base_lr / thesis.base_lr == pytest.approx((1 - 0.9 ** 0.05) / 0.1 / 20)


def test_the_authors_0_99_takes_the_place_of_about_ten_images():
    assert np.log(0.9) / np.log(0.99) == pytest.approx(10.48, abs=0.01)
    assert equivalent_momentum(0.99, 1, 10) == pytest.approx(0.904, abs=1e-3)


def test_refused():
    with pytest.raises(NetError, match="momentum"):
        equivalent_momentum(1.0, 20, 1)
    with pytest.raises(NetError, match="batch"):
        equivalent_momentum(0.9, 20, 0)
    with pytest.raises(NetError, match="Adam"):
        with_batch(training("small-fcn32s"), 4)
