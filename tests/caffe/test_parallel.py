"""Two processes train one net: the mean gradient, shares of the data, one snapshot, one error, one decision to stop."""
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import caffe
from caffe import cli

pytestmark = pytest.mark.unit
ROOT = Path(__file__).resolve().parents[2]
NET = """
layer { name: "data" type: "Data" top: "x" top: "y" transform_param { scale: 0.00390625 }
  data_param { source: "db" backend: LMDB batch_size: %d } }
layer { name: "ip1" type: "InnerProduct" bottom: "x" top: "h"
  inner_product_param { num_output: 8 weight_filler { type: "xavier" } } }
layer { name: "tanh" type: "TanH" bottom: "h" top: "h" }
layer { name: "ip2" type: "InnerProduct" bottom: "h" top: "s"
  inner_product_param { num_output: 1 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "EuclideanLoss" bottom: "s" bottom: "y" top: "loss" }
"""
SOLVER = 'base_lr: 0.01 lr_policy: "fixed" momentum: 0.9 weight_decay: 0.01 random_seed: 5 '
SOLVERS = {"SGD": SOLVER + 'type: "SGD" iter_size: 2 clip_gradients: 20', "Adam": SOLVER + 'type: "Adam"'}
STEPS, RECORDS = 10, 24
# as BVLC Caffe's python/train.py, on the CPU
PROGRAM = """
import json
from multiprocessing import get_context
import numpy as np
import caffe

def train(path, uid, weights=None):
    solver = caffe.get_solver(path)
    if weights:
        solver.restore(weights)
    nccl = caffe.NCCL(solver, uid)
    nccl.bcast()
    solver.add_callback(nccl)
    if solver.param.layer_wise_reduce:
        solver.net.after_backward(nccl)
    return solver

def params(solver):
    return np.concatenate([b.data.ravel() for blobs in solver.net.params.values() for b in blobs])

def solve(uid, rank):
    caffe.set_mode_cpu()
    caffe.set_solver_count(2)
    caffe.set_solver_rank(rank)
    caffe.set_multiprocess(True)
    found = {}
    for kind in ("SGD", "Adam"):
        solver, seen = train(kind + ".prototxt", uid), []
        solver.net.after_forward(lambda i: seen.extend(solver.net.blobs["y"].data) if i == 0 else None)
        found[kind + " start"] = params(solver)
        solver.step(10)
        found[kind], found[kind + " seen"] = params(solver), np.array(seen)
    solver = train("toy.prototxt", uid)
    solver.step(8)
    resumed = train("toy.prototxt", uid, "toy_iter_4.solverstate")
    resumed.step(4)
    found["unbroken"], found["resumed"] = params(solver), params(resumed)
    found["unbroken x"], found["resumed x"] = solver.net.blobs["x"].data, resumed.net.blobs["x"].data
    found["agreed"] = np.array([solver.parallel.agree(own) for own in (["none", "stop"][rank], "none")])
    np.savez(f"rank{rank}.npz", **found)

if __name__ == "__main__":
    uid = caffe.NCCL.new_uid()
    processes = [get_context("fork").Process(target=solve, args=(uid, rank)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
"""
TOY = """
layer { name: "data" type: "DummyData" top: "x" top: "y" dummy_data_param {
  shape { dim: 8 dim: 5 } shape { dim: 8 }
  data_filler { type: "gaussian" std: 1 } data_filler { type: "constant" value: 1 } } }
layer { name: "drop" type: "Dropout" bottom: "x" top: "x" }
layer { name: "ip" type: "InnerProduct" bottom: "x" top: "s"
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "s" bottom: "y" top: "loss" }
"""


def environment():
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "error"}


