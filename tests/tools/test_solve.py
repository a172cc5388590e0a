"""Whole runs in seconds: what they leave, and that stopped or killed runs end as an unbroken one."""

import csv
import json
import os
import signal

import numpy as np
import pytest
from PIL import Image

import caffe
from data import open_dataset
from surgery import read_weights, upsample_filt
from tests.tools.conftest import STAGES
from tools import solve, train_loop
from tools.curve import Curve
from tools.errors import CaffeError, RunError, Stopped
from tools.metrics import Confusion
from tools.run_folder import RunFolder

pytestmark = pytest.mark.unit


def all_weights(folder, records):
    """Every parameter at the end of every stage, as one flat array."""
    files = [folder.root / record["weights"] for record in records.values()]
    return np.concatenate([a.ravel() for f in files for blobs in read_weights(f).values() for a in blobs])


def test_the_folder_has_everything(whole_run):
    folder, records = whole_run
    assert list(records) == list(STAGES)
    for name in ("config.json", "log.txt", "curve.csv", "plot.png", "report.html",
                 "scores.json", "scores.csv", "scores.txt", "pictures/stages.png",
                 "pictures/small-fcn8s/v2.png", "predictions/small-fcn8s/v2.png",
                 "nets/small-fcn8s-val.prototxt", "snapshots/small-fcn8s_iter_4.solverstate"):
        assert (folder.root / name).stat().st_size > 0, name
    assert json.loads(folder.scores("json").read_text()) == records
    config = json.loads(folder.config.read_text())
    assert config["settings"]["iters"] == [8, 4, 4] and config["settings"]["val"]["images"] == 3
    assert config["made_with"]["torch"]
    assert sorted(p.name for p in folder.snapshots.glob("*.caffemodel")) == [
        "small-fcn16s_iter_4.caffemodel", "small-fcn32s_iter_8.caffemodel", "small-fcn8s_iter_4.caffemodel"]
    assert not list(folder.root.rglob("*.tmp"))


def test_the_curve(whole_run):
    folder, records = whole_run
    with open(folder.curve, newline="") as file:
        rows = list(csv.DictReader(file))
    train = [(r["stage"], int(r["iter"])) for r in rows if r["kind"] == "train"]
    val = [(r["stage"], int(r["iter"])) for r in rows if r["kind"] == "val"]
    assert train == [(s, i) for s, n in zip(STAGES, (8, 4, 4), strict=True) for i in range(2, n + 1, 2)]
    assert val[:4] == [("small-fcn32s", i) for i in (2, 4, 6, 8)]
    assert val[4:] == [(s, i) for s in STAGES[1:] for i in (1, 2, 3, 4)]
    assert float(rows[-1]["mean_iu"]) == pytest.approx(records["small-fcn8s"]["mean_iu"], abs=1e-5)
    assert all(float(r["loss"]) > 0 and float(r["lr"]) > 0 for r in rows if r["kind"] == "train")


def test_scores_are_those_of_the_weights(whole_run, tiny_set):
    """The recorded scores against a forward pass of the saved weights, image by image."""
    folder, records = whole_run
    record = records["small-fcn8s"]
    weights = str(folder.root / record["weights"])
    net = caffe.Net(str(folder.net("small-fcn8s", "deploy")), weights, caffe.TEST)
    dataset, confusion = open_dataset(tiny_set), Confusion(3)
    for name in ("v0", "v1", "v2"):
        image = dataset.image(name)[:, :, ::-1].transpose(2, 0, 1) - np.float32(127)
        net.blobs["data"].reshape(1, *image.shape)
        net.blobs["data"].data[0] = image
        prediction = net.forward()["score"][0].argmax(0)
        confusion.add(dataset.label(name), prediction)
        with Image.open(folder.predictions / "small-fcn8s" / f"{name}.png") as kept:
            assert np.array_equal(np.array(kept), prediction)
    assert record["mean_iu"] == pytest.approx(confusion.metrics().mean_iu)
    assert record["pixel_acc"] == pytest.approx(confusion.metrics().pixel_acc)
    assert record["images"] == 3 and record["pixels"] == 2 * 32 * 32 + 48 * 32 - 15


def test_the_log_says_what_was_copied(whole_run):
    log = whole_run[0].log.read_text()
    assert "left at filler  score_pool3" in log and "bilinear: upscore_pool4, upscore8" in log
    assert "Iteration 2, lr = " in log  # the engine's own lines


