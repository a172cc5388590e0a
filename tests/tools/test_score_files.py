"""Scores as JSON, CSV and text."""

import csv
import io
import json

import numpy as np
import pytest

from tools.metrics import Confusion
from tools.score_files import (
    as_record,
    class_table,
    comparison_table,
    full_text,
    layout,
    percent,
    to_csv,
    to_json,
)

pytestmark = pytest.mark.unit
NAMES = ("ground", "disk", "ring")


@pytest.fixture
def records():
    found = {}
    for name, prediction in (("32s", [0, 0, 1, 0]), ("16s", [0, 0, 1, 1])):
        c = Confusion(3)
        c.add(np.array([0, 0, 1, 1]), np.array(prediction))
        found[name] = as_record(c.metrics(), NAMES, images=1, loss=np.float32(0.5))
    return found


def test_json_is_strict_and_complete(records):
    read = json.loads(to_json(records), parse_constant=pytest.fail)  # NaN would be a constant
    assert read["32s"]["pixel_acc"] == 0.75
    assert read["32s"]["loss"] == 0.5
    assert read["32s"]["classes"][1] == {"class": 1, "name": "disk", "pixels": 2, "acc": 0.5, "iu": 0.5}
    assert read["32s"]["classes"][2]["iu"] is None


def test_csv(records):
    rows = list(csv.DictReader(io.StringIO(to_csv(records))))
    assert [r["run"] for r in rows] == ["32s"] * 4 + ["16s"] * 4
    assert float(rows[0]["pixel_acc"]) == 0.75 and rows[0]["class"] == "all"
    assert (rows[2]["name"], float(rows[2]["iu"])) == ("disk", 0.5)
    assert rows[3]["iu"] == ""


def test_tables(records):
    assert comparison_table(records).splitlines() == [
        "     pixel acc.  mean acc.  mean IU  f.w. IU",
        "--------------------------------------------",
        "32s        75.0       75.0     58.3     58.3",
        "16s       100.0      100.0    100.0    100.0",
    ]
    assert class_table(records).splitlines()[4].split() == ["ring", "0.0", "-", "-"]
    assert "left out of the means (ring)" in full_text(records, "title")


def test_percent():
    assert [percent(v) for v in (0.62736, 1.0, None, float("nan"))] == ["62.7", "100.0", "-", "-"]


def test_layout_aligns():
    assert layout(["a", "bb"], [["long", "1"]]) == "a     bb\n--------\nlong   1"