def write_database(folder):
    lmdb = pytest.importorskip("lmdb")
    images = np.random.default_rng(2).integers(0, 256, (RECORDS, 1, 2, 3), dtype=np.uint8)
    with lmdb.open(str(folder / "db"), map_size=1 << 20) as env, env.begin(write=True) as transaction:
        for i, image in enumerate(images):
            transaction.put(b"%08d" % i, caffe.io.array_to_datum(image, i).SerializeToString())


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """The folder where PROGRAM ran, and what its processes saved."""
    folder = tmp_path_factory.mktemp("parallel")
    write_database(folder)
    for name, solver, net in (*((kind, solver, NET % 4) for kind, solver in SOLVERS.items()),
                              ("toy", SOLVER + 'snapshot: 4 snapshot_prefix: "toy"', TOY)):
        (folder / f"{name}_net.prototxt").write_text(net)
        (folder / f"{name}.prototxt").write_text(solver + f' net: "{name}_net.prototxt"')
    (folder / "train.py").write_text(PROGRAM)
    done = subprocess.run([sys.executable, "train.py"], cwd=folder, env=environment(), capture_output=True, text=True,
                          timeout=120)
    assert done.returncode == 0, done.stderr
    return folder, [np.load(folder / f"rank{rank}.npz") for rank in range(2)]


def params(solver):
    return np.concatenate([b.data.ravel() for blobs in solver.net.params.values() for b in blobs])


@pytest.mark.parametrize("kind", SOLVERS)
def test_two_processes_are_one_with_twice_the_batch(program, kind, monkeypatch):
    folder, (root, other) = program
    monkeypatch.chdir(folder)
    Path("single_net.prototxt").write_text(NET % 8)
    Path("single.prototxt").write_text(SOLVERS[kind] + ' net: "single_net.prototxt"')
    solver = caffe.get_solver("single.prototxt")
    np.testing.assert_array_equal(root[f"{kind} start"], params(solver))   # the root's seed is the plain one
    np.testing.assert_array_equal(root[f"{kind} start"], other[f"{kind} start"])
    solver.step(STEPS)
    assert abs(params(solver) - root[f"{kind} start"]).max() > 0.01
    np.testing.assert_allclose(root[kind], params(solver), rtol=0, atol=1e-6)
    np.testing.assert_array_equal(root[kind], other[kind])


def test_the_processes_share_the_records(program):
    _, both = program
    for rank, found in enumerate(both):
        np.testing.assert_array_equal(found["Adam seen"], np.arange(rank, 2 * STEPS * 4, 2) % RECORDS)


def test_a_resumed_run_is_the_unbroken_one(program):
    folder, (root, other) = program
    for found in (root, other):
        np.testing.assert_array_equal(found["resumed"], found["unbroken"])
        np.testing.assert_array_equal(found["resumed x"], found["unbroken x"])
    assert (root["unbroken x"] != other["unbroken x"]).any()   # seeds count the rank
    saved = json.loads((folder / "toy_iter_4.solverstate.json").read_text())
    assert len(saved["ranks"]) == 1 and saved["ranks"][0]["random"] != saved["random"]


def test_a_snapshot_of_another_number_of_processes_starts_its_data_anew(program, monkeypatch, caplog):
    monkeypatch.chdir(program[0])
    solver = caffe.get_solver("toy.prototxt")
    solver.restore("toy_iter_4.solverstate")
    assert solver.iter == 4 and "is of 2 processes, not of 1" in caplog.text


def test_requests_are_agreed_on(program):
    assert [found["agreed"].tolist() for found in program[1]] == [["stop", "none"]] * 2


# ------------------------------------------------------------------ the command
LAUNCH = [sys.executable, "-c", "import sys; from caffe.parallel import launch; sys.exit(launch(2, sys.argv[1:]))"]


