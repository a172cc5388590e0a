"""Upper bounds on mean IU: brute force on small labels, and an independent computation on CamVid."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from data import open_dataset
from tools.bounds import coarsened, upper_bound

sizes = st.tuples(st.integers(1, 9), st.integers(1, 9))
labels = hnp.arrays(np.uint8, sizes, elements=st.sampled_from([0, 1, 2, 255]))


@pytest.mark.unit
@given(label=labels, factor=st.sampled_from([1, 2, 3, 4, 8]))
def test_a_pixel_has_the_value_at_the_centre_of_its_cell(label, factor):
    found = coarsened(label, factor)
    height, width = label.shape
    for i in range(height):
        for j in range(width):
            y = min((i // factor) * factor + factor // 2, height - 1)
            x = min((j // factor) * factor + factor // 2, width - 1)
            assert found[i, j] == label[y, x]


class OneLabel:
    """A data set of one picture."""

    classes, ignore = ("a", "b", "c"), 255

    def __init__(self, label):
        self.picture = label

    def ids(self, split):
        return ["only"]

    def label(self, picture):
        return self.picture

    def label_path(self, picture):
        return Path("only.png")


@pytest.mark.unit
@given(label=labels, factor=st.sampled_from([2, 4]))
def test_mean_iu_is_that_of_counting(label, factor):
    """A void centre predicts nothing, so that its pixels are missed and no class is wrongly hit."""
    said = coarsened(label, factor)
    ius = []
    for k in range(3):
        true, guess = label == k, (said == k) & (label != 255)
        if (true | guess).any():
            ius.append((true & guess).sum() / (true | guess).sum())
    found = upper_bound(OneLabel(label), "val", factor).mean_iu
    assert np.isnan(found) if not ius else found == pytest.approx(np.mean(ius))


@pytest.mark.unit
@given(label=labels)
def test_at_full_resolution_nothing_is_lost(label):
    found = upper_bound(OneLabel(label), "val", 1).mean_iu
    assert found == 1 or (label == 255).all()


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.skipif("CAFFE_LUNGO_CAMVID" not in os.environ, reason="CAFFE_LUNGO_CAMVID does not say where CamVid is")
@pytest.mark.parametrize("factor", [128, 64, 32, 16, 8, 4])
def test_camvid_against_an_independent_computation(factor):
    folder = Path(os.environ["CAFFE_LUNGO_CAMVID"])
    known = json.loads((folder / "upper_bounds.json").read_text(encoding="utf-8"))["factors"][str(factor)]
    found = upper_bound(open_dataset(folder), "val", factor).four()
    for name in found.keys() & known.keys():
        assert found[name] == pytest.approx(known[name], abs=1e-4), name
    assert "mean_iu" in known
