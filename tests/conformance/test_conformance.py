"""Every case that BVLC Caffe 1.0 recorded, replayed by the runner beside this file; one test per case."""
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
spec = importlib.util.spec_from_file_location("conformance_run", HERE / "run.py")
assert spec is not None and spec.loader is not None
run = importlib.util.module_from_spec(spec)
spec.loader.exec_module(run)

CASES = run.collect(str(HERE), None)


@pytest.fixture(scope="session")
def results(tmp_path_factory):
    """All cases replayed once: name -> result."""
    report = tmp_path_factory.mktemp("conformance") / "report.json"
    root = str(HERE.parent.parent)
    subprocess.run([sys.executable, str(HERE / "run.py"), str(HERE), "--json", str(report)], cwd=root,
                   env={**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"}, capture_output=True, check=False)
    return {result["name"]: result for result in json.loads(report.read_text())}


@pytest.mark.unit
@pytest.mark.parametrize("task", CASES, ids=lambda task: task["name"])
def test_case(task, results):
    result = results[task["name"]]
    assert result["status"] == "pass", result["note"]


def test_all_cases_are_here():
    assert len(CASES) == 463
