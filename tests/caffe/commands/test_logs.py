"""parse_log and plot_log: a log of Caffe's form whose numbers are known, and one of our own solver."""
import csv
import math
import struct

import pytest

from caffe.inspect.training_log import parse_log, plot_log

pytestmark = pytest.mark.unit

HEAD = "Log file created at: 2015/12/31 23:59:50\nRunning on machine: box\n"
LINES = """\
I1231 23:59:51.000000  12 caffe.cpp:185] Iteration 77 before the start
I1231 23:59:52.500000  12 solver.cpp:280] Solving toy
I1231 23:59:53.000000  12 solver.cpp:338] Iteration 0, Testing net (#0)
I1231 23:59:54.000000  12 solver.cpp:406]     Test net output #0: acc = 0.125
I1231 23:59:54.000000  12 solver.cpp:406]     Test net output #1: loss = 2.5 (* 1 = 2.5 loss)
I1231 23:59:55.000000  12 solver.cpp:229] Iteration 0, loss = 2.75
I1231 23:59:55.500000  12 solver.cpp:245]     Train net output #0: loss = 2.75 (* 1 = 2.75 loss)
I1231 23:59:56.000000  12 sgd_solver.cpp:106] Iteration 0, lr = 0.01
continued without a date, Iteration 5
I0101 00:00:02.500000  12 solver.cpp:229] Iteration 10 (5 iter/s, 2s/10 iters), loss = 1
I0101 00:00:02.500000  12 solver.cpp:245]     Train net output #0: loss = 1e-05 (* 1 = 1e-05 loss)
I0101 00:00:02.600000  12 sgd_solver.cpp:106] Iteration 10, lr = 1e-3
I0101 00:00:03.000000  12 solver.cpp:338] Iteration 20, Testing net (#0)
I0101 00:00:03.500000  12 solver.cpp:406]     Test net output #0: acc = 0.5
I0101 00:00:03.500000  12 solver.cpp:406]     Test net output #1: loss = nan
"""


def rows(path):
    with open(path, newline="") as file:
        return list(csv.reader(file))


def test_tables_of_a_log(command, tmp_path):
    (tmp_path / "toy.log").write_text(HEAD + LINES)
    (tmp_path / "out").mkdir()
    status, said = command("parse_log", "toy.log", "out", "--verbose")
    assert status == 0 and "Wrote out/toy.log.train" in said
    head, *data = rows("out/toy.log.train")
    assert head == ["NumIters", "Seconds", "LearningRate", "loss"]
    assert [[float(v) for v in row] for row in data] == [[0, 3, 0.01, 2.75], [10, 10, 0.01, 1e-5]]
    head, *data = rows("out/toy.log.test")
    assert head == ["NumIters", "Seconds", "LearningRate", "acc", "loss"]
    assert [float(v) for v in data[0]] == [0, 1.5, 0.001, 0.125, 2.5]
    assert [float(v) for v in data[1][:4]] == [20, 11, 0.001, 0.5] and math.isnan(float(data[1][4]))


def test_delimiter_and_outputs_of_several_values(command, tmp_path):
    stamp = "I0101 00:00:03.500000  12 solver.cpp:406]"
    (tmp_path / "x.log").write_text(f"{stamp} Iteration 4, Testing net (#0)\n" + "".join(
        f"{stamp}     Test net output #{i}: acc = 0.{i}\n" for i in range(3)))
    assert command("parse_log", "x.log", "-delimiter=;")[0] == 0
    assert (tmp_path / "x.log.test").read_text() == (
        "NumIters;Seconds;LearningRate;acc;acc[1];acc[2]\n4.0;0.0;nan;0.0;0.1;0.2\n")
    assert not (tmp_path / "x.log.train").exists()


