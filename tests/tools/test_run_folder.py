"""Beginning and resuming runs, their snapshots, and what is said when the folder is not right."""

import json

import pytest

from tools.errors import RunError
from tools.run_folder import RunFolder, differences, free_folder, sha256

pytestmark = pytest.mark.unit
SETTINGS = {"net": "fcn8s", "iters": [3, 2], "weights": {"sha256": "ab"}}


def test_begin_then_resume(tmp_path):
    folder = RunFolder(tmp_path / "runs" / "a")
    folder.begin(SETTINGS, {"numpy": "1"}, [])
    assert json.loads(folder.config.read_text())["settings"] == SETTINGS
    assert folder.snapshots.is_dir() and folder.pictures.is_dir()
    assert folder.resume(SETTINGS, {"numpy": "1"}) == []
    assert folder.resume(SETTINGS, {"numpy": "2"}) == ['numpy: "1", now "2"']


def test_begin_where_a_run_failed_at_once(tmp_path):
    folder = RunFolder(tmp_path / "a")
    folder.begin(SETTINGS, {}, [])
    folder.log.write_text("old")
    folder.begin({**SETTINGS, "net": "fcn16s"}, {}, [])
    assert folder.read_config()["settings"]["net"] == "fcn16s" and not folder.log.exists()


def test_begin_where_a_run_lies(tmp_path):
    RunFolder(tmp_path / "a").begin(SETTINGS, {}, [])
    (tmp_path / "a" / "snapshots" / "32s_iter_5.caffemodel").write_text("")
    with pytest.raises(RunError, match="(?s)holds a run already.*help: add --resume"):
        RunFolder(tmp_path / "a").begin(SETTINGS, {}, [])


def test_begin_in_a_folder_of_other_things(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(RunError, match="not an empty folder"):
        RunFolder(tmp_path).begin(SETTINGS, {}, [])


def test_begin_below_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot make the folder"):
        RunFolder(tmp_path / "file" / "run").begin(SETTINGS, {}, [])


def test_resume_names_every_difference(tmp_path):
    folder = RunFolder(tmp_path / "a")
    folder.begin(SETTINGS, {}, [])
    with pytest.raises(RunError) as caught:
        folder.resume({**SETTINGS, "iters": [3, 4], "weights": {"sha256": "cd"}}, {})
    assert "iters: [3, 2], now [3, 4]" in str(caught.value)
    assert 'weights.sha256: "ab", now "cd"' in str(caught.value)
    assert "net" not in str(caught.value).split("help:")[0].split("settings:")[1]


def test_resume_nothing(tmp_path):
    with pytest.raises(RunError, match="no run to resume"):
        RunFolder(tmp_path / "none").resume(SETTINGS, {})


def test_resume_damaged(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(RunError, match="config.json: cannot be read"):
        RunFolder(tmp_path).resume(SETTINGS, {})


def test_states_and_prune(tmp_path):
    folder = RunFolder(tmp_path)
    folder.begin(SETTINGS, {}, [])
    for stage, i in (("32s", 5), ("32s", 10), ("32s", 100), ("32s-fixed", 7)):
        for ending in ("caffemodel", "solverstate", "solverstate.more"):
            (folder.snapshots / f"{stage}_iter_{i}.{ending}").write_text("")
    (folder.snapshots / "32s_iter_200.solverstate").write_text("")  # killed before its weights were written
    assert [i for i, _ in folder.states("32s")] == [5, 10, 100]
    folder.prune("32s", keep=2)
    assert [i for i, _ in folder.states("32s")] == [10, 100]
    assert not list(folder.snapshots.glob("32s_iter_5.*"))
    assert [i for i, _ in folder.states("32s-fixed")] == [7]


def test_differences():
    assert differences({"a": {"b": 1}}, {"a": {"b": 1}}) == []
    assert differences({"a": {"b": 1}}, {"a": {"b": 2}, "c": 3}) == ["a.b: 1, now 2", "c: null, now 3"]


def test_free_folder(tmp_path):
    assert free_folder(tmp_path / "x") == tmp_path / "x"
    (tmp_path / "x").mkdir()
    (tmp_path / "x-2").mkdir()
    assert free_folder(tmp_path / "x") == tmp_path / "x-3"


def test_sha256(tmp_path):
    (tmp_path / "f").write_bytes(b"abc")  # FIPS 180-2, appendix B.1
    assert sha256(tmp_path / "f") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
