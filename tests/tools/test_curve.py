"""The CSV curve: what is appended is read back, and a resumed run cuts it."""

import pytest

from tools.curve import Curve
from tools.errors import RunError

pytestmark = pytest.mark.unit


@pytest.fixture
def curve(tmp_path):
    made = Curve(tmp_path / "curve.csv")
    for i in (10, 20, 30):
        made.append(stage="32s", iter=i, kind="train", lr=1e-10, loss=2.0 / i, smoothed_loss=1.0, seconds=0.1)
    metrics = dict(pixel_acc=0.9, mean_acc=0.8, mean_iu=0.7, fw_iu=0.6)
    made.append(stage="32s", iter=30, kind="val", loss=0.5, **metrics)
    return made


def test_rows_come_back(curve):
    rows = curve.rows()
    assert [r["iter"] for r in rows] == [10, 20, 30, 30]
    assert [r["kind"] for r in rows] == ["train"] * 3 + ["val"]
    assert rows[0]["lr"] == 1e-10 and rows[0]["loss"] == 0.2 and rows[0]["mean_iu"] is None
    assert rows[3]["mean_iu"] == 0.7 and rows[3]["lr"] is None


def test_keep(curve):
    curve.keep(lambda row: row["iter"] <= 20)
    curve.append(stage="32s", iter=30, kind="train", loss=7.0)
    assert [(r["iter"], r["loss"]) for r in curve.rows()] == [(10, 0.2), (20, 0.1), (30, 7.0)]


def test_a_line_cut_short_is_left_out(curve):
    with open(curve.path, "a") as file:
        file.write("32s,40,tra")
    assert len(curve.rows()) == 4


def test_another_file(tmp_path):
    (tmp_path / "curve.csv").write_text("a,b\n1,2\n")
    with pytest.raises(RunError, match=r"curve\.csv.*found a, b"):
        Curve(tmp_path / "curve.csv").rows()


def test_unknown_column_is_a_mistake_of_the_program(curve):
    with pytest.raises(ValueError, match="accuracy"):
        curve.append(stage="32s", iter=1, accuracy=1.0)
