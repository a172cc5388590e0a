"""The `caffe` command: flags, actions, signals, exit status, and errors in one sentence."""
import json
import os
import re
import signal
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import caffe
from caffe import cli, flags, state
from caffe.errors import CaffeError
from caffe.solvers.signals import SignalHandler

ROOT = Path(__file__).resolve().parents[2]
CAFFE = [sys.executable, "-m", "caffe"]
PLAIN = ('base_lr: 0.1 momentum: 0.9 lr_policy: "fixed" random_seed: 3 max_iter: 8 snapshot_prefix: "snap" '
         "display: 4 test_iter: 2 test_interval: 4")


def environment():
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


@pytest.fixture
def command(monkeypatch, capsys, the_log_as_it_was):
    """run(*arguments) -> (exit status, what was printed and logged)."""
    monkeypatch.delenv("GLOG_minloglevel", raising=False)

    def run(*arguments):
        status = cli.main([str(a) for a in arguments])
        out = capsys.readouterr()
        return status, out.out + out.err

    return run


# ------------------------------------------------------------------ flags
@pytest.mark.tiny
@pytest.mark.parametrize("arguments", [
    ["train", "-solver", "s", "-weights", "a,b"], ["-solver=s", "--weights=a,b", "train"],
    ["--solver", "s", "train", "--weights", "a,b"], ["-weights", "a,b", "-solver=s", "--", "train"]])
def test_flags_parse_in_every_form(arguments):
    line = flags.parse(arguments)
    assert (line.action, line.solver, line.weights, line.iterations) == ("train", "s", "a,b", 50)
    assert sorted(line.given) == ["solver", "weights"] and not line.unused


@pytest.mark.tiny
def test_flag_values():
    line = flags.parse(["time", "-iterations", "-3", "-level=2", "--sigint-effect", "none", "-nologtostderr",
                        "-alsologtostderr=1", "-model=a=b"])
    assert (line.iterations, line.level, line.sigint_effect, line.model) == (-3, 2, "none", "a=b")
    assert (line.logtostderr, line.alsologtostderr) == (False, True)
    assert line.unused == ["sigint_effect"]
    assert flags.parse(["help", "train"]).help and flags.parse(["train", "-h"]).help


@pytest.mark.tiny
@pytest.mark.parametrize("arguments, words", [
    (["trian"], "did you mean train?"), (["-slover", "x"], "did you mean -solver?"),
    (["--qqqqqqqq"], "caffe -help lists them"), (["train", "test"], "one action at a time"),
    (["train", "-solver"], "-solver needs a value"), (["train", "-solver", "-gpu", "0"], "found -gpu"),
    (["time", "-iterations", "many"], "whole number"), (["-logtostderr=maybe"], "true or false"),
    (["-nosolver", "x"], "cannot be negated"), (["frobnicate"], "expected train, test, time, device_query")])
def test_wrong_command_lines(command, arguments, words):
    with pytest.raises(CaffeError) as error:
        flags.parse(arguments)
    assert words in str(error.value) and "help:" in str(error.value)
    status, text = command(*arguments)
    assert status == 1 and words in text and "Traceback" not in text


@pytest.mark.tiny
def test_usage_names_every_flag_and_action(command):
    status, text = command("-help")
    assert status == 0 and all(f"  -{flag.name} " in text for flag in flags.FLAGS)
    assert all(f"  {action} " in text for action in flags.ACTIONS)
    status, text = command("time", "--help")
    assert status == 0 and "-iterations" in text and "-solver" not in text
    assert command() == (1, flags.usage() + "\n")
    assert command("-version") == (0, f"caffe-lungo {caffe.__version__}\n")


@pytest.mark.unit
def test_help_does_not_load_torch():   # its time: benchmarks/startup.py
    code = "import sys\nfrom caffe.cli import main\nmain(['-help'])\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, env=environment(), capture_output=True)


# ------------------------------------------------------------------ train
@pytest.mark.tiny
def test_train_resume_and_finetune(command, toy, tmp_path):
    path = toy("snapshot: 4 solver_mode: CPU", base=PLAIN)
    status, text = command("train", "-solver", path)
    assert status == 0, text
    for words in ("] Use CPU.", "] Starting Optimization", "] Solving toy", "] Iteration 4, lr = 0.1",
                  "] Iteration 8, loss = ", "] Optimization Done."):
        assert words in text
    ends = (tmp_path / "snap_iter_8.caffemodel").read_bytes()
    status, text = command("train", "--solver=solver.prototxt", "--snapshot=snap_iter_4.solverstate")
    assert status == 0 and "] Resuming from snap_iter_4.solverstate" in text
    assert (tmp_path / "snap_iter_8.caffemodel").read_bytes() == ends
    toy('weights: "never.caffemodel"', base=PLAIN)   # the flag takes the place of the field
    files = "snap_iter_4.caffemodel,snap_iter_8.caffemodel"
    status, text = command("train", "-solver", path, "-weights", files)
    assert status == 0 and "Finetuning from snap_iter_8.caffemodel" in text, text


