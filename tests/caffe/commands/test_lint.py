"""caffe lint: each mistake is found where it stands, and the nets and solvers of the repository have none."""
from pathlib import Path

import pytest

from caffe import cli
from caffe.commands.lint import lint
from caffe.errors import ParseError
from caffe.inspect.lint_solver import normalization
from caffe.proto.caffe_pb2 import LayerParameter, LossParameter

pytestmark = pytest.mark.unit

HEAD = """name: "net"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 400 dim: 500 } } }
layer { name: "label" type: "Input" top: "label" input_param { shape { dim: 1 dim: 1 dim: 400 dim: 500 } } }
"""
NET = HEAD + """layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  param { lr_mult: 1 } param { lr_mult: 2 }
  convolution_param { num_output: 21 kernel_size: 3 pad: 1 } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "conv" bottom: "label" top: "loss" loss_param { %s } }
"""
SOLVER = """net: "net.prototxt"
type: "SGD"
base_lr: 0.001
lr_policy: "fixed"
momentum: 0.9
max_iter: 100
"""


@pytest.fixture
def found(tmp_path, monkeypatch):
    """found(solver, net) -> {rule: Finding} of a solver with its net, or of a net alone."""
    monkeypatch.chdir(tmp_path)

    def look(solver="", net=NET % ""):
        Path("net.prototxt").write_text(net)
        if solver:
            Path("solver.prototxt").write_text(solver)
        out = lint("solver.prototxt" if solver else "net.prototxt")
        assert len({f.rule for f in out}) == len(out), out
        return {f.rule: f for f in out}

    return look


def test_the_repositorys_own_nets():
    files = [*Path("prototxt/fcn8s").glob("*.prototxt"), *Path("prototxt/fcn32s").glob("solver*.prototxt"),
             *Path("prototxt/small-fcn8s").glob("*.prototxt")]
    assert len(files) > 10
    # the thesis's slowest rate, divided among single images, is as low as a rate for sums: a false alarm
    assert [(finding.file, finding.rule) for file in files for finding in lint(file)] == [
        ("prototxt/fcn8s/solver_single.prototxt", "lr-normalization")]


def test_nothing_in_a_sound_pair(found):
    assert found(SOLVER) == {}


@pytest.mark.parametrize("old, new, rule, line", [
    ('name: "relu"', 'name: "conv"', "duplicate-name", 7),
    ('bottom: "conv" top: "conv" }', 'bottom: "conv" top: "conv" param { lr_mult: 1 } }', "unused-param", 7),
    ("num_output: 21", "bias_term: false num_output: 21", "unused-param", 5),
    ('bottom: "conv" top: "conv" }', 'bottom: "conv" top: "conv" pooling_param { stride: 2 } }', "unread-message", 7),
    ('top: "conv" }', 'top: "other" }', "unread-top", 7),
])
def test_nets(found, old, new, rule, line):
    assert old in NET
    (finding,) = found(net=NET.replace("%s", "").replace(old, new)).values()
    assert (finding.rule, finding.file, finding.line) == (rule, "net.prototxt", line)


def test_pooling_param_on_a_convolution(found):
    finding = found(net=NET.replace("%s", "").replace("convolution_param", "pooling_param").replace(
        "num_output: 21", ""))["unread-message"]
    assert finding.line == 6
    assert "Convolution" in finding.what and "empty" in finding.why


def test_phases_may_repeat_a_name_and_messages_of_losses_are_read(found):
    twice = NET % "ignore_label: 255" + "".join(
        f'layer {{ name: "x" type: "Softmax" bottom: "conv" top: "x" include {{ phase: {phase} }} }}'
        f'layer {{ name: "s" type: "Silence" bottom: "x" include {{ phase: {phase} }} }}\n'
        for phase in ("TRAIN", "TEST"))
    assert found(net=twice) == {}


def test_a_net_for_use_may_have_many_outputs(found):
    assert found(net=NET.split('layer { name: "loss"')[0]) == {}


def test_crop_offsets(tmp_path, capsys):
    path = tmp_path / "net.prototxt"
    published = Path("prototxt/fcn8s/deploy.prototxt").read_text()
    path.write_text(published.replace("offset: 31", "offset: 34"))
    assert cli.main(["lint", str(path)]) == 1
    line = published[:published.index("offset: 31")].count("\n") + 1
    out = capsys.readouterr().out
    assert f"net.prototxt:{line}: crop-offset: layer 'score' crops at offset 34, the coordinate maps give 31" in out
    assert cli.main(["lint", "prototxt/fcn8s/deploy.prototxt"]) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("old, new, rule, line", [
    ('"SGD"', '"AdaGrad"', "unused-momentum", 5),
    ('"SGD"', '"RMSProp"', "unused-momentum", 5),
    ("momentum: 0.9", "momentum: 0.9\nmomentum2: 0.99", "unused-setting", 6),
    ("momentum: 0.9", "momentum: 0.9\nstepsize: 10", "unused-setting", 6),
    ("momentum: 0.9", "momentum: 1", "momentum", 5),
    ('"fixed"', '"step" gamma: 0.1', "no-stepsize", 4),
    ('"fixed"', '"step" stepsize: 10', "no-gamma", 4),
    ('"fixed"', '"multistep" gamma: 0.1', "no-stepvalue", 4),
    ('"fixed"', '"multistep" gamma: 0.1 stepvalue: 50 stepvalue: 20', "stepvalue-order", 4),
    ('"fixed"', '"poly"', "no-power", 4),
    ('lr_policy: "fixed"', "", "no-lr-policy", 3),
    ("base_lr: 0.001", "", "no-base-lr", None),
    ("max_iter: 100", "", "no-max_iter", None),
    ("max_iter: 100", "max_iter: 100\ntest_interval: 10", "no-test_iter", 7),
    ("max_iter: 100", "max_iter: 100\ntest_iter: 10", "no-test_interval", 7),
    ("max_iter: 100", "max_iter: 100\nsnapshot: 10", "no-snapshot_prefix", 7),
])
def test_solvers(found, old, new, rule, line):
    assert old in SOLVER
    (finding,) = found(SOLVER.replace(old, new)).values()
    assert (finding.rule, finding.file, finding.line) == (rule, "solver.prototxt", line)


