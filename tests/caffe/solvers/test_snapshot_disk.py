"""Snapshots on a disk that is full, or where nobody may write: told before iteration 0, and the last one is kept."""
import collections
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

import caffe

ROOT = Path(__file__).resolve().parents[3]
FORMS = ["BINARYPROTO", "HDF5"]
WIDE = """
layer { name: "data" type: "DummyData" top: "x" dummy_data_param { shape { dim: 2 dim: 256 } } }
layer { name: "ip" type: "InnerProduct" bottom: "x" top: "loss" loss_weight: 1
  inner_product_param { num_output: 256 weight_filler { type: "xavier" } } }
"""   # 256 KiB of weights and 257 * 256 * 4 bytes of history


def content(folder):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def run(code, folder):
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "GLOG_minloglevel": "2"}
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=env, capture_output=True, text=True,
                          timeout=100)
    return done.returncode, done.stdout + done.stderr


# ------------------------------------------------------------------ nobody may write
READ_ONLY = """
import os
import caffe
caffe.get_solver("solver.prototxt").step(1)      # so that all is imported
if os.geteuid() == 0:     # permissions do not bind root
    os.setgroups([]), os.setgid(65534), os.setuid(65534)
for folder in ("closed", "open"):
    for settings in ("snapshot: 5", ""):      # every 5 iterations, and the one at the end alone
        param = caffe.proto.caffe_pb2.SolverParameter.FromString(caffe.get_solver("solver.prototxt").param
                                                                 .SerializeToString())
        param.snapshot_prefix, param.snapshot, solver = folder + "/snap", 5 if settings else 0, None
        try:
            solver = caffe.SGDSolver(param, "solver.prototxt")
            solver.solve()
            print("reached", solver.iter)
        except caffe.SnapshotError as problem:
            print("stopped", solver.iter if solver else 0, problem)
"""


@pytest.mark.unit
@pytest.mark.skipif(not hasattr(os, "setuid"), reason="needs POSIX permissions")
def test_a_read_only_folder(toy):
    toy("max_iter: 6")
    with tempfile.TemporaryDirectory() as name:      # pytest's own are closed to all but their owner
        folder = Path(name)
        folder.chmod(0o755)
        for file in ("net.prototxt", "solver.prototxt"):
            shutil.copy(file, folder)
        (folder / "closed").mkdir()
        (folder / "closed" / "snap_iter_1.solverstate").write_text("old")
        (folder / "closed").chmod(0o555)
        (folder / "open").mkdir()
        (folder / "open").chmod(0o777)
        status, text = run(READ_ONLY, folder)
        assert status == 0, text
        assert text.count("stopped 0 closed: cannot write snapshots: Permission denied") == 2, text
        assert text.count("check the permissions of closed") == 2 and text.count("reached 6") == 2, text
        assert content(folder / "closed") == {"snap_iter_1.solverstate": b"old"}


# ------------------------------------------------------------------ a full disk
@pytest.mark.tiny
@pytest.mark.parametrize("settings, need", [("", 514), ("snapshot_diff: true", 771), ('type: "Adam"', 771)])
def test_no_room_for_one_snapshot(toy, monkeypatch, settings, need):
    """Told before iteration 0, with what it takes: weights, their diffs if asked for, the solver's history."""
    usage = collections.namedtuple("usage", "total used free")
    free = [need * 1024 - 1]
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(2**40, 2**40 - free[0], free[0]))
    every, at_end = (toy(f"{settings} max_iter: 1 {more}", net=WIDE) for more in ("snapshot: 1", ""))
    toy(f"{settings} max_iter: 1 snapshot: 1", net=WIDE)
    with pytest.raises(caffe.SnapshotError) as error:
        caffe.get_solver(every)
    assert "no room for a snapshot" in str(error.value) and f"{need / 1024:.1f} MiB" in str(error.value)
    toy(f"{settings} max_iter: 1", net=WIDE)
    solver = caffe.get_solver(at_end)
    with pytest.raises(caffe.SnapshotError, match="no room"):
        solver.solve()
    assert solver.iter == 0
    free[0] += 1
    caffe.get_solver(at_end).solve()


# The disk: a file system of 1 MiB in a namespace of mounts that ends with the process
SMALL_DISK = """
import os, subprocess
from pathlib import Path
import caffe

def content():
    return {path.name: path.read_bytes() for path in Path("disk").iterdir()}

def refused(act):
    try:
        act()
    except caffe.SnapshotError as problem:
        return str(problem)
    raise SystemExit("not refused")

solver = caffe.get_solver("solver.prototxt")
solver.step(1)
before = content()
assert len(before) == 3, list(before)
while True:      # others fill the disk meanwhile
    try:
        with open("disk/other", "ab", buffering=0) as file:
            if file.write(b"x" * 4096) < 4096:
                break
    except OSError:
        break
os.truncate("disk/other", os.path.getsize("disk/other") - int(os.environ["LEFT"]) * 1024)
before = content()
print(refused(lambda: solver.step(1)))
assert content() == before, "the old snapshot and nothing else"
caffe.get_solver("again.prototxt").restore("disk/snap_iter_1.solverstate" + os.environ["ENDING"])
print(refused(lambda: caffe.get_solver("solver.prototxt")))
os.unlink("disk/other")
"""


@pytest.mark.unit
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("left", [0, 100, 400])
def test_a_disk_that_is_full_when_a_snapshot_is_due(toy, tmp_path, form, left):
    """In truth, where mounting is possible: the file system itself refuses, at the first, second or third file."""
    (tmp_path / "disk").mkdir()
    mount = f"mount -t tmpfs -o size=1200k none {tmp_path}/disk"
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-rm", "sh", "-c", mount],
                                                         capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted here")
    toy(f'snapshot_prefix: "other" snapshot_format: {form}', net=WIDE)
    Path("solver.prototxt").rename("again.prototxt")
    toy(f'snapshot: 1 snapshot_prefix: "disk/snap" snapshot_format: {form}', net=WIDE)
    code = f"{mount} && exec {sys.executable} -c \"$CODE\""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "GLOG_minloglevel": "2", "LEFT": str(left),
           "CODE": SMALL_DISK, "ENDING": ".h5" if form == "HDF5" else ""}
    done = subprocess.run(["unshare", "-rm", "sh", "-c", code], env=env, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No space left" in done.stdout and "no room for a snapshot" in done.stdout, done.stdout


@pytest.mark.unit
@pytest.mark.parametrize("form", FORMS)
def test_a_quota_ends_in_the_middle_of_a_file(toy, tmp_path, form):
    """Without mounting: a limit on the size of files refuses in the midst of the weights."""
    resource = pytest.importorskip("resource")
    (tmp_path / "out").mkdir()
    solver = caffe.get_solver(toy(f'snapshot: 1 snapshot_prefix: "out/snap" snapshot_format: {form}', net=WIDE))
    solver.step(1)
    before = content("out")
    weights = [blob.data.copy() for blob in solver.net.learnable_params]
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limit[1]))      # Python ignores SIGXFSZ
    try:
        with pytest.raises(caffe.SnapshotError):
            solver.snapshot()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert content("out") == before
    solver.snapshot()      # and it goes on
    for blob, value in zip(solver.net.learnable_params, weights, strict=True):
        np.testing.assert_array_equal(blob.data, value)
