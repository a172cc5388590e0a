"""Learning rate policies against Caffe's documented formulas, and what they refuse."""
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

import caffe
from caffe.proto.caffe_pb2 import SolverParameter
from caffe.solvers.lr_policy import POLICIES, check, learning_rate

pytestmark = pytest.mark.tiny


def solver(**fields):
    return SolverParameter(**{"base_lr": 0.5, "max_iter": 100, **fields})


def rate(p, iteration, step=0):
    return learning_rate(p, iteration, step)[0]


# base_lr 0.5 and gamma, power that are exact in float32, so that the formulas can be evaluated by hand
@pytest.mark.parametrize("fields, iteration, expected", [
    (dict(lr_policy="fixed"), 99, 0.5),
    (dict(lr_policy="step", gamma=0.25, stepsize=10), 29, 0.5 / 16),
    (dict(lr_policy="step", gamma=0.25, stepsize=10), 30, 0.5 / 64),
    (dict(lr_policy="exp", gamma=0.5), 3, 0.0625),
    (dict(lr_policy="inv", gamma=0.5, power=2), 6, 0.5 / 16),
    (dict(lr_policy="poly", power=1), 25, 0.375),
    (dict(lr_policy="poly", power=2), 50, 0.125),
    (dict(lr_policy="poly", power=0.5), 100, 0.0),
    (dict(lr_policy="sigmoid", gamma=0.5, stepsize=20), 20, 0.25),
    (dict(lr_policy="sigmoid", gamma=-0.0, stepsize=20), 90, 0.25),
    (dict(lr_policy="sigmoid", gamma=1000, stepsize=20), 0, 0.0),
])
def test_formula(fields, iteration, expected):
    assert rate(solver(**fields), iteration) == pytest.approx(expected, rel=1e-12)


def test_multistep_counts_one_step_a_call():
    p = solver(lr_policy="multistep", gamma=0.5, stepvalue=[10, 20, 30])
    assert learning_rate(p, 9, 0) == (0.5, 0)
    assert learning_rate(p, 10, 0) == (0.25, 1)
    assert learning_rate(p, 19, 1) == (0.25, 1)
    assert learning_rate(p, 35, 0) == (0.25, 1)   # behind: one stepvalue a call
    assert learning_rate(p, 35, 1) == (0.125, 2)
    assert learning_rate(p, 35, 3) == (0.0625, 3)


@given(st.sampled_from(["step", "exp", "inv", "poly"]), st.integers(0, 99), st.floats(0.25, 3))
def test_rates_fall(policy, iteration, power):
    p = solver(lr_policy=policy, gamma=0.5, power=power, stepsize=7)
    assert 0 <= rate(p, iteration + 1) <= rate(p, iteration) <= 0.5


@pytest.mark.parametrize("fields, words", [
    (dict(lr_policy="setp"), 'did you mean "step"?'),
    (dict(lr_policy="exp", gamma=-1), "gamma must not be negative"),
    (dict(lr_policy="step", gamma=0.1), "positive stepsize"),
    (dict(lr_policy="sigmoid", gamma=0.1), "positive stepsize"),
    (dict(lr_policy="poly", max_iter=0), "positive max_iter"),
])
def test_refused(fields, words):
    with pytest.raises(caffe.SolverError) as error:
        check(solver(**fields), "solver.prototxt")
    assert words in str(error.value) and "solver.prototxt" in str(error.value) and "help:" in str(error.value)


@pytest.mark.parametrize("fields, iteration, words", [
    ({}, 0, "no lr_policy"),
    (dict(lr_policy="poly", power=0.5), 101, "poly ends at max_iter"),
    (dict(lr_policy="exp", gamma=10), 10**6, "no learning rate at iteration"),
    (dict(lr_policy="inv", gamma=0, power=math.inf), 1, None),
])
def test_no_rate(fields, iteration, words):
    check(solver(**fields))
    if words is None:
        assert rate(solver(**fields), iteration) == 0.5
        return
    with pytest.raises(caffe.SolverError, match=words):
        rate(solver(**fields), iteration)


def test_every_policy_of_caffe_is_there():
    assert set(POLICIES) == {"fixed", "step", "exp", "inv", "multistep", "poly", "sigmoid"}
