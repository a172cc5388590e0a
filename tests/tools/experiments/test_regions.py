"""Experiments of chapter 4 on a few drawn discs, with small nets and two iterations: they run, and add up."""

import numpy as np
import pytest

from data import touching
from tools.experiments import region_ablation, regions
from tools.experiments.registry import Context, experiments

pytestmark = [pytest.mark.unit, pytest.mark.slow]


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    root = tmp_path_factory.mktemp("discs")
    folder = touching.write(root / "touching", counts={"train": 2, "val": 2}, size=64)
    return lambda name: Context(root / "out" / f"{name}-small", True, str(folder), iters=2, say=lambda _: None)


@pytest.fixture(autouse=True)
def small_nets(monkeypatch):
    for module in (regions, region_ablation):
        monkeypatch.setattr(module, "net_of", lambda context, kind: f"small-{kind}")


def run(name, context):
    at = context(name)
    at.folder.mkdir(parents=True, exist_ok=True)
    result = experiments()[name].run(at)
    for file, _ in result.pictures:
        assert (at.folder / file).stat().st_size > 5000
    return result


def test_table_4_1_needs_nothing_and_agrees():
    result = experiments()["table4.1"].run(Context(None))
    assert all(thesis == ours for row in result.tables[0].rows.values() for thesis, ours in row)
    assert len(result.tables[0].rows) == 5


def test_proposals_and_what_follows_from_the_same_run(context):
    result = run("table4.3", context)
    recall = result.tables[1].rows
    nets = ["small-regions-scored", "small-regions-convolution-scored"]
    assert set(recall) == {*nets, *(f"{net}, train" for net in nets), "disc"}
    for row in recall.values():
        r50, r70, abo, ar = (ours for _, ours in row)
        assert 0 <= r70 <= r50 <= 100 and 0 <= ar <= r50 and 0 <= abo <= 100
    again = run("table4.3", context)   # from what the first run kept
    assert again.tables[1].rows == recall
    by_density = run("table4.2", context).tables[0].rows
    assert list(by_density) == ["2", "4", "6", "8", "16"]
    dense = [ours for _, ours in by_density["2"]][:4]
    assert dense == pytest.approx([ours for _, ours in recall["small-regions-scored"]])
    for name in ("fig4.3", "fig4.5", "fig4.6", "fig4.7", "fig4.8"):
        run(name, context)


def test_ablation_has_four_nets_for_each_seed(context, monkeypatch):
    monkeypatch.setattr(region_ablation, "SEEDS", (1,))
    result = run("fig4.4", context)
    assert list(result.tables[0].rows) == ["neither", "transpose", "matrix", "both together"]
    assert len(result.weights) == 4 and result.config["seeds"] == [1]


def test_touching_discs_are_one_piece_to_labels_of_pixels(context):
    result = run("touching4.1", context)
    rows = result.tables[0].rows
    assert rows["perfect labels, connected pieces"][0][1] < 60   # R@50


def test_the_image_pyramid_is_cut_to_its_coarsest_pathway(context):
    at = context("timing4.3.4")
    at.folder.mkdir(parents=True, exist_ok=True)
    assert region_ablation._milliseconds(at, "small-regions", (64, 64), True, 1) > 0
    text = (at.folder / "net.prototxt").read_text()
    assert "regions_relu4_2" in text and "regions_relu2_2" not in text


def test_blocks_that_move_with_their_place_correlate_with_it():
    side, kernel = 4, 5
    weights = np.zeros((side * side, 2, kernel, kernel))
    for cell in range(side * side):
        weights[cell, :, cell // side, :] = 1
    assert regions._under(weights, side, False) == pytest.approx(1)
    assert regions._under(np.ones_like(weights), side, False) == 0