def test_two_test_nets_and_an_output_that_comes_later(tmp_path):
    stamp = "I0101 00:00:03.500000  12 solver.cpp:406]"
    (tmp_path / "x.log").write_text(f"{stamp} Iteration 4, Testing net (#0)\n{stamp} Test net output #0: a = 1\n"
                                    f"{stamp} Iteration 4, Testing net (#1)\n{stamp} Test net output #0: b = 2\n")
    assert [(row.get("a"), row.get("b")) for row in parse_log(tmp_path / "x.log")[1]] == [(1, None), (None, 2)]


def test_our_own_log(command, tmp_path, deploy):
    (tmp_path / "net.prototxt").write_text("""
layer { name: "x" type: "DummyData" top: "x" top: "y" dummy_data_param {
  shape { dim: 4 dim: 2 } data_filler { type: "gaussian" } } }
layer { name: "s" type: "InnerProduct" bottom: "x" top: "s" inner_product_param { num_output: 2 } }
layer { name: "loss" type: "EuclideanLoss" bottom: "s" bottom: "y" top: "loss" }""")
    (tmp_path / "solver.prototxt").write_text(
        'net: "net.prototxt" base_lr: 0.01 lr_policy: "fixed" max_iter: 20 display: 5 test_interval: 10 test_iter: 1 '
        'snapshot_after_train: false snapshot_prefix: "snap"')
    status, said = command("train", "-solver", "solver.prototxt")
    assert status == 0
    (tmp_path / "toy.log").write_text(said)
    train, test = parse_log("toy.log")
    assert [row["NumIters"] for row in train] == [0, 5, 10, 15]
    assert [row["NumIters"] for row in test] == [0, 10, 20]
    assert list(train[0]) == ["NumIters", "Seconds", "LearningRate", "loss"] and train[1]["LearningRate"] == 0.01


def test_plot(command, tmp_path):
    pytest.importorskip("matplotlib")
    (tmp_path / "a.log").write_text(HEAD + LINES)
    (tmp_path / "b.log").write_text(LINES)
    assert command("plot_log", "all.png", "a.log", "b.log") == (0, "")
    assert command("plot_log", "one.png", "a.log", "-x", "Seconds", "-y=acc") == (0, "")
    sizes = []
    for name in ("all.png", "one.png"):
        data = (tmp_path / name).read_bytes()
        assert data[:8] == b"\x89PNG\r\n\x1a\n"
        sizes.append(struct.unpack(">II", data[16:24]))
    assert sizes[0][1] == 2 * sizes[1][1], "a panel for each output"
    plot_log(["a.log"], "c.svg", y=["LearningRate"])
    assert "<svg" in (tmp_path / "c.svg").read_text()


@pytest.mark.parametrize("arguments, words", [
    (["parse_log", "no.log"], "no.log"), (["parse_log", "junk.log"], "is no log of Caffe"),
    (["parse_log", "toy.log", "nowhere"], "cannot write"), (["parse_log", "toy.log", "-delimiter=ab"], "no delimiter"),
    (["plot_log", "x.png", "toy.log", "-y", "los"], "no log has an output 'los'"),
    (["plot_log", "x.gif", "toy.log"], "'.gif'"),
    (["plot_log", "x.png", "toy.log", "-x", "lr"], "NumIters or Seconds"), (["plot_log", "x.png"], "required"),
    (["plot_log", "x.png", "quiet.log"], "no output of a net")])
def test_refusals(command, tmp_path, arguments, words):
    (tmp_path / "toy.log").write_text(LINES)
    (tmp_path / "quiet.log").write_text(LINES.splitlines()[1])
    (tmp_path / "junk.log").write_text("nothing\n")
    status, said = command(*arguments)
    assert status == 1 and words in said and "help:" in said


def test_a_log_without_the_start_line_begins_at_its_first(tmp_path):
    (tmp_path / "x.log").write_text(LINES[LINES.index("I1231 23:59:53"):])
    train, _ = parse_log(tmp_path / "x.log")
    assert [row["Seconds"] for row in train] == [2.5, 9.5]
