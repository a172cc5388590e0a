"""A tiny data set, a tiny recipe of the small nets, and one whole run of them, for the tests of the tools."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from data.palette import write_indexed_png
from prototxt import solvers
from tools.plan import make_plan
from tools.run_folder import RunFolder
from tools.solve import solve

STAGES = ("small-fcn32s", "small-fcn16s", "small-fcn8s")
OPTIONS = dict(widths=(4, 4, 8, 8, 8), depths=(1, 1, 1, 1, 1), fc_width=16, pad=1, dropout_ratio=0.5)
COLOURS = np.array([[0, 0, 0], [190, 0, 0], [0, 0, 190]])


@pytest.fixture(scope="package")
def tiny_set(tmp_path_factory):
    """Three classes told by colour, 32 x 32, in VOC layout; one val image is larger."""
    root = tmp_path_factory.mktemp("sets") / "tiny"
    random = np.random.default_rng(0)
    lists = {"train": [f"t{i}" for i in range(6)], "val": ["v0", "v1", "v2"]}
    (root / "JPEGImages").mkdir(parents=True)
    (root / "ImageSets" / "Segmentation").mkdir(parents=True)
    (root / "classes.txt").write_text("ground\nleft\nright\n")
    for split, ids in lists.items():
        (root / "ImageSets" / "Segmentation" / f"{split}.txt").write_text("\n".join(ids))
        for name in ids:
            label = np.zeros((48 if name == "v2" else 32, 32), np.uint8)
            label[4:20, 2:14] = 1
            label[8:28, 18:30] = 2
            image = random.integers(0, 60, (*label.shape, 3)) + COLOURS[label]
            label[0, :5] = 255
            Image.fromarray(image.astype(np.uint8)).save(root / "JPEGImages" / f"{name}.png")
            write_indexed_png(root / "SegmentationClass" / f"{name}.png", label)
    return root


@pytest.fixture(scope="package")
def tiny_recipe():
    """The small nets with few channels; a snapshot every 3 iterations and a line of the curve every 2."""
    usual = solvers.RECIPES
    tuned = {
        name: replace(usual["tuned"][name], options=OPTIONS, snapshot=3, display=2, base_lr=0.01)
        for name in usual["tuned"] if name.startswith("small-")
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(solvers, "RECIPES", {**usual, "tuned": {**usual["tuned"], **tuned}})
        yield


@pytest.fixture(scope="package")
def tiny_plan(tiny_set, tiny_recipe):
    """A function that makes the plan of a run of the tiny nets on the tiny set."""

    def plan(**options):
        return make_plan("small-fcn8s", str(tiny_set), **{"iters": "8,4,4", **options})

    return plan


@pytest.fixture(scope="package")
def whole_run(tiny_plan, tmp_path_factory):
    """An unbroken run: (its folder, its score records)."""
    folder = RunFolder(tmp_path_factory.mktemp("runs") / "whole")
    return folder, solve(tiny_plan(), folder)