@pytest.mark.tiny
def test_train_state_from_flags(command, toy):
    rule = 'include { stage: "a" stage: "b" min_level: 2 } '
    net = (Path(toy()).parent / "net.prototxt").read_text().replace('name: "drop" ', f'name: "drop" {rule}')
    path = toy("max_iter: 1", net=net)
    assert "drop" not in caffe.get_solver(path).net.layer_dict
    status, text = command("train", "-solver", path, "-stage", "a,b", "-level", "2", "-minloglevel", "0")
    assert status == 0
    saved = caffe.proto.caffe_pb2.NetParameter()
    saved.ParseFromString(Path("snap_iter_1.caffemodel").read_bytes())
    assert "drop" in [layer.name for layer in saved.layer]


@pytest.mark.tiny
@pytest.mark.parametrize("arguments, words", [
    (["train"], "needs -solver"), (["train", "-solver", "missing"], "missing: is not there"),
    (["train", "-solver", "solver.prototxt", "-snapshot", "a", "-weights", "b"], "exclude each other"),
    (["train", "-solver", "solver.prototxt", "-snapshot", "a.solverstate"], "no such snapshot"),
    (["train", "-solver", "solver.prototxt", "-weights", "a.caffemodel"], "a.caffemodel"),
    (["train", "-solver", "solver.prototxt", "-sigint_effect", "explode"], "found explode"),
    (["train", "-solver", "net.prototxt"], "net.prototxt:"),
    (["test", "-model", "net.prototxt"], "needs -weights"), (["test", "-weights", "w"], "needs -model"),
    (["test", "-model", "net.prototxt", "-weights", "w", "-iterations", "0"], "at least 1"),
    (["time"], "needs -model"), (["time", "-model", "net.prototxt", "-phase", "train"], "TRAIN or TEST"),
    (["time", "-model", "net.prototxt", "-gpu", "first"], "device numbers"),
    (["time", "-model", "net.prototxt", "-iterations", "1", "-json", "no/t.json"], "cannot write")])
def test_errors_are_one_sentence(command, toy, arguments, words):
    toy()
    status, text = command(*arguments)
    assert status == 1 and words in text and "Traceback" not in text and "help:" in text, text


@pytest.mark.tiny
def test_traceback_on_request(command, monkeypatch):
    monkeypatch.setenv("CAFFE_TRACEBACK", "1")
    status, text = command("train")
    assert status == 1 and "Traceback" in text and "needs -solver" in text


