"""Snapshots: resumed runs are bit-identical, files appear whole or not at all, wrong ones are refused."""
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import caffe
from caffe import state
from caffe.proto import blobs
from caffe.solvers import snapshot

ROOT = Path(__file__).resolve().parents[3]

# a data layer that shuffles with a generator of its own, and may end the process as a power cut would
SHUFFLED = """
import os, signal
import numpy as np
import caffe

class Shuffled(caffe.Layer):
    def setup(self, bottom, top):
        self.rng = np.random.default_rng(int(self.param_str))
        self.order, self.at, self.served = [], 0, 0
        self.die = int(os.environ.get("DIE_AT", 0))

    def reshape(self, bottom, top):
        top[0].reshape(2, 5)
        top[1].reshape(2)

    def forward(self, bottom, top):
        self.served += 1
        if self.served == self.die:
            os.kill(os.getpid(), signal.SIGKILL)
        for i in range(2):
            if self.at == len(self.order):
                self.order, self.at = self.rng.permutation(7).tolist(), 0
            k = self.order[self.at]
            self.at += 1
            top[0].data[i] = np.sin(np.arange(5) * (k + 1))
            top[1].data[i] = k % 3

    def backward(self, top, propagate_down, bottom):
        pass

    def get_state(self):
        return {"rng": self.rng.bit_generator.state, "order": self.order, "at": self.at}

    def set_state(self, state):
        self.rng.bit_generator.state = state["rng"]
        self.order, self.at = state["order"], state["at"]
"""
NET = """
name: "shuffled"
layer { name: "data" type: "Python" top: "x" top: "y"
  python_param { module: "shuffled_for_test" layer: "Shuffled" param_str: "7" } }
layer { name: "ip1" type: "InnerProduct" bottom: "x" top: "h"
  inner_product_param { num_output: 6 weight_filler { type: "xavier" } } }
layer { name: "drop" type: "Dropout" bottom: "h" top: "h" }
layer { name: "ip2" type: "InnerProduct" bottom: "h" top: "s"
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "s" bottom: "y" top: "loss" }
"""


@pytest.fixture
def shuffled(toy, tmp_path, monkeypatch):
    (tmp_path / "shuffled_for_test.py").write_text(SHUFFLED)
    testing = "test_iter: 2 test_interval: 4 display: 3 average_loss: 4 "
    yield lambda text="", settings=testing: toy(settings + text, net=NET)
    sys.modules.pop("shuffled_for_test", None)


def weights(solver):
    return {(name, i): blob.data.copy() for name, blobs in solver.net.params.items()
            for i, blob in enumerate(blobs)}


def same(a, b):
    assert a.keys() == b.keys()
    for key in a:
        np.testing.assert_array_equal(a[key], b[key], err_msg=str(key))


def losses(messages):
    return [m for m in messages if ", loss = " in m or "net output" in m]


# ------------------------------------------------------------------ resuming
@pytest.mark.tiny
@pytest.mark.parametrize("kind", ["SGD", "Adam"])
@pytest.mark.parametrize("form", ["BINARYPROTO", "HDF5"])
def test_a_resumed_run_is_bit_identical(shuffled, lines, caplog, kind, form):
    path = shuffled(f'type: "{kind}" snapshot: 5 iter_size: 2 snapshot_format: {form} lr_policy: "multistep" '
                    "stepvalue: 3 stepvalue: 9 gamma: 0.5")
    unbroken = caffe.get_solver(path)
    unbroken.solve()
    expected = losses(m.split(" (")[0] if m.startswith("Iteration") else m for m in lines())
    caplog.clear()
    caffe.set_random_seed(99)
    resumed = caffe.get_solver(path)
    state.generator().manual_seed(1234)   # whatever happened before
    resumed.solve("snap_iter_5.solverstate" + (".h5" if form == "HDF5" else ""))
    assert resumed.iter == unbroken.iter == 20
    same(weights(resumed), weights(unbroken))
    for a, b in zip(resumed.history, unbroken.history, strict=True):
        np.testing.assert_array_equal(a.data, b.data)
    # the log goes on as it would have: losses, their averages, and what the test nets see
    told = losses(m.split(" (")[0] if m.startswith("Iteration") else m for m in lines())
    assert told == expected[-len(told):] and len(told) > 8


