"""tools/regions.py on a few drawn discs: trained, resumed, proposed, scored and shown; and what it refuses."""

import json

import numpy as np
import pytest
from PIL import Image

from data import touching
from data.coco import COCO
from proposals.propose import read_results
from tools import regions
from tools.errors import Stopped
from tools.region_eval import evaluate, load, save
from tools.region_run import of_region_run, opened

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return touching.write(tmp_path_factory.mktemp("discs") / "touching", counts={"train": 3, "val": 2}, size=64)


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    arguments = ["train", "small-regions-scored", "--data", str(folder), "--iters", "3", "--out", str(out)]
    assert regions.main(arguments) == 0
    return out


def test_a_run_folder_says_what_it_is(run, folder):
    settings = json.loads((run / "config.json").read_text())["settings"]
    assert (settings["kind"], settings["net"], settings["iters"]) == ("regions", "small-regions-scored", 3)
    assert settings["splits"] == {"train": "train", "val": "val"}
    record = json.loads((run / "scores.json").read_text())
    assert (run / record["weights"]).is_file() and record["loss"] > 0
    assert "InstanceDataLayer" in (run / "nets/small-regions-scored-train.prototxt").read_text()


def test_the_same_command_again_and_resumed(run, folder, tmp_path, capsys):
    arguments = ["train", "small-regions-scored", "--data", str(folder), "--iters", "3", "--out", str(run)]
    assert regions.main(arguments) == 1
    assert "holds a run already" in capsys.readouterr().err
    assert regions.main([*arguments, "--resume"]) == 0   # nothing is left to do
    again = tmp_path / "again"
    assert regions.main([*arguments[:-1], str(again)]) == 0
    weights = "snapshots/small-regions-scored_iter_3.caffemodel"
    assert (again / weights).read_bytes() == (run / weights).read_bytes()


def test_a_stopped_training_says_how_to_go_on(folder, tmp_path, capsys, monkeypatch):
    def stop(*arguments):
        raise Stopped("stopped at iteration 5", 130)

    monkeypatch.setattr(regions, "train_regions", stop)
    monkeypatch.chdir(tmp_path)
    assert regions.main(["train", "small-regions", "--data", str(folder)]) == 130
    said = capsys.readouterr().err
    assert "iteration 5\nto go on: python" in said and "--resume --out runs/small-regions" in said


def test_eval_prints_and_writes_what_it_found(run, tmp_path, capsys):
    assert regions.main(["eval", "--run", str(run), "--json", str(tmp_path / "found.json"),
                         "--out", str(tmp_path / "recall")]) == 0
    assert {path.name for path in (tmp_path / "recall").iterdir()} == {"sizes.png", "density.png"}
    text = capsys.readouterr().out
    assert "lowest stride" in text and "AR@1000" in text
    record = json.loads((tmp_path / "found.json").read_text())
    assert record["pictures"] == 2 and set(record["by_stride"]) == {"2", "4", "6", "8", "16"}
    assert 0 <= record["R@70"] <= record["R@50"] <= 1
    assert set(record["average_recall"]["all"]) == {"10", "100", "1000"}


def test_a_net_of_lower_density_takes_the_same_weights(run, capsys):
    assert regions.main(["eval", "--run", str(run), "--net", "small-regions-stride4", "--pictures", "1"]) == 0
    assert "\n4 " in capsys.readouterr().out   # the lowest stride


def test_an_evaluation_is_kept_whole(run, tmp_path):
    predictor, settings = of_region_run(run)
    dataset, ids = opened(settings, None, None, None)
    found = evaluate(predictor, dataset, ids)
    save(tmp_path / "kept.npz", found)
    kept = load(tmp_path / "kept.npz")
    assert kept.record() == found.record() and kept.names == found.names
    np.testing.assert_array_equal(kept.objects[2].overlap, found.objects[2].overlap)


def test_geometry_is_that_of_the_planes(run, folder):
    predictor, _ = of_region_run(run)
    image = COCO(folder).image("4")
    for plane, empty in zip(predictor(image), predictor.geometry(*image.shape[:2]), strict=True):
        assert (plane.name, plane.place, plane.grid) == (empty.name, empty.place, empty.grid)


def test_propose_writes_results_and_pictures(run, folder, tmp_path):
    out = tmp_path / "proposals"
    assert regions.main(["propose", "--run", str(run), str(folder / "val"), "--out", str(out), "--most", "7"]) == 0
    found = read_results(out / "results.json")
    assert 0 < len(found) <= 14 and {one["image_id"] for one in found} <= {4, 5}
    assert all(one["segmentation"]["size"] == [64, 64] for one in found)
    for name in ("000000000004.png", "000000000004-planes.png", "000000000005.png"):
        with Image.open(out / name) as picture:
            assert picture.size[0] > 300


def test_show_draws_matches_planes_sizes_and_weights(run, tmp_path):
    assert regions.main(["show", "--run", str(run), "--pictures", "1", "--out", str(tmp_path / "shown")]) == 0
    assert {path.name for path in (tmp_path / "shown").iterdir()} == {
        "matches.png", "planes.png", "sizes.png", "weights-relu2_2.png", "weights-relu3_2.png", "weights-relu4_2.png"}


@pytest.mark.parametrize("arguments, words", [
    (["train", "small-region"], "no region net is called 'small-region'"),
    (["train", "small-regions", "--data", "shapes"], "region nets learn from object instances"),
    (["train", "small-regions", "--iters", "0"], "--iters must be at least 1"),
    (["train", "small-regions", "--resume"], "which run?"),
    (["train", "vgg16-regions", "--data", "{folder}"], "VGG_ILSVRC_16_layers.caffemodel, which is not here"),
    (["eval", "--run", "{folder}"], "there is no run in this folder"),
    (["eval", "--run", "{run}", "--net", "small-pathway-plain"], "these are not the weights of this net"),
    (["eval", "--run", "{run}", "--split", "test"], "no split 'test'"),
    (["propose", "--run", "{run}", "{folder}/annotations"], "no image here"),
])
def test_refusals(run, folder, capsys, arguments, words):
    assert regions.main([argument.format(run=run, folder=folder) for argument in arguments]) == 1
    assert words in capsys.readouterr().err
