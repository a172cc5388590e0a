"""Two heads, and late fusion of colour and HHA, learned by small nets on the drawn sets (thesis, section 3.4.2)."""

import numpy as np
import pytest

from data import landscapes, open_dataset, solids
from tools.metrics import Confusion
from tools.plan import make_plan
from tools.run_folder import RunFolder
from tools.solve import solve

pytestmark = pytest.mark.slow


COUNTS = {"trainval": 160, "test": 30}


@pytest.fixture(autouse=True)
def data_here(tmp_path, monkeypatch):
    for name in ("SOLIDS", "LANDSCAPES"):
        monkeypatch.delenv(f"CAFFE_LUNGO_{name}", raising=False)
    monkeypatch.setenv("CAFFE_LUNGO_DATA", str(tmp_path))


def trained(net, iters, tmp_path):
    """The score records of the stages of a net."""
    return solve(make_plan(net, iters=iters, val_every=0, pictures=False), RunFolder(tmp_path / "run"))


def commonest(dataset, label):
    """Mean IU of always saying the most frequent class."""
    classes = len(dataset.classes_of(label))
    truths = [dataset.top(picture, label) for picture in dataset.ids("test")]
    counts = sum(np.bincount(truth.ravel(), minlength=256)[:classes] for truth in truths)
    confusion = Confusion(classes)
    for truth in truths:
        confusion.add(truth, np.full_like(truth, counts.argmax()))
    return confusion.metrics().mean_iu


def test_both_heads_are_learned(tmp_path):
    landscapes.write(tmp_path / "landscapes", counts=COUNTS)
    record = trained("landscapes-fcn8s", "100", tmp_path)["landscapes-fcn8s"]
    dataset = open_dataset("landscapes")
    blind = {label: commonest(dataset, label) for label in ("sem", "geo")}
    assert blind["sem"] < 0.1 and blind["geo"] < 0.2
    assert record["mean_iu"] > 0.6
    assert record["heads"]["geo"]["mean_iu"] > 0.7


def test_late_fusion_beats_its_halves_where_only_depth_tells_two_classes_apart(tmp_path):
    solids.write(tmp_path / "solids", counts=COUNTS)
    records = trained("solids-fcn8s-color-hha", "100,120,50", tmp_path)
    color, hha, fused = (records[f"solids-fcn8s-{inputs}"] for inputs in ("color", "hha", "color-hha"))
    assert fused["mean_iu"] > color["mean_iu"] + 0.15 and fused["mean_iu"] > hha["mean_iu"] + 0.15
    assert fused["mean_iu"] > 0.8
    iu = {name: {each["name"]: each["iu"] for each in record["classes"]}
          for name, record in (("color", color), ("hha", hha), ("fused", fused))}
    # colour knows the mats and cannot tell boxes from pits; of what HHA knows it is the other way round
    assert iu["color"]["mat"] > 0.7 and iu["color"]["box"] + iu["color"]["pit"] < 0.8
    assert iu["hha"]["box"] + iu["hha"]["pit"] > 1.2 and iu["hha"]["mat"] < 0.2
    assert min(iu["fused"].values()) > 0.65
