"""The plot of a run: where stages begin, that the PNG is drawn, and what is said without matplotlib."""

import builtins

import pytest
from PIL import Image

from tools.errors import RunError
from tools.plots import plot_run, pyplot, stage_starts

pytestmark = pytest.mark.unit


def train(stage, i, loss):
    return dict(stage=stage, iter=i, kind="train", loss=loss, smoothed_loss=loss, mean_iu=None)


def val(stage, i, mean_iu):
    return dict(stage=stage, iter=i, kind="val", loss=None, smoothed_loss=None, mean_iu=mean_iu)


ROWS = [train("32s", 20, 2.0), train("32s", 40, 1.0), val("32s", 40, 0.4),
        train("16s", 10, 0.9), val("16s", 10, 0.5)]


def test_stages_follow_each_other():
    assert stage_starts(ROWS, ["32s", "16s", "8s"]) == {"32s": 0, "16s": 40}
    assert stage_starts([], ["32s"]) == {}


@pytest.mark.parametrize("rows", [ROWS, ROWS[:1], [], [train("32s", 1, 0.0)], [val("32s", 5, 0.1)]])
def test_any_state_of_a_run_can_be_drawn(rows, tmp_path):
    plot_run(rows, ["32s", "16s", "8s"], tmp_path / "plot.png", "title")
    with Image.open(tmp_path / "plot.png") as image:
        assert image.format == "PNG" and image.size == (990, 660)


def test_without_matplotlib(monkeypatch):
    real = builtins.__import__

    def no_matplotlib(name, *arguments, **more):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *arguments, **more)

    monkeypatch.setattr(builtins, "__import__", no_matplotlib)
    with pytest.raises(RunError, match="(?s)matplotlib.*pip install"):
        pyplot()
