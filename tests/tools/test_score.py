"""score.py: the command on a run folder, on files, with the val net's own data layer; what it writes."""

import csv
import json

import pytest

from tools import score

pytestmark = pytest.mark.unit


def test_a_run_folder_scores_as_the_run_did(whole_run, tmp_path, capsys):
    folder, records = whole_run
    written = ["--json", str(tmp_path / "s.json"), "--csv", str(tmp_path / "s.csv"),
               "--save-predictions", str(tmp_path / "labels")]
    assert score.main(["--run", str(folder.root), "--batch", "1", *written]) == 0
    record = json.loads((tmp_path / "s.json").read_text())["small-fcn8s_iter_4"]
    for name in ("pixel_acc", "mean_acc", "mean_iu", "fw_iu", "pixels", "classes"):
        assert record[name] == records["small-fcn8s"][name]
    with open(tmp_path / "s.csv", newline="") as file:
        assert next(csv.DictReader(file))["class"] == "all"
    assert sorted(p.name for p in (tmp_path / "labels").iterdir()) == ["v0.png", "v1.png", "v2.png"]
    assert "mean IU" in capsys.readouterr().out


def test_deploy_and_val_net_agree(whole_run, tiny_set, capsys):
    """Fed by the tool, or by the net's own data layer, which has a loss besides."""
    folder, records = whole_run
    files = ["--weights", str(folder.root / records["small-fcn16s"]["weights"]), "--data", str(tiny_set)]
    tables = []
    for kind, mean in (("deploy", ["--mean", "127,127,127"]), ("val", [])):
        assert score.main(["--net", str(folder.net("small-fcn16s", kind)), *files, *mean]) == 0
        tables.append(capsys.readouterr().out.splitlines())
    deploy, val = tables
    assert deploy[1:-1] == val[1 : len(deploy) - 1]
    assert val[-1].startswith("loss ") and not deploy[-1].startswith("loss ")


def test_split_and_stage(whole_run, capsys):
    folder, _ = whole_run
    assert score.main(["--run", str(folder.root), "--stage", "32s", "--split", "train"]) == 0
    out = capsys.readouterr().out
    assert "tiny train, 6 images" in out and "small-fcn32s_iter_8" in out


@pytest.mark.parametrize(("more", "words"), [
    (["--split", "test"], "no split 'test'"),
    (["--stage", "4s"], "has not finished a stage '4s'"),
    (["--batch", "0"], "--batch must be at least 1"),
    (["--data", "no-such-set"], "no data set 'no-such-set'"),
])
def test_what_is_wrong_is_said(more, words, whole_run, capsys):
    assert score.main(["--run", str(whole_run[0].root), *more]) == 1
    error = capsys.readouterr().err
    assert words in error and "help: " in error


def test_which_data_set(whole_run, capsys):
    folder, records = whole_run
    files = ["--net", str(folder.net("small-fcn8s", "deploy")),
             "--weights", str(folder.root / records["small-fcn8s"]["weights"])]
    assert score.main(files) == 1
    assert "which data set?" in capsys.readouterr().err