@pytest.fixture
def toy(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.prototxt").write_text(TOY)
    (tmp_path / "solver.prototxt").write_text(
        SOLVER + 'net: "net.prototxt" max_iter: 100000000 snapshot_prefix: "snap" display: 50')
    return ["train", "-solver=solver.prototxt"]


def test_ctrl_c_stops_all_in_one_iteration(toy, tmp_path):
    with subprocess.Popen([*LAUNCH, *toy], env=environment(), stderr=subprocess.PIPE, text=True) as process:
        text = ""
        for line in process.stderr:
            text += line
            if "Iteration 50 (" in line:
                process.send_signal(signal.SIGINT)
    assert process.returncode == 0, text
    assert text.count("Optimization stopped early.") == text.count("Starting Optimization") == 1
    (saved,) = tmp_path.glob("*.json")
    content = json.loads(saved.read_text())
    assert content["iter"] == content["ranks"][0]["iter"] > 0


def test_one_that_fails_ends_all_with_its_error(toy, tmp_path):
    (tmp_path / "trouble.py").write_text("""
import caffe
class Trouble(caffe.Layer):
    def reshape(self, bottom, top): top[0].reshape(1)
    def forward(self, bottom, top):
        if caffe.solver_rank() == 1:
            raise ValueError("no such thing")
    def backward(self, top, propagate_down, bottom): pass
""")
    (tmp_path / "net.prototxt").write_text(TOY + """
layer { name: "t" type: "Python" bottom: "s" top: "t" python_param { module: "trouble" layer: "Trouble" } }""")
    done = subprocess.run([*LAUNCH, *toy, "-minloglevel=2"], env=environment(), capture_output=True, text=True,
                          timeout=60)
    assert done.returncode == 1
    assert done.stderr.count("caffe: ") == 1 and "layer 't'" in done.stderr and "no such thing" in done.stderr
    assert "in process 1 of 2" in done.stderr and not list(tmp_path.glob("snap*"))


def test_one_that_is_killed_ends_all(toy):
    with subprocess.Popen([*LAUNCH, *toy], env=environment(), stderr=subprocess.PIPE, text=True) as process:
        text = ""
        for line in process.stderr:
            text += line
            if "Iteration 50 (" in line:
                children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
                os.kill(int(children[1]), signal.SIGKILL)
    assert process.returncode == 1 and "process 1 of 2 was ended by SIGKILL" in text


@pytest.mark.parametrize("start", [
    pytest.param(["torch.distributed.run", "--nproc-per-node=2", "-m", "caffe"], id="torchrun", marks=pytest.mark.slow),
    pytest.param(["caffe", "-gpu=0,1"], id="gpus", marks=pytest.mark.gpu)])
def test_trained_by_command(start, toy, tmp_path):
    import torch

    gpus = "-gpu=0,1" in start
    if gpus and torch.cuda.device_count() < 2:
        pytest.skip("needs two CUDA devices")
    (tmp_path / "net.prototxt").write_text(NET % 4)
    (tmp_path / "solver.prototxt").write_text(
        SOLVERS["SGD"] + f' net: "net.prototxt" max_iter: {STEPS} snapshot_prefix: "snap"')
    write_database(tmp_path)
    done = subprocess.run([sys.executable, "-m", *start, *toy], env={**environment(), "PYTHONWARNINGS": ""},
                          capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    (tmp_path / "net.prototxt").write_text(NET % 8)
    solver = caffe.get_solver("solver.prototxt")
    solver.step(STEPS)
    trained = params(solver)
    solver.net.copy_from(f"snap_iter_{STEPS}.caffemodel")
    np.testing.assert_allclose(params(solver), trained, rtol=0, atol=1e-4 if gpus else 1e-6)


def test_gpus_become_processes(toy, monkeypatch, the_log_as_it_was):
    import torch

    from caffe import parallel

    seen = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(parallel, "launch", lambda *arguments: seen.append(arguments) or 7)
    assert cli.main([*toy, "-gpu", "all", "-nologtostderr"]) == cli.main([*toy, "-gpu=0,2"]) == 7
    assert seen == [(3, [*toy, "-gpu=all", "-logtostderr=False"]), (2, [*toy, "-gpu=0,2"])]


def test_more_processes_than_devices(toy, monkeypatch):
    import torch

    from caffe import flags
    from caffe.cli import _choose_device

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(caffe.DeviceError, match="more processes than devices"):
        _choose_device(flags.parse([*toy, "-gpu=0"]), place=1)


def test_only_the_root_logs(caplog, monkeypatch):
    caplog.set_level("INFO", logger="caffe.solver")
    monkeypatch.setattr(caffe.state, "_solver_rank", 1)
    from caffe.glog import solver_logger

    solver_logger.warning("not heard")
    solver_logger.error("heard")
    caplog.set_level("INFO", logger="caffe")
    caffe.log("from a program")
    assert [record.getMessage() for record in caplog.records] == ["heard", "from a program"]


def test_timer():
    timer = caffe.Timer()
    assert timer.ms == 0
    for _ in range(2):   # each measures anew
        timer.start()
        time.sleep(0.02)
        timer.stop()
        assert 20 <= timer.ms < 500 and timer.ms == timer.ms
