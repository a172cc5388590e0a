"""SIGINT and SIGHUP, really sent: each does what its flag says, in training and between test batches."""
import os
import signal

import pytest

import caffe
from caffe.solvers.signals import EFFECTS, SignalHandler

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs SIGHUP")
SIGNALS = {"sigint": signal.SIGINT, "sighup": signal.SIGHUP}
TESTING = "max_iter: 6 test_iter: 4 test_interval: 3 snapshot_after_train: true"


def send(solver, number, at, testing, times=1):
    """Raise the signal at iteration `at`: in its training pass, or before a batch of its test."""
    net = solver.test_nets[0] if testing else solver.net
    forward, batches = net.forward_loss, []

    def forward_loss():
        if solver.iter == at:
            batches.append(solver.iter)
            if len(batches) == 2 - (not testing):
                for _ in range(times):
                    os.kill(os.getpid(), number)
        return forward()

    net.forward_loss = forward_loss
    return batches


def snapshots(tmp_path):
    return sorted(int(path.stem.split("_")[-1]) for path in tmp_path.glob("*.solverstate"))


@pytest.mark.tiny
@pytest.mark.parametrize("effect", EFFECTS)
@pytest.mark.parametrize("flag", SIGNALS)
@pytest.mark.parametrize("testing", [False, True], ids=["training", "testing"])
def test_each_signal_does_what_its_flag_says(toy, tmp_path, flag, effect, testing):
    solver = caffe.get_solver(toy(TESTING))
    # the other signal's flag says something else, so that taking one for the other shows
    others = {name: "none" if effect != "none" else "stop" for name in SIGNALS}
    batches = send(solver, SIGNALS[flag], at=3, testing=testing)
    with SignalHandler(**{**others, flag: effect}) as handler:
        solver.set_action_function(handler.requested)
        solver.solve()
    assert solver.stopped_early == (effect == "stop")
    if effect == "stop":      # at once: after the iteration, or after the batch; and with the snapshot of the end
        assert solver.iter == (3 if testing else 4) and snapshots(tmp_path) == [solver.iter]
    elif effect == "snapshot":
        assert solver.iter == 6 and snapshots(tmp_path) == [3 if testing else 4, 6]
    else:
        assert solver.iter == 6 and snapshots(tmp_path) == [6]
    if testing:
        assert len(batches) == (2 if effect == "stop" else 4)


@pytest.mark.tiny
@pytest.mark.parametrize("effect", EFFECTS)
def test_a_second_sigint_ends_it_at_once(toy, tmp_path, effect):
    """Whatever the flag says: before the first was answered, nobody can be meant to wait."""
    before = signal.getsignal(signal.SIGINT)
    solver = caffe.get_solver(toy(TESTING))
    send(solver, signal.SIGINT, at=2, testing=False, times=2)
    with pytest.raises(KeyboardInterrupt), SignalHandler(effect) as handler:
        solver.set_action_function(handler.requested)
        solver.solve()
    assert solver.iter == 2 and not snapshots(tmp_path)
    assert signal.getsignal(signal.SIGINT) == before


@pytest.mark.tiny
def test_a_stop_resumes_where_it_was(toy, tmp_path):
    """Stopped by a signal and resumed: the same weights as never stopped."""
    path = toy(TESTING)
    unbroken = caffe.get_solver(path)
    unbroken.solve()
    expected = [blob.data.copy() for blob in unbroken.net.learnable_params]
    for testing, at in ((False, 4), (True, 3)):
        solver = caffe.get_solver(path)
        send(solver, signal.SIGINT, at=3, testing=testing)
        with SignalHandler() as handler:
            solver.set_action_function(handler.requested)
            solver.solve()
        resumed = caffe.get_solver(path)
        resumed.solve(f"snap_iter_{at}.solverstate")
        for blob, value in zip(resumed.net.learnable_params, expected, strict=True):
            assert (blob.data == value).all()
