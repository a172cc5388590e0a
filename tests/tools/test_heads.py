"""score.py, infer.py and the report of nets with two heads, or with another input than colour."""

import csv

import numpy as np
import pytest
from PIL import Image

from data import landscapes, open_dataset, solids
from data.dataset import read_indices
from tools import infer, predict, score
from tools.plan import make_plan
from tools.run_folder import RunFolder
from tools.session import of_run
from tools.solve import solve

pytestmark = pytest.mark.slow


@pytest.fixture
def run_of(tmp_path, monkeypatch):
    """A function that trains a net for an iteration on a few drawn pictures: (its run folder, its score records)."""
    monkeypatch.setenv("CAFFE_LUNGO_DATA", str(tmp_path))
    for module in (landscapes, solids):
        monkeypatch.delenv(f"CAFFE_LUNGO_{module.__name__[5:].upper()}", raising=False)
        monkeypatch.setattr(module, "COUNTS", {"trainval": 8, "test": 3})

    def run(net):
        folder = RunFolder(tmp_path / "run")
        return folder, solve(make_plan(net, iters="1", val_every=0), folder)

    return run


def test_both_heads_are_shown(run_of, tmp_path, capsys):
    folder, records = run_of("landscapes-fcn8s")
    geo = 100 * records["landscapes-fcn8s"]["heads"]["geo"]["pixel_acc"]
    assert f"landscapes-fcn8s, geo        {geo:.1f}" in capsys.readouterr().out
    assert score.main(["--run", str(folder.root), "--csv", str(tmp_path / "s.csv")]) == 0   # its val is `test`
    said = capsys.readouterr().out
    assert f"_iter_1, geo        {geo:.1f}" in said and "landscapes test, 3 images" in said
    assert "horizontal" in said and "grass" in said
    with open(tmp_path / "s.csv", newline="") as file:
        runs = {row["run"] for row in csv.DictReader(file)}
    assert runs == {"landscapes-fcn8s_iter_1", "landscapes-fcn8s_iter_1, geo"}
    page = folder.report.read_text()
    assert "<td>landscapes-fcn8s, geo</td>" in page and "<td>horizontal</td>" in page


def test_an_image_is_segmented_by_each_head(run_of, tmp_path):
    folder, _ = run_of("landscapes-fcn8s")
    kept = next((folder.predictions / "landscapes-fcn8s").glob("*.png"))
    photo = next((tmp_path / "landscapes" / "Images").rglob(f"{kept.stem}.jpg"))
    out = tmp_path / "out"
    assert infer.main([str(photo), "--run", str(folder.root), "--out", str(out), "--scores"]) == 0
    assert np.array_equal(read_indices(out / kept.name), read_indices(kept))
    for end, classes in (("", 5), ("-geo", 3)):
        scores = np.load(out / f"{kept.stem}{end}-scores.npz")["score"]
        assert len(scores) == classes and np.array_equal(scores.argmax(0), read_indices(out / f"{kept.stem}{end}.png"))
        with Image.open(out / f"{kept.stem}{end}-overlay.png") as image:
            assert image.size == (64, 64)


def test_hha_is_read_as_in_training(run_of, tmp_path):
    folder, _ = run_of("solids-fcn8s-hha")
    dataset, trained = open_dataset("solids"), of_run(folder.root)
    picture = dataset.ids("test")[0]
    values = trained.feeds["data"].blob(dataset.top(picture, "hha"))
    expected = predict.scores_of(trained.load(), [{"data": values}])[0][0]
    assert expected.std() > 0
    path = dataset.path(picture, "hha")
    assert infer.main([str(path), "--run", str(folder.root), "--out", str(tmp_path / "out"), "--scores"]) == 0
    np.testing.assert_allclose(np.load(tmp_path / "out" / f"{path.stem}-scores.npz")["score"], expected, atol=1e-5)