@pytest.mark.tiny
def test_devices(command, toy, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    path = toy("max_iter: 1 solver_mode: GPU")
    status, text = command("train", "-solver", path)
    assert status == 0 and "W" in text and "sees no CUDA device: training on the CPU" in text
    for ids in ("0", "all"):
        status, text = command("train", "-solver", path, "-gpu", ids)
        assert status == 1 and f"-gpu {ids}: no GPU here" in text and "leave -gpu out" in text
    status, text = command("device_query")
    assert status == 0 and "threads for one layer" in text and "No CUDA device" in text
    assert command("device_query", "-gpu", "3")[0] == 1
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    status, text = command("train", "-solver", path, "-gpu", "0,1")
    assert status == 1 and "there is no GPU 0" in text
    status, text = command("time", "-model", "net.prototxt", "-gpu", "0,1")
    assert status == 1 and "one device" in text
    assert "names a device twice" in command("train", "-solver", path, "-gpu", "1,1")[1]
    assert state.mode() == "CPU"


@pytest.mark.tiny
def test_a_flag_without_effect_is_named(command, toy):
    toy()
    status, text = command("time", "-model", "net.prototxt", "-iterations", "1", "-snapshot", "x")
    assert status == 0 and "-snapshot has no effect on `caffe time`" in text


# ------------------------------------------------------------------ test, time, log folder
@pytest.mark.tiny
def test_score(command, toy):
    toy()
    caffe.set_random_seed(1)
    net = caffe.Net("net.prototxt", caffe.TEST)
    net.params["ip2"][0].data[...] = 0
    net.params["ip2"][1].data[...] = [0, 2, 0]   # the label is always 1
    net.save("w.caffemodel")
    status, text = command("test", "-model", "net.prototxt", "-weights", "w.caffemodel", "-iterations", "3")
    loss = np.log(np.exp(2) + 2) - 2
    assert status == 0 and "] Running for 3 iterations." in text
    assert [float(x) for x in re.findall(r"Batch \d, acc = (\S+)", text)] == [1, 1, 1]
    assert re.findall(r"\] acc = (\S+)", text) == ["1"]
    for pattern in (r"\] Loss: (\S+)", r"\] loss = (\S+) \(\* 1 = \S+ loss\)", r"Batch 2, loss = (\S+)"):
        assert float(re.search(pattern, text)[1]) == pytest.approx(loss, rel=1e-5)


@pytest.mark.tiny
def test_time(command, toy, tmp_path):
    toy()
    status, text = command("time", "-model=net.prototxt", "-iterations=2", "--json", "t.json", "-phase=TEST")
    assert status == 0
    for words in ("*** Benchmark begins ***", "Testing for 2 iterations.", "Average time per layer:",
                  "Average Forward pass: ", "Average Backward pass: ", "Average Forward-Backward: ",
                  "Total Time: "):
        assert f"] {words}" in text
    assert re.search(r"\]        ip1\tforward: [\d.e-]+ ms\.", text)   # the name in ten columns, as Caffe's
    found = json.loads((tmp_path / "t.json").read_text())
    names = [layer["name"] for layer in found["layers"]]
    assert names[0] == "data" and {"ip1", "acc"} < set(names) and found["iterations"] == 2
    inside = sum(layer["forward"] + layer["backward"] for layer in found["layers"])
    assert 0 < inside <= found["forward"] + found["backward"] <= found["forward_backward"]


@pytest.mark.tiny
def test_log_dir(command, toy, tmp_path):
    path = toy("max_iter: 1")
    assert command("train", "-solver", path, "-log_dir", tmp_path, "-minloglevel", "1")[0] == 0
    assert "Solving" not in (tmp_path / "caffe.INFO").read_text()   # -minloglevel is for both
    assert command("train", "-solver", path, "-log_dir", tmp_path)[0] == 0
    assert "Solving" in (tmp_path / "caffe.INFO").read_text()


# ------------------------------------------------------------------ signals
@pytest.mark.tiny
def test_requests_from_signals():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGHUP)
    with SignalHandler("stop", "snapshot") as handler:
        assert handler.requested() == "none"
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGHUP)
        assert [handler.requested() for _ in range(3)] == ["snapshot", "stop", "none"]
        with pytest.raises(KeyboardInterrupt):   # stop was asked for already
            os.kill(os.getpid(), signal.SIGINT)
    with SignalHandler("snapshot", "none") as handler:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
            assert handler.requested() == "snapshot"
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):   # the first was not answered yet
            os.kill(os.getpid(), signal.SIGINT)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGHUP)) == before
    with pytest.raises(CaffeError, match="found often"):
        SignalHandler("often")


@pytest.mark.unit
def test_hang_up_snapshots_and_ctrl_c_stops(toy, tmp_path):
    path = toy("max_iter: 100000000 display: 1")
    sent, text = [], ""
    with subprocess.Popen([*CAFFE, "train", "-solver", path], env=environment(), stderr=subprocess.PIPE,
                          text=True) as process:
        for line in process.stderr:
            text += line
            if "Iteration 3," in line and not sent:
                process.send_signal(signal.SIGHUP)
                sent.append("hup")
            elif "Snapshotting solver state" in line and sent == ["hup"]:
                process.send_signal(signal.SIGINT)
                sent.append("int")
    assert process.returncode == 0, text
    assert "Optimization stopped early." in text and "Traceback" not in text
    states = sorted(tmp_path.glob("snap_iter_*.solverstate"))
    assert len(states) == 2 and all(file.with_suffix(".caffemodel").exists() for file in states)


@pytest.mark.unit
def test_a_progress_bar_on_a_terminal_only(toy):
    fcntl, pty, termios = (pytest.importorskip(name) for name in ("fcntl", "pty", "termios"))
    path = toy("max_iter: 30 display: 10")
    master, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
    seen = b""
    with subprocess.Popen([*CAFFE, "train", "-solver", path], env=environment(), stderr=terminal) as process:
        os.close(terminal)
        while True:
            try:
                part = os.read(master, 4096)
            except OSError:   # the other end was closed
                part = b""
            if not part:
                break
            seen += part
    os.close(master)
    assert process.returncode == 0
    text = seen.decode()
    assert "30/30" in text and "loss" in text
    # the log's lines stay whole lines above the bar
    assert re.search(r"[\r\n](\x1b\[\w)*I\d{4} \S+ +\d+ solver.py:\d+\] Iteration 20, lr = 0.1\r\n", text)
    piped = subprocess.run([*CAFFE, "train", "-solver", path], env=environment(), capture_output=True,
                           text=True)
    assert "30/30" not in piped.stderr and "Iteration 20, lr = 0.1" in piped.stderr
