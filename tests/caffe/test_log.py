"""The log's lines, held against the expressions with which Caffe's own log parsers read them."""
import datetime
import logging
import os
import re
import subprocess
import sys

import pytest

import caffe
from caffe import glog

# from BVLC Caffe's tools/extra/parse_log.py
ITERATION = re.compile(r"Iteration (\d+)")
TRAIN = re.compile(r"Train net output #(\d+): (\S+) = ([\.\deE+-]+)")
TEST = re.compile(r"Test net output #(\d+): (\S+) = ([\.\deE+-]+)")
RATE = re.compile(r"lr = ([-+]?[0-9]*\.?[0-9]+([eE]?[-+]?[0-9]+)?)")


def seconds_of(line: str, year: int) -> datetime.datetime:
    """As extract_seconds.py reads the time of a line."""
    first, stamp = line.strip().split()[:2]
    whole, micro = stamp[:stamp.rfind(".")], stamp[stamp.rfind(".") + 1:]
    hour, minute, second = (int(x) for x in whole.split(":"))
    return datetime.datetime(year, int(first[1:3]), int(first[3:]), hour, minute, second, int(micro))


@pytest.fixture
def quiet_again():
    """Put the logger back as the import left it."""
    levels = glog.logger.level, glog.solver_logger.level
    handlers = list(glog.logger.handlers)
    yield
    glog.logger.handlers[:] = handlers
    glog.logger.setLevel(levels[0])
    glog.solver_logger.setLevel(levels[1])


def formatted(message, level=logging.INFO):
    record = logging.LogRecord("caffe", level, "/x/solver.py", 239, message, (), None)
    return glog.GlogFormatter().format(record)


@pytest.mark.tiny
def test_format_is_that_of_glog():
    line = formatted("Iteration 100, lr = 0.00992565")
    assert re.fullmatch(r"I\d{4} \d\d:\d\d:\d\d\.\d{6} +\d+ solver\.py:239\] Iteration 100, lr = 0.00992565",
                        line)
    now = datetime.datetime.now()
    assert abs(seconds_of(line, now.year) - now) < datetime.timedelta(minutes=1)
    assert formatted("x", logging.WARNING)[0] == "W" and formatted("x", logging.ERROR)[0] == "E"


@pytest.mark.tiny
def test_no_blank_lines():
    assert "\n\n" not in formatted("a\n\n  \nhelp: b\n") and formatted("a\n\nb").endswith("] a\nb")


@pytest.mark.tiny
def test_a_training_log_is_what_the_parsers_expect(toy, lines, monkeypatch):
    solver = caffe.get_solver(toy("display: 2 max_iter: 4 test_iter: 2 test_interval: 2 base_lr: 1e-10"))
    solver.solve()
    text = [formatted(message) for message in lines()]
    assert sum("] Solving toy" in line for line in text) == 1
    tests = [line for line in text if "Testing net (#0)" in line]
    assert [int(m[1]) for line in tests if (m := ITERATION.search(line))] == [0, 2, 4]
    assert [m.groups()[:1] for line in text if (m := RATE.search(line))] == [("1e-10",)] * 2
    train = [m.groups() for line in text if (m := TRAIN.search(line))]
    test = [m.groups() for line in text if (m := TEST.search(line))]
    assert [(n, name) for n, name, _ in train] == [("0", "loss")] * 2
    assert [(n, name) for n, name, _ in test] == [("0", "acc"), ("1", "loss")] * 3
    loss = [line for line in text if ", loss = " in line]
    assert len(loss) == 3 and all(float(line.split("=")[1]) > 0 for line in loss)   # awk -F = '{print $2}'
    fields = next(line for line in text if ", lr = " in line).split()
    assert float(fields[8]) == pytest.approx(1e-10)                                 # awk '{print $9}'
    fields = next(line for line in text if "Test net output #1" in line).split()
    assert float(fields[10]) > 0                                                    # awk '{print $11}'
    assert "Optimization Done." in text[-1]


@pytest.mark.tiny
def test_init_log_levels(quiet_again, monkeypatch, capsys):
    glog.init_log(1)
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    caffe.log("quiet")
    glog.logger.warning("heard")
    glog.init_log(0)
    caffe.log("also heard")
    err = capsys.readouterr().err
    assert "quiet" not in err and "] heard" in err and "test_log.py" in err and "] also heard" in err


def run(code: str, **env: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          env={**os.environ, "GLOG_minloglevel": "", **env}).stderr


@pytest.mark.unit
def test_what_shows_by_default():
    say = ("import logging, os; os.environ.get('GLOG_minloglevel') or os.environ.pop('GLOG_minloglevel', 0)\n"
           "from caffe import glog\n"
           "glog.logger.info('net'); glog.solver_logger.info('step'); glog.logger.warning('careful')\n")
    default = run(say)
    assert "] step" in default and "] careful" in default and "net" not in default.replace("network", "")
    assert "] net" in run(say, GLOG_minloglevel="0")
    assert run(say, GLOG_minloglevel="2") == ""
    own = run("import logging; logging.basicConfig(format='mine %(message)s', level=logging.INFO)\n" + say)
    assert "mine step" in own and "]" not in own   # a program's own configuration replaces ours


@pytest.mark.tiny
def test_log_folder(quiet_again, tmp_path):
    path = glog.log_to_folder(tmp_path)
    glog.solver_logger.info("Solving it")
    assert "] Solving it" in path.read_text() and (tmp_path / "caffe.INFO").read_text() == path.read_text()
    glog.log_to_folder(tmp_path)   # again: the link moves on
    with pytest.raises(caffe.CaffeError, match="cannot write the log"):
        glog.log_to_folder(tmp_path / "missing")
    for handler in glog.logger.handlers:
        handler.close()