@pytest.mark.unit
def test_killed_and_resumed(shuffled, tmp_path):
    path = shuffled("snapshot: 5")
    code = "import caffe; caffe.get_solver('solver.prototxt').solve()"
    env = {**os.environ, "PYTHONPATH": str(ROOT), "DIE_AT": "14"}
    killed = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert killed.returncode == -9, killed.stderr
    newest = snapshot.newest("snap")
    assert newest is not None and newest.name == "snap_iter_10.solverstate"
    resumed = caffe.get_solver(path)
    resumed.solve(newest)
    unbroken = caffe.get_solver(path)
    unbroken.solve()
    same(weights(resumed), weights(unbroken))


@pytest.mark.tiny
def test_a_snapshot_asked_for_while_testing_resumes_the_same(shuffled):
    """It is taken between two test batches; the run that resumes from it tests again from the start."""
    path = shuffled("snapshot_after_train: false")
    unbroken = caffe.get_solver(path)
    asked = iter(["none"] * 7 + ["snapshot"])   # 2 test batches, 4 iterations, 1 of 2 test batches
    unbroken.set_action_function(lambda: next(asked, "none"))
    unbroken.solve()
    resumed = caffe.get_solver(path)
    resumed.solve("snap_iter_4.solverstate")
    same(weights(resumed), weights(unbroken))
    assert resumed.test_nets[0].layers[0].get_state() == unbroken.test_nets[0].layers[0].get_state()


@pytest.mark.tiny
def test_without_the_json_it_resumes_as_caffe_does(shuffled, lines):
    path = shuffled("snapshot: 5")
    solver = caffe.get_solver(path)
    solver.step(5)
    os.unlink("snap_iter_5.solverstate.json")
    plain = caffe.get_solver(path)
    plain.restore("snap_iter_5.solverstate")
    assert plain.iter == 5 and sum("start anew, as in Caffe" in m for m in lines()) == 1
    same(weights(plain), weights(solver))
    assert plain.net.layers[0].get_state() != solver.net.layers[0].get_state()


@pytest.mark.tiny
def test_the_weights_may_have_moved_with_the_state(toy, tmp_path, monkeypatch):
    solver = caffe.get_solver(toy())
    solver.step(2)
    solver.snapshot()
    (tmp_path / "moved").mkdir()
    for file in tmp_path.glob("snap_iter_2*"):
        shutil.move(file, tmp_path / "moved")
    other = caffe.get_solver(toy("random_seed: 8"))
    other.restore("moved/snap_iter_2.solverstate")
    same(weights(other), weights(solver))
    (tmp_path / "moved" / "snap_iter_2.caffemodel").unlink()
    with pytest.raises(caffe.SnapshotError, match="its weights are missing"):
        other.restore("moved/snap_iter_2.solverstate")


@pytest.mark.tiny
def test_caffe_can_read_what_is_written(toy):
    solver = caffe.get_solver(toy("snapshot_diff: true"))
    solver.step(3)
    solver.snapshot()
    saved = blobs.read_solver_state("snap_iter_3.solverstate")
    assert (saved.iter, saved.learned_net, saved.current_step) == (3, "snap_iter_3.caffemodel", 0)
    for blob, message in zip(solver.history, saved.history, strict=True):
        np.testing.assert_array_equal(blobs.blob_array(message), blob.data)
    net = blobs.read_net("snap_iter_3.caffemodel")
    ip = next(layer for layer in net.layer if layer.name == "ip1")
    np.testing.assert_array_equal(blobs.blob_array(ip.blobs[0]), solver.net.params["ip1"][0].data)
    np.testing.assert_array_equal(blobs.blob_array(ip.blobs[0], diff=True), solver.net.params["ip1"][0].diff)