def test_stages_start_from_the_last(tiny_plan, tmp_path):
    """With no learning, a finer stage has the coarser one's weights, zero skips and bilinear upsampling."""
    plan = tiny_plan(iters="1", stages="32s,16s", val_every=0)
    folder = RunFolder(tmp_path / "run")
    records = solve.solve(plan, folder)
    coarse, fine = (read_weights(folder.root / records[s]["weights"]) for s in plan.names)
    # one iteration of the second stage moves the weights, but not far
    for name in ("conv1_1", "fc6", "score_fr"):
        assert np.abs(coarse[name][0] - fine[name][0]).max() < 0.1
    assert np.array_equal(fine["upscore16"][0][1, 1], upsample_filt(32).astype(np.float32))
    assert not fine["upscore16"][0][0, 1].any()


def test_killed_run_resumes_to_the_same_weights(tiny_plan, whole_run, tmp_path, monkeypatch):
    """Killed in the second stage after an iteration that no snapshot holds; the first is not repeated."""
    folder = RunFolder(tmp_path / "run")
    append = Curve.append

    def die(self, **cells):
        if (cells["stage"], cells["iter"]) == ("small-fcn16s", 4):
            raise KeyboardInterrupt
        append(self, **cells)

    monkeypatch.setattr(Curve, "append", die)
    with pytest.raises(KeyboardInterrupt):
        solve.solve(tiny_plan(), folder)
    monkeypatch.setattr(Curve, "append", append)
    assert folder.states("small-fcn16s")[-1][0] == 3
    before = folder.weights("small-fcn32s", 8).stat().st_mtime_ns
    records = solve.solve(tiny_plan(), folder, resume=True)
    assert folder.weights("small-fcn32s", 8).stat().st_mtime_ns == before
    assert np.array_equal(all_weights(folder, records), all_weights(*whole_run))

    def rows(run):
        return [{**row, "seconds": None} for row in Curve(run.curve).rows()]

    for ours, expected in zip(rows(folder), rows(whole_run[0]), strict=True):
        # the mean of recent losses begins anew at the resume
        assert {**ours, "smoothed_loss": None} == {**expected, "smoothed_loss": None}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_run_snapshots_and_resumes(tiny_plan, whole_run, tmp_path, monkeypatch, number):
    folder = RunFolder(tmp_path / "run")
    update = train_loop.TrainLoop._before_update

    def signalled(self):
        update(self)
        if self.stage == "small-fcn32s" and self.solver.iter == 4:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(train_loop.TrainLoop, "_before_update", signalled)
    with pytest.raises(Stopped, match="iteration 5 of 8 of small-fcn32s") as stopped:
        solve.solve(tiny_plan(), folder)
    assert stopped.value.code == 128 + number
    monkeypatch.setattr(train_loop.TrainLoop, "_before_update", update)
    assert [i for i, _ in folder.states("small-fcn32s")] == [3, 5]
    records = solve.solve(tiny_plan(), folder, resume=True)
    assert np.array_equal(all_weights(folder, records), all_weights(*whole_run))


def test_stop_while_scoring(tiny_plan, whole_run, tmp_path, monkeypatch):
    """Scoring is abandoned and done again after the resume."""
    folder = RunFolder(tmp_path / "run")
    check = train_loop.StopRequest.check

    def signalled(self):
        os.kill(os.getpid(), signal.SIGINT)
        check(self)

    monkeypatch.setattr(train_loop.StopRequest, "check", signalled)
    with pytest.raises(Stopped, match="iteration 2 of 8"):
        solve.solve(tiny_plan(), folder)
    monkeypatch.setattr(train_loop.StopRequest, "check", check)
    records = solve.solve(tiny_plan(), folder, resume=True)
    assert np.array_equal(all_weights(folder, records), all_weights(*whole_run))
    val = [row["iter"] for row in Curve(folder.curve).rows() if row["kind"] == "val"]
    assert val == [2, 4, 6, 8, 1, 2, 3, 4, 1, 2, 3, 4]


def test_resume_of_a_finished_run_trains_nothing(tiny_plan, whole_run, monkeypatch):
    folder, records = whole_run
    monkeypatch.setattr(solve, "run_stage", lambda *a: pytest.fail("trained again"))
    folder.report.unlink()
    assert solve.solve(tiny_plan(), folder, resume=True) == records
    assert folder.report.exists()


def test_resume_with_other_settings(tiny_plan, whole_run):
    with pytest.raises(RunError, match=r"(?s)seed: 1337, now 7.*iters|iters.*seed: 1337, now 7"):
        solve.solve(tiny_plan(seed=7, iters="8,4,5"), whole_run[0], resume=True)


