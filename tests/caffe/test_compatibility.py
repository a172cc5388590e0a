"""docs/compatibility.md: its tables name every layer and command, and files and tests that are there."""

import inspect
import re
from collections import Counter
from pathlib import Path

import pytest

import caffe
from caffe.commands import COMMANDS
from caffe.flags import ACTIONS
from caffe.layer import layer_class

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/compatibility.md").read_text(encoding="utf-8")
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("| ")]
LAYERS = {row[0].strip("`"): row[1:] for row in ROWS if len(row) == 4 and row[0].startswith("`")}


def test_all_61_layers_are_listed_where_they_are():
    assert len(LAYERS) == 61 and set(LAYERS) <= set(caffe.layer_type_list())
    cases = Counter(path.name.split("_")[0] for path in (ROOT / "tests/conformance/layers").glob("*.npz"))
    for name, (file, count, tests) in LAYERS.items():
        assert Path(inspect.getsourcefile(layer_class(name))) == ROOT / file.strip("`"), name
        assert str(cases[name] or count) == count, name
        for test in re.findall(r"`(\w+)`", tests):
            assert f'"{name}"' in (ROOT / f"tests/caffe/layers/{test}.py").read_text().replace("\\", ""), (name, test)
        assert cases[name] or "case" in count or tests != "-", f"nothing holds {name} to Caffe"


def test_forks_page_lists_every_other_layer():
    forks = (ROOT / "docs/forks.md").read_text(encoding="utf-8")
    missing = [name for name in caffe.layer_type_list() if name not in LAYERS and f"`{name}`" not in forks]
    mine = [name for name in missing if layer_class(name).__module__.startswith("caffe.")]
    assert not mine


def test_all_commands_are_listed_with_tests():
    listed = {name for row in ROWS if len(row) == 3 for name in re.findall(r"`([\w-]+)`", row[0])}
    assert {*ACTIONS, *COMMANDS} <= listed


def test_the_files_that_are_named_exist():
    for name in set(re.findall(r"`((?:\w+/)*\w+\.(?:py|json))`", PAGE)):
        places = [ROOT, ROOT / "tests/caffe", ROOT / "tests/caffe/solvers"]
        assert name in NOT_OURS or any((place / name).exists() for place in places), name


NOT_OURS = {"classify.py", "detect.py", "draw_net.py", "parse_log.py", "plot_training_log.py", "summarize.py",
            "extract_seconds.py"}