@pytest.mark.tiny
def test_old_four_axis_histories(toy):
    solver = caffe.get_solver(toy())
    solver.step(1)
    saved = blobs.SolverState(iter=1, current_step=0)
    for blob in solver.history:
        message = blobs.array_blob(blob.data)
        message.ClearField("shape")
        for name, dim in zip(("num", "channels", "height", "width"),
                             (1,) * (4 - len(blob.shape)) + blob.shape, strict=True):
            setattr(message, name, dim)
        saved.history.append(message)
    blobs.write_message(saved, "old.solverstate")
    other = caffe.get_solver(toy())
    other.restore("old.solverstate")
    for a, b in zip(other.history, solver.history, strict=True):
        assert a.shape == b.shape
        np.testing.assert_array_equal(a.data, b.data)


# ------------------------------------------------------------------ whole or not at all
KILLER = """
import os, random, signal, sys, time
import numpy as np
import caffe
from caffe.solvers import snapshot

solver = caffe.get_solver("solver.prototxt")
solver.step(1)
for blob in solver.net.learnable_params:      # so that every snapshot can be told from the others
    blob.data[...] = 1
solver.snapshot()

def check():
    newest = snapshot.newest("snap")
    saved = snapshot.read(str(newest))
    assert int(newest.stem.split("_")[-1]) == saved.iteration
    net = caffe.Net("net.prototxt", caffe.TEST, weights=saved.learned_net)
    values = {float(v) for vec in net.params.values() for blob in vec for v in blob.data.ravel()}
    assert values == {float(saved.iteration)}, (values, saved.iteration)
    solver.restore(newest)
    return saved.iteration

def killing(name, count):
    real = getattr(os, name)
    def call(*args):
        nonlocal count
        count -= 1
        if count == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args)
    setattr(os, name, call)

cases = [("fsync", 1), ("fsync", 3), *(("replace", count) for count in range(1, 5))]
cases += [("later", random.Random(k).uniform(0, 0.004)) for k in range(3)]
survived = 0
for i, (name, count) in enumerate(cases, 2):
    pid = os.fork()
    if pid == 0:
        solver.iter = i
        for blob in solver.net.learnable_params:
            blob.data[...] = i
        if name == "later":
            signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
            signal.setitimer(signal.ITIMER_REAL, max(count, 1e-5))
        else:
            killing(name, count)
        solver.snapshot()
        os._exit(0)
    os.waitpid(pid, 0)
    survived += check() == i
print("survived", survived, "of", len(cases))
"""


@pytest.mark.unit
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_kill_9_while_writing_leaves_whole_snapshots(toy, tmp_path):
    toy()
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", KILLER], env=env, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("survived "), done.stdout + done.stderr


@pytest.mark.tiny
def test_a_full_disk_leaves_the_old_snapshot(toy, tmp_path, monkeypatch):
    solver = caffe.get_solver(toy())
    solver.step(1)
    solver.snapshot()
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    solver.net.params["ip1"][0].data[...] = 5
    with pytest.raises(caffe.SnapshotError) as error:
        solver.snapshot()
    assert "No space left" in str(error.value) and "free some space" in str(error.value)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


# ------------------------------------------------------------------ told before the first iteration
@pytest.mark.tiny
@pytest.mark.parametrize("prefix, words", [
    ("missing/snap", "mkdir -p missing"), ("net.prototxt/snap", "net.prototxt"),
    ("/proc/self/snap", "/proc/self")])
def test_an_unwritable_prefix(toy, prefix, words):
    toy()
    with pytest.raises(caffe.SnapshotError) as error:
        caffe.get_solver(toy(f'snapshot: 5 snapshot_prefix: "{prefix}"'))
    assert "cannot write snapshots" in str(error.value) and words in str(error.value)
    solver = caffe.get_solver(toy(f'snapshot_prefix: "{prefix}"'))   # only the snapshot at the end
    with pytest.raises(caffe.SnapshotError, match="cannot write snapshots"):
        solver.solve()
    assert solver.iter == 0


