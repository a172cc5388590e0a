"""Figure 3.5: its numbers from curves worked out by hand, and the whole of it with tiny nets."""

import ast

import numpy as np
import pytest
from google.protobuf import text_format

from caffe.proto import caffe_pb2
from tools.experiments import sampling
from tools.experiments.registry import Context
from tools.run_folder import RunFolder
from tools.stages import write_nets

pytestmark = pytest.mark.unit


def curve(losses, seconds):
    return {"iter": np.arange(1.0, 5), "loss": np.array(losses), "seconds": np.array(seconds)}


WHOLE, HALF = curve([4, 2, 1, 0.8], [1, 2, 3, 4]), curve([4, 2, 1.1, 0.7], [2, 4, 6, 8])


def test_numbers_by_hand():
    level, reached = sampling.times_to_level({1.0: WHOLE, 0.5: HALF})
    assert (level, reached) == (0.8, {1.0: 4, 0.5: 8})
    assert sampling.difference(WHOLE, HALF) == pytest.approx((1.1 / 1 - 1 + 0.7 / 0.8 - 1) / 2)


def test_only_training_rows_count():
    rows = [{"kind": "val", "iter": 2, "smoothed_loss": None, "seconds": None},
            {"kind": "train", "iter": 2, "smoothed_loss": 0.5, "seconds": 3.0}]
    assert {k: v.tolist() for k, v in sampling.curve_of(rows).items()} == {"iter": [2], "loss": [0.5]}


@pytest.mark.parametrize(("p", "images"), [(1.0, 1), (0.5, 2), (0.25, 4)])
def test_nets_of_a_run(tiny_plan, tmp_path, p, images):
    """The training net counts cells of its coarsest stride, a step has 1/p as many passes, val and deploy stay."""
    folder = RunFolder(tmp_path)
    folder._make()
    write_nets(tiny_plan(sampling=p), 0, folder)
    solver = text_format.Parse(folder.net("small-fcn32s", "solver").read_text(), caffe_pb2.SolverParameter())
    assert solver.iter_size == images
    for kind in ("train", "val", "deploy"):
        net = text_format.Parse(folder.net("small-fcn32s", kind).read_text(), caffe_pb2.NetParameter())
        layers = [layer for layer in net.layer if layer.python_param.layer == "LossSampling"]
        assert len(layers) == (kind == "train" and p < 1)
        for layer in layers:
            found = ast.literal_eval(layer.python_param.param_str)
            assert (found["p"], found["cell"]) == (p, 32)


def test_sampling_is_a_setting_of_the_run(tiny_plan):
    assert "sampling" not in tiny_plan().settings()   # runs from before it can still be resumed
    assert tiny_plan(sampling=0.5).settings()["sampling"] == 0.5


@pytest.mark.slow
def test_the_whole_with_tiny_nets(tiny_plan, tiny_set, tmp_path, monkeypatch):
    monkeypatch.setattr(sampling, "train", trained_tiny(tiny_set))
    timed = {1.0: 2.0, 0.5: 3.0, 0.25: 8.0}
    measure = sampling.step_seconds

    def seconds(folders, net):
        assert all(value > 0 for value in measure(folders, "small-fcn32s", rounds=1).values())
        return timed

    monkeypatch.setattr(sampling, "step_seconds", seconds)
    result = sampling.sampling(Context(tmp_path, small=True, iters=8))
    rows = result.tables[0].rows
    assert list(rows) == ["1", "0.5", "0.25"]
    assert [rows[p][3][1] for p in rows] == [1, 2, 4]   # images per step
    assert rows["1"][1][1] == 0 and [rows[p][4][1] for p in rows] == [1, 1.5, 4]   # time per step
    assert (tmp_path / "sampling.png").stat().st_size > 5000 and len(result.claims) == 2


def trained_tiny(tiny_set):
    from tools.experiments.training import train

    def tiny(context, net, folder_name, **options):
        plan, folder, records = train(context, "small-fcn32s", folder_name, data=str(tiny_set), **options)
        return plan, folder, {net: records["small-fcn32s"]}

    return tiny
