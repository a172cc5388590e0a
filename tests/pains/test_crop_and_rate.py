"""Pains 6 and 7: crop offsets by hand, and learning rates that do not fit the loss."""
import logging
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import caffe
from caffe import cli
from caffe.commands.explain_crop import explain
from caffe.inspect.lint import lint_net
from caffe.inspect.lint_solver import lint_solver
from caffe.inspect.training_log import parse_log

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.unit


@pytest.fixture
def write(tmp_path, monkeypatch):
    """write(text, name="net.prototxt") -> path; in a fresh working folder."""
    monkeypatch.chdir(tmp_path)

    def to(text, name="net.prototxt"):
        (tmp_path / name).write_text(text)
        return name
    return to


# ---------------------------------------------------------------------- 6. crop offsets
DOWN_AND_UP = """
layer {{ name: "data" type: "Input" top: "data" input_param {{ shape {{ dim: 1 dim: 1 dim: 40 dim: 40 }} }} }}
layer {{ name: "down" type: "Convolution" bottom: "data" top: "down" convolution_param {{ num_output: 1 kernel_size: 2
  stride: 2 pad: {pad} bias_term: false weight_filler {{ type: "constant" value: 1 }} }} }}
layer {{ name: "up" type: "Deconvolution" bottom: "down" top: "up" convolution_param {{ num_output: 1 kernel_size: 4
  stride: 2 bias_term: false weight_filler {{ type: "bilinear" }} }} }}
layer {{ name: "score" type: "Crop" bottom: "up" bottom: "data" top: "score"
  crop_param {{ axis: 2 offset: {offset} }} }}
"""


@pytest.mark.parametrize("pad", [3, 7, 10])
@pytest.mark.parametrize("error", [0, 3, -2])
def test_6_the_derived_offset_is_the_one_that_does_not_shift(write, pad, error):
    (derived,) = explain(write(DOWN_AND_UP.format(pad=pad, offset=0)))
    path = write(DOWN_AND_UP.format(pad=pad, offset=derived.offset[0] + error))
    net = caffe.Net(path, caffe.TEST)
    net.blobs["data"].data[0, 0, 20:22, 16:18] = 1
    response = net.forward()["score"][0, 0]
    centre = [float((response.sum(axis) * np.arange(40)).sum() / response.sum()) for axis in (1, 0)]
    assert centre == pytest.approx([20.5 - error, 16.5 - error])   # the complaint: predictions beside the objects
    findings = lint_net(path)
    assert [(f.rule, f.line) for f in findings] == [("crop-offset", 8)] * bool(error)
    assert cli.main(["explain-crop", path]) == int(error != 0)


def test_6_the_published_31_is_right_and_34_is_found(write, capsys):
    """FCN-8s crops at 31; people have "corrected" it to 34, for another net's arithmetic."""
    text = (ROOT / "prototxt/fcn8s/deploy.prototxt").read_text()
    assert not lint_net(write(text))
    (finding,) = lint_net(write(re.sub(r"offset: 31\b", "offset: 34", text)))
    assert finding.rule == "crop-offset" and "offset 34, the coordinate maps give 31" in finding.what
    assert cli.main(["explain-crop", "net.prototxt", "-layer", "score"]) == 1
    said = capsys.readouterr().out
    assert "conv1_1" in said and "x + 99" in said and "offset 31; the prototxt says 34: THEY DISAGREE" in said


def test_6_padding_of_less_than_100_needs_other_offsets(write):
    text = (ROOT / "prototxt/fcn32s/deploy.prototxt").read_text()
    (crop,) = explain(write(re.sub(r"pad: 100\b", "pad: 84", text)))
    # 16 samples less on each side of the image
    assert (crop.written, crop.offset) == ([19], [3])


# ---------------------------------------------------------------------- 7. rate and normalisation
TRAIN = """
layer {{ name: "data" type: "DummyData" top: "x" top: "label" dummy_data_param {{
  shape {{ dim: 2 dim: 3 dim: 20 dim: 30 }} shape {{ dim: 2 dim: 1 dim: 20 dim: 30 }}
  data_filler {{ type: "gaussian" std: 1 }} data_filler {{ type: "uniform" min: 0 max: 3.9 }} }} }}
layer {{ name: "score" type: "Convolution" bottom: "x" top: "score"
  convolution_param {{ num_output: 4 kernel_size: 1 weight_filler {{ type: "gaussian" std: 1 }} }} }}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "score" bottom: "label" top: "loss"
  loss_param {{ ignore_label: 3 {how} }} }}
"""
SOLVER = 'net: "net.prototxt" base_lr: {rate} momentum: 0.9 lr_policy: "fixed" max_iter: 1 display: 1 random_seed: 1 ' \
         "snapshot_after_train: false"


@pytest.mark.parametrize("how", ["normalize: false", "normalization: NONE", "normalization: FULL"])
def test_7_the_loss_of_a_pixel_stands_beside_the_raw_one(write, caplog, how):
    """A loss of thousands is fine where it is a sum over pixels: the log says so."""
    caplog.set_level(logging.INFO, logger="caffe")
    losses, told = [], []
    for this in (how, "normalization: VALID"):
        caplog.clear()
        write(TRAIN.format(how=this))
        solver = caffe.get_solver(write(SOLVER.format(rate="1e-9"), "solver.prototxt"))
        solver.step(1)
        losses.append(float(solver.net.blobs["loss"].data))
        told.append([r.getMessage() for r in caplog.records if "per label" in r.getMessage()])
    assert not told[1]                     # a mean already
    assert float(re.search(r"Train loss 'loss' per label: (\S+)", told[0][0])[1]) == pytest.approx(losses[1], rel=1e-4)
    assert losses[0] > 100 * losses[1] or "FULL" in how


def test_7_log_parsers_read_on(write, tmp_path):
    write(TRAIN.format(how="normalization: NONE"))
    write(SOLVER.format(rate="1e-9"), "solver.prototxt")
    done = subprocess.run([sys.executable, "-m", "caffe", "train", "-solver", "solver.prototxt"], check=True, text=True,
                          capture_output=True, env={"PYTHONPATH": str(ROOT), "PATH": "", "OMP_NUM_THREADS": "1"})
    (tmp_path / "log").write_text(done.stderr)
    assert "per label" in done.stderr
    ((row,), _) = parse_log("log")
    assert set(row) == {"NumIters", "Seconds", "LearningRate", "loss"} and row["loss"] > 100


# FCN's published rate belongs to a sum over pixels, 1e-4 to their mean
@pytest.mark.parametrize("mode, sound, wrong", [
    ("NONE", "1e-10", "1e-2"), ("BATCH_SIZE", "1e-10", "1e-2"), ("VALID", "1e-4", "1e-10"), ("FULL", "1e-4", "1e-10")])
def test_7_lint_knows_what_the_loss_is_divided_by(write, mode, sound, wrong):
    write(TRAIN.format(how=f"normalization: {mode}").replace("20", "500").replace("30", "500"))
    for rate in (sound, wrong):
        found = [f.what for f in lint_solver(write(SOLVER.format(rate=rate), "solver.prototxt"))
                 if f.rule == "lr-normalization"]
        assert len(found) == (rate == wrong)
    way = "high" if mode in ("NONE", "BATCH_SIZE") else "low"
    assert f"is too {way} by orders of magnitude" in found[0]