@pytest.mark.tiny
def test_hdf5_without_h5py(toy, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(caffe.SnapshotError, match="pip install h5py"):
        caffe.get_solver(toy("snapshot: 5 snapshot_format: HDF5"))


@pytest.mark.tiny
def test_the_prefix_is_named_after_the_solver(toy, tmp_path):
    solver = caffe.get_solver(toy(base='base_lr: 0.1 lr_policy: "fixed"\n'))
    solver.snapshot()
    assert (tmp_path / "solver_iter_0.solverstate").exists()


# ------------------------------------------------------------------ wrong files
@pytest.fixture
def saved(toy):
    """A solver at iteration 2 whose snapshot was written."""
    solver = caffe.get_solver(toy())
    solver.step(2)
    solver.snapshot()
    return solver


def refused(solver, path, *words):
    before = weights(solver), solver.iter
    with pytest.raises(caffe.SnapshotError) as error:
        solver.restore(path)
    assert "help:" in str(error.value)
    for word in words:
        assert word in str(error.value), str(error.value)
    same(weights(solver), before[0])
    assert solver.iter == before[1]


@pytest.mark.tiny
def test_wrong_files(saved, toy, tmp_path):
    other = caffe.get_solver(toy("random_seed: 9"))
    refused(other, "snap_iter_2.caffemodel", "holds no solver state", "look like a caffemodel")
    refused(other, "snap_iter_9.solverstate", "no such snapshot", "snap_iter_2.solverstate")
    data = (tmp_path / "snap_iter_2.solverstate").read_bytes()
    (tmp_path / "cut.solverstate").write_bytes(data[:len(data) // 2])
    refused(other, "cut.solverstate", "cut")
    (tmp_path / "page.solverstate").write_text("<!DOCTYPE html><html>404</html>")
    refused(other, "page.solverstate", "HTML")
    (tmp_path / "empty.solverstate").write_bytes(b"")
    refused(other, "empty.solverstate", "empty")
    (tmp_path / "h.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + b"x" * 50)
    refused(other, "h.h5", "cannot be read")
    saved.net.save_hdf5("w.caffemodel.h5")
    refused(other, "w.caffemodel.h5", "holds no solver state", "not the .caffemodel.h5")


@pytest.mark.tiny
def test_another_solver_or_net(saved, toy):
    name = "snap_iter_2.solverstate"
    refused(caffe.get_solver(toy('type: "Nesterov"')), name, "another solver", "SGD", "expected Nesterov")
    os.unlink("snap_iter_2.solverstate.json")   # plain Caffe's: only the number of histories tells
    refused(caffe.get_solver(toy('type: "Adam"')), name, "found 4", "expected 8 for Adam")
    wider = toy(net=(Path("net.prototxt").read_text()).replace("num_output: 6", "num_output: 7"))
    refused(caffe.get_solver(wider), name, "history 0 has another shape")


@pytest.mark.tiny
@pytest.mark.parametrize("edit, words", [
    (lambda text: text[:40], "cannot be read"), (lambda text: "[1]", "not a JSON object"),
    (lambda text: json.dumps({**json.loads(text), "iter": 7}), "does not belong"),
    (lambda text: json.dumps({**json.loads(text), "version": 99}), "does not belong")])
def test_a_damaged_json(saved, toy, edit, words):
    path = Path("snap_iter_2.solverstate.json")
    path.write_text(edit(path.read_text()))
    refused(caffe.get_solver(toy()), "snap_iter_2.solverstate", words, "delete it")


@pytest.mark.tiny
def test_layers_with_odd_states(shuffled, lines):
    path = shuffled(settings="")
    solver = caffe.get_solver(path)
    solver.net.layers[0].get_state = lambda: {"order": np.arange(3)}
    with pytest.raises(caffe.SnapshotError) as error:
        solver.snapshot()
    assert "layer 'data'" in str(error.value) and "tolist()" in str(error.value)
    assert not list(Path().glob("snap_iter*"))
    solver.net.layers[0].get_state = lambda: {"at": 1}
    solver.snapshot()
    with pytest.raises(caffe.SnapshotError, match="set_state failed"):
        caffe.get_solver(path).restore("snap_iter_0.solverstate")
    content = json.loads(Path("snap_iter_0.solverstate.json").read_text())
    content["train"] = {"gone": {}}
    Path("snap_iter_0.solverstate.json").write_text(json.dumps(content))
    caffe.get_solver(path).restore("snap_iter_0.solverstate")
    assert any("layer 'gone' cannot take its state back" in m for m in lines())