def test_fields_may_share_a_line(found):
    assert not found(SOLVER.replace("max_iter: 100", 'max_iter: 100 snapshot: 10 snapshot_prefix: "s"'))


FINE, HIGH, LOW = "", "too high", "too low"


@pytest.mark.parametrize("loss, rate, verdict", [
    ("", 1e-3, FINE), ("normalization: VALID", 1e-3, FINE), ("normalize: true", 1e-3, FINE),
    ("normalization: FULL", 1e-3, FINE), ("normalization: FULL", 1e-9, LOW), ("", 1e-10, LOW), ("", 10, HIGH),
    # 200,000 pixels: a step of 1e-3 / 0.1 on their sum is one of 2000 on their mean
    ("normalize: false", 1e-3, HIGH), ("normalization: BATCH_SIZE", 1e-3, HIGH), ("normalization: NONE", 1e-3, HIGH),
    ("normalize: false", 1e-8, FINE), ("normalization: NONE", 1e-8, FINE), ("normalization: NONE", 1e-16, LOW),
])
def test_rate_and_normalization(found, loss, rate, verdict):
    out = found(SOLVER.replace("0.001", str(rate)), NET % loss)
    assert list(out) == (["lr-normalization"] if verdict else [])
    if verdict:
        assert verdict in out["lr-normalization"].what
        assert out["lr-normalization"].line == 3
        assert "net.prototxt:8" in out["lr-normalization"].what


def test_the_published_rates_with_the_other_normalization(tmp_path, monkeypatch):
    """FCN-32s learns at 1e-10 on sums (momentum 0.99); on means that is nothing, and 1e-4 on sums diverges."""
    train = Path("prototxt/fcn32s/train.prototxt").read_text()
    heavy = Path("prototxt/fcn32s/train_heavy.prototxt").read_text()
    solvers = {name: Path(f"prototxt/fcn32s/{name}.prototxt").read_text() for name in ("solver", "solver_heavy")}
    monkeypatch.chdir(tmp_path)
    Path("prototxt/fcn32s").mkdir(parents=True)
    for name, net in (("train", heavy), ("train_heavy", train), ("val", train), ("val_heavy", train)):
        Path(f"prototxt/fcn32s/{name}.prototxt").write_text(net)
    verdicts = {}
    for name, text in solvers.items():
        Path("s.prototxt").write_text(text)
        (finding,) = (f for f in lint("s.prototxt") if f.rule == "lr-normalization")
        verdicts[name] = finding.what
    assert "too high" in verdicts["solver"]
    assert "too low" in verdicts["solver_heavy"]


def test_a_classifier_is_not_spatial(found):
    net = NET.replace("layer { name: \"loss\"", 'layer { name: "ip" type: "InnerProduct" bottom: "conv" top: "ip" '
                      'inner_product_param { num_output: 5 } }\nlayer { name: "loss"')
    net = net.replace('bottom: "conv" bottom: "label"', 'bottom: "ip" bottom: "label"')
    assert found(SOLVER, net % "normalization: BATCH_SIZE") == {}


def test_adaptive_types_do_not_depend_on_it(found):
    assert found(SOLVER.replace("SGD", "Adam"), NET % "normalize: false") == {}


def test_normalization_as_the_engine_reads_it():
    def of(kind, **loss):
        return normalization(LayerParameter(type=kind, loss_param=LossParameter(**loss)))

    assert of("SoftmaxWithLoss") == "VALID"
    assert of("SigmoidCrossEntropyLoss") == "BATCH_SIZE"
    assert of("SoftmaxWithLoss", normalize=False) == "BATCH_SIZE"
    assert of("SoftmaxWithLoss", normalize=False, normalization=LossParameter.NONE) == "NONE"


def test_files_that_are_neither(tmp_path, capsys):
    path = tmp_path / "x.prototxt"
    path.write_text("layer { nome: 3 }")
    with pytest.raises(ParseError, match="nome"):
        lint(path)
    assert cli.main(["lint", str(tmp_path / "none.prototxt")]) == 1
    assert "is not there" in capsys.readouterr().err


def test_nets_are_found_from_the_folder_of_the_solver(found, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    found(SOLVER.replace("0.001", "10"))
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert [f.rule for f in lint("../solver.prototxt")] == ["lr-normalization"]
    (tmp_path / "net.prototxt").unlink()
    with pytest.raises(ParseError, match="is not there"):
        lint("../solver.prototxt")
