"""kill -9 while snapshots are being written, 50 times: what has its name is whole, and training goes on from it."""
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]

# One process loads torch; each run that gets killed is a fork of it. A run snapshots every iteration and resumes from
# the newest snapshot, so after all the kills it must still be where a run that nobody killed is.
PARENT = """
import hashlib, json, os, random, signal, sys, time
from pathlib import Path
import numpy as np
import caffe
from caffe.proto import text
from caffe.solvers import snapshot

KILLS = int(sys.argv[1])
chance = random.Random(5)

def digest(weights, history):
    return hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in [*weights, *history])).digest()

param = text.load_solver("solver.prototxt")
param.ClearField("snapshot")
unbroken, expected = caffe.SGDSolver(param, "solver.prototxt"), {}
for iteration in range(1, 10 * KILLS):
    unbroken.step(1)
    expected[iteration] = digest([b.data for b in unbroken.net.learnable_params], [b.data for b in unbroken.history])
solver = caffe.get_solver("solver.prototxt")

def check(state):     # one whole snapshot: three files that belong together
    saved = snapshot.read(str(state))
    net = caffe.Net("net.prototxt", caffe.TRAIN, weights=saved.learned_net)
    assert json.loads(Path(f"{state}.json").read_text())["iter"] == saved.iteration
    assert f"_iter_{saved.iteration}." in state.name and f"_iter_{saved.iteration}." in saved.learned_net
    assert digest([b.data for b in net.learnable_params], saved.history) == expected[saved.iteration], state

solver.step(1)
begun = time.perf_counter()
solver.step(1)
took, partial, seen, write = time.perf_counter() - begun, 0, 0, snapshot.write
for _ in range(KILLS):
    newest = snapshot.newest("snap")
    began, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        snapshot.write = lambda *args: (os.write(told, b"x"), write(*args))[1]
        solver.restore(newest)
        solver.step(10**6)
        os._exit(1)
    os.close(told)
    for _ in range(chance.choice((1, 1, 2, 3))):     # in the first, second or third snapshot, anywhere
        assert os.read(began, 1), "the run ended by itself"
    time.sleep(chance.uniform(0, took))
    os.kill(pid, signal.SIGKILL)
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL
    os.close(began)
    files = list(Path().glob("*"))
    temporary = [file for file in files if file.name.endswith(".tmp")]
    partial += bool(temporary)
    states = [file for file in files if ".solverstate" in file.name and file.suffix in (".solverstate", ".h5")
              and file not in temporary]
    newest = snapshot.newest("snap")
    assert newest in states
    for state in states:
        check(state)
    seen += len(states) - 1
    for file in files:     # keep the newest alone
        number = f"_iter_{snapshot.read(str(newest)).iteration}."
        if file in temporary or file.name.startswith("snap_") and number not in file.name:
            file.unlink()
solver.restore(snapshot.newest("snap"))
solver.step(1)
check(snapshot.newest("snap"))
print(partial, seen, solver.iter)
"""
NET = """
layer { name: "data" type: "DummyData" top: "x" top: "y" dummy_data_param { shape { dim: 4 dim: 64 } shape { dim: 4 }
  data_filler { type: "gaussian" std: 1 } data_filler { type: "constant" value: 1 } } }
layer { name: "ip1" type: "InnerProduct" bottom: "x" top: "h"
  inner_product_param { num_output: 1024 weight_filler { type: "xavier" } } }
layer { name: "drop" type: "Dropout" bottom: "h" top: "h" }
layer { name: "ip2" type: "InnerProduct" bottom: "h" top: "s"
  inner_product_param { num_output: 64 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "s" bottom: "y" top: "loss" }
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("form", ["BINARYPROTO", "HDF5"])
def test_50_kills_while_writing(toy, form):
    toy(f"snapshot: 1 max_iter: 1000000 base_lr: 0.001 snapshot_format: {form}", net=NET)
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "GLOG_minloglevel": "2"}
    done = subprocess.run([sys.executable, "-c", PARENT, "50"], env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    partial, written, reached = map(int, done.stdout.split())
    assert partial > 25, f"only {partial} of 50 kills came while files were being written"
    assert written >= 5 and reached == written + 2, done.stdout
