"""The loop around a solver: when it scores and writes, with a solver that has only pycaffe's own attributes."""

import math

import pytest

from tests.tools.fake import FakeBlob
from tools.curve import Curve
from tools.errors import RunError
from tools.run_folder import RunFolder
from tools.stopping import StopRequest
from tools.train_loop import TrainLoop

pytestmark = pytest.mark.unit


class PlainSolver:
    """What BVLC's solver offers: no recent_losses.  The loss of iteration i is losses[i]."""

    lr = 0.1

    def __init__(self, losses):
        self.losses, self.iter, self.updates = losses, 0, 0
        self.net = type("Net", (), {"blobs": {"loss": FakeBlob(1)}})()

    def add_callback(self, before, after):
        self.before, self.after = before, after

    def step(self, count):
        for _ in range(count):
            self.before()
            self.net.blobs["loss"].data[...] = self.losses[self.iter]
            self.after()
            self.updates += 1
            self.iter += 1


def loop(tmp_path, losses, **options):
    folder = RunFolder(tmp_path)
    folder.begin({}, {}, [])
    solver = PlainSolver(losses)
    return solver, Curve(folder.curve), TrainLoop(
        solver, "32s", len(losses), folder, Curve(folder.curve), StopRequest(), **options)


def test_scores_between_and_not_at_the_end(tmp_path):
    solver, _, train = loop(tmp_path, [1.0] * 10)
    scored = []
    train.run(4, lambda at: scored.append((at, solver.iter)))
    assert scored == [(4, 4), (8, 8)] and solver.iter == 10


def test_curve_has_the_mean_of_recent_losses(tmp_path):
    _, curve, train = loop(tmp_path, [5.0, 3.0, 2.0, 4.0, 9.0], display=2, average=2)
    train.run(0, pytest.fail)
    assert [(r["iter"], r["loss"], r["smoothed_loss"], r["lr"]) for r in curve.rows()] == [
        (2, 3.0, 4.0, 0.1), (4, 4.0, 3.0, 0.1), (5, 9.0, 6.5, 0.1)]


def test_a_loss_that_is_no_number_is_not_applied(tmp_path):
    solver, _, train = loop(tmp_path, [1.0, math.nan, 1.0])
    with pytest.raises(RunError, match="the loss is nan at iteration 1 of 32s"):
        train.run(0, pytest.fail)
    assert solver.updates == 1
