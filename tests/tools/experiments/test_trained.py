"""Experiments that train, with tiny nets and few iterations: that each runs to its end, and its numbers by hand."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from data import DataError, landscapes, shapes, solids
from prototxt import NETS
from tools.errors import RunError
from tools.experiments import coarse, datasets, refinement, skips, voc_server
from tools.experiments.registry import Context, experiments
from tools.experiments.training import score_table, train
from tools.metrics import METRICS, Confusion
from tools.score_files import as_record

pytestmark = pytest.mark.unit

images = hnp.arrays(np.int64, (4, 4), elements=st.sampled_from([0, 1, 2, 3]))


@given(truth=images, prediction=images)
def test_mean_iu_of_present_classes_is_that_of_footnote_10(truth, prediction):
    confusion = Confusion(5)
    confusion.add(truth, prediction)
    record = as_record(confusion.metrics(), "abcde")
    assert datasets.present_mean_iu(record) == pytest.approx(confusion.metrics(present_only=True).mean_iu)
    assert datasets.commonest(record) == pytest.approx(max(np.bincount(truth.ravel())) / truth.size)


@given(label=hnp.arrays(np.uint8, (6, 7), elements=st.sampled_from([0, 1, 255])), reach=st.integers(1, 3))
def test_near_edges_by_brute_force(label, reach):
    found = refinement.near_edges(label, reach)
    for i in range(6):
        for j in range(7):
            around = label[max(0, i - reach) : i + reach + 1, max(0, j - reach) : j + reach + 1]
            assert found[i, j] == (around.min() != around.max())


def test_a_table_leaves_out_what_is_missing():
    table = score_table("", {"a": (1.0, None, 3.0, 4.0), "b": None}, {"b": dict.fromkeys(METRICS, 0.5)})
    assert table.rows == {"a": [(1.0, None), (None, None), (3.0, None), (4.0, None)], "b": [(None, 50.0)] * 4}


def test_every_net_that_an_experiment_names_exists():
    named = [*skips.THESIS, *skips.SMALL, *list(datasets.NYUD)[1:], *datasets.SOLIDS, "siftflow-fcn16s",
             *list(datasets.CONTEXT)[2:], *datasets.SHAPES, *refinement.OTHERS, *coarse.THESIS]
    assert set(named) <= set(NETS)


@pytest.fixture
def tiny_context(tiny_set, tiny_recipe, tmp_path, monkeypatch):
    """Contexts of small variants whose nets are the tiny ones, on the tiny set."""
    nets = {"small-fcn32s": None, "small-fcn16s": None, "small-fcn8s": None}
    monkeypatch.setattr(skips, "SMALL", {"small-fcn32s": None, **nets})
    monkeypatch.setattr(refinement, "SMALL", {"fixed": None, **nets})
    (tmp_path / "shapes").symlink_to(tiny_set)   # --data-dir is used where the folder has the set's name

    def context(name):
        (tmp_path / f"{name}-small").mkdir(exist_ok=True)
        return Context(tmp_path / f"{name}-small", True, str(tmp_path / "shapes"), iters=4)

    return context


@pytest.mark.slow
def test_pictures_and_tables_from_one_run(tiny_context):
    fig = refinement.refinement(tiny_context("fig3.4"))
    near = [cell[1] for row in fig.tables[0].rows.values() for cell in row]
    assert len(near) == 3 and all(0 <= value <= 100 for value in near)
    curve = tiny_context("table3.2").folder / "small-fcn8s" / "curve.csv"
    made = curve.stat().st_mtime_ns
    table = refinement.repeated(tiny_context("table3.3"))
    results = refinement.results(tiny_context("fig3.6"))
    assert curve.stat().st_mtime_ns == made   # not trained again
    assert list(table.tables[0].rows) == ["small-fcn32s", "small-fcn16s", "small-fcn8s"]
    for name, result in (("fig3.4", fig), ("fig3.6", results)):
        assert (tiny_context(name).folder / result.pictures[0][0]).stat().st_size > 1000


def test_a_run_is_used_again_but_not_with_other_settings(tiny_context):
    context = tiny_context("table9.9")
    _, folder, records = train(context, "small-fcn32s")
    made = folder.curve.stat().st_mtime_ns
    assert train(context, "small-fcn32s")[2] == records and folder.curve.stat().st_mtime_ns == made
    with pytest.raises(RunError, match="seed"):
        train(Context(context.folder, True, context.data_dir, seed=2, iters=4), "small-fcn32s")


@pytest.mark.slow
def test_the_archive_for_the_test_server_scores_as_the_net(tmp_path, monkeypatch):
    monkeypatch.setattr(voc_server, "SMALL_SET", {"train": 4, "val": 2, "test": 3})
    monkeypatch.setattr(voc_server, "TRIALS", 1)
    context = Context(tmp_path, True, iters=1)
    result = voc_server.submissions(context)
    (_, no), (_, mean_iu), (_, seconds) = result.tables[0].rows["small-fcn8s"]
    assert no is None and 0 <= mean_iu <= 100 and seconds > 0
    dataset = voc_server.open_dataset(tmp_path / "VOC2012")
    lazy = Confusion(len(shapes.CLASSES))   # after an iteration the net still says background everywhere
    for picture in dataset.ids("test"):
        lazy.add(dataset.label(picture), np.zeros_like(dataset.label(picture)))
    assert mean_iu == pytest.approx(100 * lazy.metrics().mean_iu, abs=5)


def test_without_test_pictures_nothing_is_trained(tiny_set, tmp_path, monkeypatch):
    for year in ("2011", "2012"):
        monkeypatch.setenv(f"CAFFE_LUNGO_VOC{year}", str(tiny_set))
    monkeypatch.setattr(voc_server, "train", pytest.fail)
    with pytest.raises(DataError, match="no split 'test'"):
        voc_server.submissions(Context(tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["table3.5", "table3.6", "table3.7", "skips3.3.2"])
def test_small_variants_on_drawn_sets(name, tmp_path, monkeypatch):
    for module in (solids, landscapes, shapes):
        monkeypatch.setattr(module, "COUNTS", {split: 6 for split in module.COUNTS})
        monkeypatch.delenv(f"CAFFE_LUNGO_{module.__name__.rpartition('.')[2].upper()}", raising=False)
    monkeypatch.setenv("CAFFE_LUNGO_DATA", str(tmp_path))
    folder = tmp_path / "out" / f"{name}-small"
    folder.mkdir(parents=True)
    result = experiments()[name].run(Context(folder, True, iters=1))
    json.dumps(result.record(), allow_nan=False)
    assert result.claims and result.tables[0].rows
