"""The registry of tables and figures: list, run, what is missing, what was done before, and the page."""

import json
import re

import pytest

from tools import reproduce
from tools.errors import RunError
from tools.experiments import page, registry
from tools.experiments.registry import Context, Need, Result, Table, experiment, experiments, find

pytestmark = pytest.mark.unit

FREE = ["fig1.1", "table2.1", "table3.1"]


@pytest.fixture(autouse=True)
def nothing_here(tmp_path, monkeypatch):
    """Neither data sets nor weights."""
    monkeypatch.setenv("CAFFE_LUNGO_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("CAFFE_LUNGO_MODELS", str(tmp_path / "models"))
    for name in ("CAMVID", "SEG11VALID", "VOC2011", "SBD"):
        monkeypatch.delenv(f"CAFFE_LUNGO_{name}", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def counted(monkeypatch):
    """An experiment of the name "table0.1" that counts its runs, and says 3 where the thesis has 2."""
    experiments()
    monkeypatch.setattr(registry, "_registry", dict(registry._registry))
    runs = []

    @experiment("table0.1", "Counting <things>", "0.1")
    def count(context: Context) -> Result:
        runs.append(context)
        return Result([Table("things", ["how many", "how few"], {"here": [(2.0, 3.0), (None, None)]})],
                      claims=[("there are 2", "there are 3", False)], notes=["a & b"])

    return runs


def test_every_table_and_figure_of_chapter_3_is_there():
    expected = {"fig1.1", "table2.1", *(f"table3.{k}" for k in range(1, 8)), "table3.1-training", "fig3.4", "fig3.5",
                "fig3.6", "bounds", "timing3.2.1", "skips3.3.2"}
    assert expected <= set(experiments())
    for entry in experiments().values():
        assert entry.small or not entry.needs   # what needs something has a small variant


def listed(capsys, *more):
    """What `list` says: name -> its lines."""
    assert reproduce.main(["list", *more]) == 0
    blocks = [block.splitlines() for block in re.split(r"\n+(?=\S)", capsys.readouterr().out)]
    return {lines[0].split()[0]: [line.strip() for line in lines] for lines in blocks}


def test_list_says_what_is_missing(capsys):
    blocks = listed(capsys)
    assert {"bounds", "table3.2", "not"} <= set(blocks) and len(blocks) == len(experiments()) + 1
    assert blocks["table3.2"][1].startswith("needs  data seg11valid (missing), weights VGG_ILSVRC_16_layers.caffemodel")
    assert blocks["bounds"][2:4] == ["--small  on CamVid val", "needs  data camvid (missing)"]
    assert blocks["fig1.1"][1] == "needs  nothing"
    assert list(listed(capsys, "fig1.1")) == ["fig1.1", "not"]


def test_list_says_what_is_there(tmp_path, tiny_set, capsys):
    (tmp_path / "camvid").symlink_to(tiny_set)
    block = listed(capsys, "--data-dir", str(tmp_path / "camvid"))["bounds"]
    assert block[1] == "needs  data seg11valid (missing)" and block[3] == "needs  data camvid"


def test_figures_that_are_no_experiment_are_listed_with_the_reason(capsys):
    block = listed(capsys)["not"]
    assert "fig3.1, fig3.2, fig3.3, fig4.1, fig4.2: a drawing" in block
    assert not set(registry.NOT_COMPUTED) & set(experiments())
    with pytest.raises(RunError, match="fig3.7 is not computed: scores that others posted"):
        find(["fig3.7"])


def test_unknown_name(capsys):
    with pytest.raises(RunError, match=r"found table3.9, expected .*table3.2"):
        find(["table3.9"])
    assert reproduce.main(["run", "table3.9"]) == 1
    assert "no such experiment" in capsys.readouterr().err


def test_groups():
    names = [entry.name for entry in find(["chapter3"])]
    assert "fig1.1" not in names and {"table3.1", "fig3.5", "bounds"} <= set(names)
    assert [entry.name for entry in find(["fig1.1", "chapter1", "fig1.1"])] == ["fig1.1"]
    assert len(find(["all"])) == len(experiments())


def test_what_is_missing_is_named_and_the_others_run(capsys):
    assert reproduce.main(["run", "bounds", "table2.1"]) == 1
    said = capsys.readouterr()
    assert "bounds needs what is not here: data seg11valid" in said.err and "with --small: on CamVid" in said.err
    assert "python -m data.prepare voc2011" in said.err
    assert "report:" in said.out
    assert reproduce.main(["run", "bounds", "--small"]) == 1
    assert "data camvid" in capsys.readouterr().err
    assert reproduce.main(["run", "fig3.5", "--small"]) == 1
    assert "tools/download.py squeezenet" in capsys.readouterr().err


@pytest.mark.parametrize("option, path, known", [
    ("--data-dir", "segnet", "camvid or seg11valid"), ("--data-dir", "voc2012", "camvid or seg11valid"),
    ("--weights", "squeezenet.caffemodel", "squeezenet_v1.1.caffemodel")])
def test_a_folder_that_nothing_would_read_is_refused(option, path, known, capsys):
    assert reproduce.main(["run", "fig3.5", "--small", option, path]) == 1
    said = capsys.readouterr().err
    assert option in said and known in said


def test_a_folder_may_have_more_behind_the_name(capsys):
    assert reproduce.main(["list", "fig3.5", "--data-dir", "camvid-tiny"]) == 0
    assert reproduce.main(["list", "fig3.5", "--data-dir", "tiny-camvid"]) == 1


def test_nothing_was_run(capsys):
    assert reproduce.main(["report"]) == 1
    assert "nothing has been run" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        reproduce.main(["report", "fig1.1"])
    assert "report takes no names" in capsys.readouterr().err


@pytest.mark.tiny
def test_what_needs_nothing(tmp_path, capsys):
    assert reproduce.main(["run", *FREE, "--out", str(tmp_path / "out")]) == 0
    for name in FREE:
        record = json.loads((tmp_path / "out" / name / "result.json").read_text())
        assert record["name"] == name and record["variant"] == ""
        assert [claim for claim, _, holds in record["claims"] if not holds] == (
            ["FCN-GoogLeNet sees 907 pixels"] if name == "table3.1" else [])
        assert {"date", "seconds", "machine", "device", "commit", "python", "torch"} <= set(record["made_with"])
    html = (tmp_path / "out" / "report.html").read_text()
    assert "fig1.1/weights.png" in html and (tmp_path / "out" / "fig1.1" / "weights.png").exists()
    assert "<td>715</td><td>-192</td>" in html.replace(' class="number"', "").replace("\n", "")   # 907 in the thesis
    assert "907 / 715 (-192)" in capsys.readouterr().out
    assert html.index("fig1.1 (1.1.2)") < html.index("table2.1 (2)") < html.index("table3.1 (3.3.1)")


def test_thesis_ours_and_difference(counted, tmp_path, capsys):
    assert reproduce.main(["run", "table0.1", "--out", str(tmp_path)]) == 0
    html = (tmp_path / "report.html").read_text()
    for text in ("how many (thesis)", "how many (ours)", "difference", "2.0", "3.0", "+1.0", "does not agree",
                 "0 of 1", "Counting &lt;things&gt;", "a &amp; b"):
        assert text in html, text
    assert "how few" not in html   # a column without a number
    said = capsys.readouterr().out
    assert "2.0 / 3.0 (+1.0)" in said and "does not agree: there are 2\n  here: there are 3\na & b" in said


def test_columns_of_a_terminal():
    pairs = [(1.0, 2.0), (None, 3.0), (4.0, None), (None, None)]
    assert page._column(pairs, 0) == ["1 / 2 (+1)", "- / 3", "4 / -", "- / -"]
    assert page._column([(None, 1000.0), (None, None)], 1) == ["1,000.0", "-"]


def test_done_before(counted, tmp_path, capsys):
    for more, runs in (([], 1), ([], 1), (["--again"], 2), (["--small"], 3)):
        assert reproduce.main(["run", "table0.1", "--out", str(tmp_path), *more]) == 0
        assert len(counted) == runs
    assert "done before" in capsys.readouterr().out
    assert [context.folder.name for context in counted] == ["table0.1", "table0.1", "table0.1-small"]
    for more, words in ((["--iters", "2"], "iters: null, now 2"), (["--seed", "3"], "seed: 1337, now 3")):
        assert reproduce.main(["run", "table0.1", "--out", str(tmp_path), *more]) == 1
        assert words in capsys.readouterr().err and len(counted) == 3


def test_an_experiment_that_fails_leaves_no_result(tmp_path, monkeypatch, capsys):
    experiments()
    monkeypatch.setattr(registry, "_registry", dict(registry._registry))
    attempts = []

    @experiment("table0.2", "", "0.2")
    def fails_once(context: Context) -> Result:
        attempts.append(context.folder)
        if len(attempts) == 1:
            raise RunError("stopped in the middle")
        return Result()

    arguments = ["run", "table0.2", "--out", str(tmp_path)]
    assert reproduce.main(arguments) == 1 and not (tmp_path / "table0.2" / "result.json").exists()
    assert reproduce.main(arguments) == 0 and (tmp_path / "table0.2" / "result.json").exists()
    assert "stopped in the middle" in capsys.readouterr().err


def test_what_needs_a_gpu_gets_one(tmp_path, monkeypatch):
    experiments()
    monkeypatch.setattr(registry, "_registry", dict(registry._registry))
    monkeypatch.setattr(registry, "_find_gpu", lambda number: None)
    chosen = []
    monkeypatch.setattr(reproduce, "choose_device", chosen.append)

    @experiment("table0.3", "", "0.3", [Need("gpu")], "on the CPU")
    def where(context: Context) -> Result:
        return Result(config={"gpu": context.gpu})

    for more in ([], ["--gpu", "3"], ["--small"]):
        reproduce.main(["run", "table0.3", "--again", "--out", str(tmp_path), *more])
    assert chosen == [0, 3, None]


def test_needs(tmp_path, tiny_set):
    (tmp_path / "models").mkdir()
    context = Context(tmp_path)
    need = Need("weights", "net.caffemodel")
    assert "net.caffemodel, which is not here" in need.lacking(context) and str(need) == "weights net.caffemodel"
    (tmp_path / "models" / "net.caffemodel").touch()
    assert need.lacking(context) == ""
    (tmp_path / "camvid").symlink_to(tiny_set)
    for name, found in (("camvid", True), ("voc2011", False)):   # a folder counts for the set that it is named as
        given = Context(tmp_path, data_dir=str(tmp_path / "camvid"))
        assert (Need("data", name).lacking(given) == "") == found
