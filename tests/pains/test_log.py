"""Pain 11: a log that floods the terminal and cannot be turned off, and that parsers must still be able to read."""
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import caffe

pytestmark = pytest.mark.unit

ROOT = Path(caffe.__file__).resolve().parents[1]
NET = """
name: "toy"
layer { name: "data" type: "DummyData" top: "x" top: "y" dummy_data_param {
  shape { dim: 8 dim: 5 } shape { dim: 8 }
  data_filler { type: "gaussian" std: 1 } data_filler { type: "constant" value: 1 } } }
layer { name: "ip" type: "InnerProduct" bottom: "x" top: "s"
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "s" bottom: "y" top: "loss" }
layer { name: "acc" type: "Accuracy" bottom: "s" bottom: "y" top: "acc" }
"""
SOLVER = ('net: "net.prototxt" base_lr: 0.01 gamma: 0.1 stepsize: 4 lr_policy: "step" random_seed: 3 max_iter: 10 '
          'display: 2 test_iter: 2 test_interval: 5 snapshot_prefix: "snap"')
# The expressions of BVLC Caffe's tools/extra/parse_log.py, and how extract_seconds.py reads a line's time
ITERATION = re.compile(r"Iteration (\d+)")
OUTPUT = {"train": re.compile(r"Train net output #(\d+): (\S+) = ([\.\deE+-]+)"),
          "test": re.compile(r"Test net output #(\d+): (\S+) = ([\.\deE+-]+)")}
RATE = re.compile(r"lr = ([-+]?[0-9]*\.?[0-9]+([eE]?[-+]?[0-9]+)?)")
TIME = re.compile(r"[IWEF]\d{4} \d\d:\d\d:\d\d\.\d{6} +\d+ \S+:\d+\] ")


@pytest.fixture
def session(tmp_path):
    """session(code, **environment) -> what a fresh Python prints to stderr; the solver's files lie beside it."""
    (tmp_path / "net.prototxt").write_text(NET)
    (tmp_path / "solver.prototxt").write_text(SOLVER)
    (tmp_path / "quiet.prototxt").write_text(SOLVER.replace("display: 2", ""))

    def session(code="", arguments=(), **environment):
        env = {k: v for k, v in os.environ.items() if not k.startswith("GLOG_")}
        done = subprocess.run([sys.executable, *(arguments or ["-c", code])], cwd=tmp_path, capture_output=True,
                              text=True, timeout=120,
                              env={**env, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment})
        assert done.returncode == 0 and not done.stdout, done.stderr
        return done.stderr
    return session


STEP = "import caffe; caffe.get_solver('{}').step(4)"


def test_a_program_is_left_in_peace(session):
    """Building a net and training without `display` prints nothing; BVLC Caffe prints a page."""
    assert session("import caffe; caffe.Net('net.prototxt', caffe.TRAIN).forward()\n"
                   "s = caffe.get_solver('quiet.prototxt'); s.net.forward()") == ""


@pytest.mark.parametrize("level, shown", [("0", True), ("2", False)])
def test_the_variable_of_glog(session, level, shown):
    said = session(STEP.format("solver.prototxt"), GLOG_minloglevel=level)
    assert ("Iteration 0" in said) == shown
    assert shown or said == ""


def test_the_standard_library_decides(session):
    """Loggers, levels and formats are those of `logging`; a program that configures it gets each line once."""
    step = STEP.format("solver.prototxt")
    assert session(f"import logging; logging.getLogger('caffe').setLevel(logging.ERROR); {step}") == ""
    assert session(f"import caffe; caffe.init_log(2); {step}") == ""
    own = "import logging, sys; logging.basicConfig(level=logging.INFO, format='MINE %(name)s %(message)s')\n"
    said = session(own + step).splitlines()
    assert said and all(line.startswith("MINE caffe") for line in said)
    assert sum("Iteration 2 (" in line for line in said) == 1


def test_the_flag_and_the_file_of_the_command(session, tmp_path):
    caffe_train = ["-m", "caffe", "train", "-solver", "solver.prototxt"]
    assert session(arguments=[*caffe_train, "-minloglevel", "2"]) == ""
    (tmp_path / "logs").mkdir()
    said = session(arguments=[*caffe_train, "-log_dir", "logs"])
    assert (tmp_path / "logs" / "caffe.INFO").read_text() == said


def parse(text):
    """parse_log.py's way through a log: {"train": [row, ...], "test": [row, ...], "lr": {iteration: lr}}."""
    rows = {"train": [], "test": [], "lr": {}}
    iteration = -1
    for line in text.splitlines():
        if match := ITERATION.search(line):
            iteration = int(match[1])
        if iteration < 0:
            continue
        if match := RATE.search(line):
            rows["lr"][iteration] = float(match[1])
        for kind, expression in OUTPUT.items():
            if match := expression.search(line):
                if not rows[kind] or rows[kind][-1]["NumIters"] != iteration:
                    rows[kind].append({"NumIters": iteration})
                rows[kind][-1][match[2]] = float(match[3])
    return rows


def test_caffes_own_parser_reads_what_happened(session, tmp_path, monkeypatch):
    """The rows are those of a solver in this process that took the same steps, to the six digits of the log."""
    text = session(arguments=["-m", "caffe", "train", "-solver", "solver.prototxt"])
    assert all(TIME.match(line) for line in text.splitlines())
    assert any("Solving" in line for line in text.splitlines())   # extract_seconds takes the start from this line
    rows = parse(text)

    monkeypatch.chdir(tmp_path)
    solver = caffe.get_solver("solver.prototxt")
    expected, rates = [], {}

    def remember():
        if solver.iter % 2 == 0:
            rates[solver.iter] = pytest.approx(solver.lr, rel=1e-5)
            expected.append({"NumIters": solver.iter,
                             "loss": pytest.approx(float(solver.net.blobs["loss"].data), rel=1e-5),
                             "acc": pytest.approx(float(solver.net.blobs["acc"].data), rel=1e-5)})

    solver.add_callback(lambda: None, remember)   # after the gradients, before the update
    logging.getLogger("caffe.solver").setLevel(logging.WARNING)
    try:
        solver.solve()
    finally:
        logging.getLogger("caffe.solver").setLevel(logging.INFO)
    assert len(expected) == 5 and rows["train"][:5] == expected
    assert rows["lr"] == rates and rates[8] == 1e-4
    assert [row["NumIters"] for row in rows["test"]] == [0, 5, 10]
    assert all(set(row) == {"NumIters", "loss", "acc"} for row in rows["train"] + rows["test"])