def test_loss_that_is_no_number(tiny_plan, tmp_path, monkeypatch):
    """Training stops in words, and the snapshot from before is kept."""
    folder = RunFolder(tmp_path / "run")
    before = train_loop.TrainLoop._before_iteration

    def spoil(self):
        before(self)
        if self.solver.iter == 4:
            self.solver.net.params["fc7"][0].data[...] = np.nan

    monkeypatch.setattr(train_loop.TrainLoop, "_before_iteration", spoil)
    with pytest.raises(CaffeError, match="(?s)training stopped.*nan at iteration 4.*help: lower"):
        solve.solve(tiny_plan(val_every=0), folder)
    assert [i for i, _ in folder.states("small-fcn32s")] == [3]
    kept = read_weights(folder.weights("small-fcn32s", 3))
    assert all(np.isfinite(array).all() for arrays in kept.values() for array in arrays)


def test_weights_of_another_net(tiny_plan, tmp_path, whole_run):
    folder, _ = whole_run
    net = tmp_path / "other.prototxt"
    net.write_text('layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 2 } } }\n'
                   'layer { name: "ip" type: "InnerProduct" bottom: "x" top: "y"\n'
                   '        inner_product_param { num_output: 2 } }')
    caffe.Net(str(net), caffe.TEST).save(str(tmp_path / "other.caffemodel"))
    with pytest.raises(CaffeError, match="(?s)another net.*found layers ip"):
        solve.solve(tiny_plan(weights=str(tmp_path / "other.caffemodel")), RunFolder(tmp_path / "run"))


def test_no_pictures(tiny_plan, tmp_path):
    folder = RunFolder(tmp_path / "run")
    solve.solve(tiny_plan(pictures=False, iters="1", stages="32s", val_every=0), folder)
    assert not any(folder.pictures.iterdir()) and not any(folder.predictions.iterdir())
    assert folder.report.exists()


def main(tiny_set, tmp_path, *more):
    return solve.main(["small-fcn8s", "--data", str(tiny_set), "--out", str(tmp_path / "run"), *more])


def test_command(tiny_set, tiny_recipe, tmp_path, capsys):
    assert main(tiny_set, tmp_path, "--iters", "1", "--stages", "32s", "--val-every", "0") == 0
    out = capsys.readouterr().out
    assert "pixel acc.  mean acc.  mean IU  f.w. IU" in out
    assert "small-fcn32s 1/1  loss" in out
    assert main(tiny_set, tmp_path, "--iters", "1", "--stages", "32s") == 1
    assert "holds a run already" in capsys.readouterr().err


def test_command_stopped_says_how_to_go_on(tiny_set, tiny_recipe, tmp_path, capsys, monkeypatch):
    def stop(*arguments):
        raise Stopped("stopped at iteration 5", 130)

    monkeypatch.setattr(solve, "run_stage", stop)
    assert main(tiny_set, tmp_path) == 130
    assert f"--out {tmp_path / 'run'}" in capsys.readouterr().err


@pytest.mark.parametrize(("arguments", "words"), [
    (["no-such-net"], "no net is called 'no-such-net'"),
    (["small-fcn8s", "--data", "no-such-set"], "no data set 'no-such-set'"),
    (["small-fcn8s", "--data", "DATA", "--stages", "4s"], "found 4s, expected small-fcn32s or"),
    (["small-fcn8s", "--data", "DATA", "--stages", "8s,16s"], "stages must come in order"),
    (["small-fcn8s", "--data", "DATA", "--iters", "1,2"], "one number, or one for each stage"),
    (["small-fcn8s", "--data", "DATA", "--iters", "none"], "one number, or one for each stage"),
    (["small-fcn8s", "--data", "DATA", "--stages", "16s"], "starts from small-fcn32s.caffemodel"),
    (["small-fcn8s", "--data", "DATA", "--weights", "x.caffemodel"], "x.caffemodel: there is no such"),
    (["fcn8s", "--data", "DATA"], "tools/download.py vgg16"),
    (["small-fcn8s", "--data", "DATA", "--recipe", "heavy"], "no recipe for net 'small-fcn32s'"),
])
def test_command_says_what_is_wrong(arguments, words, tiny_set, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CAFFE_LUNGO_MODELS", raising=False)
    assert solve.main([str(tiny_set) if a == "DATA" else a for a in arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and words in error and "help: " in error
    assert not list(tmp_path.iterdir())
