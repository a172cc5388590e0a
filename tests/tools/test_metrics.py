"""The four metrics against values worked out by hand, and against a slow definition."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from data.errors import DataError
from tools.metrics import Confusion

pytestmark = pytest.mark.unit


def confusion(truth, prediction, classes=3, **options):
    result = Confusion(classes, **options)
    result.add(np.array(truth), np.array(prediction))
    return result


@pytest.mark.tiny
def test_by_hand():
    # class 0: 4 pixels, 3 found; class 1: 3 pixels, 2 found; class 2: 1 pixel, found; one void
    truth = [[0, 0, 0, 0], [1, 1, 1, 2], [255, 255, 255, 255]]
    prediction = [[0, 0, 0, 1], [1, 1, 2, 2], [0, 1, 2, 0]]
    c = confusion(truth, prediction)
    assert c.counts.tolist() == [[3, 1, 0, 0], [0, 2, 1, 0], [0, 0, 1, 0]]
    m = c.metrics()
    iu = [3 / 4, 2 / 4, 1 / 2]
    assert m.class_iu == pytest.approx(iu)
    assert m.class_acc == pytest.approx([3 / 4, 2 / 3, 1])
    assert m.pixel_acc == pytest.approx(6 / 8)
    assert m.mean_acc == pytest.approx((3 / 4 + 2 / 3 + 1) / 3)
    assert m.mean_iu == pytest.approx(sum(iu) / 3)
    assert m.fw_iu == pytest.approx((4 * iu[0] + 3 * iu[1] + 1 * iu[2]) / 8)
    assert m.class_pixels.tolist() == [4, 3, 1]
    assert m.pixels == 8


def test_absent_class_is_left_out():
    m = confusion([0, 0, 1], [0, 1, 1]).metrics()
    assert math.isnan(m.class_iu[2]) and math.isnan(m.class_acc[2])
    assert m.mean_iu == pytest.approx((1 / 2 + 1 / 2) / 2)
    assert m.mean_acc == pytest.approx((1 / 2 + 1) / 2)


def test_class_only_predicted_counts_as_zero_unless_present_only():
    c = confusion([0, 0, 1], [0, 2, 1])
    assert c.metrics().class_iu.tolist() == [0.5, 1, 0]
    assert c.metrics().mean_iu == pytest.approx(1.5 / 3)
    assert c.metrics().mean_acc == pytest.approx(0.75)  # no pixel of class 2: no accuracy of it
    assert c.metrics(present_only=True).mean_iu == pytest.approx(1.5 / 2)


def test_void_prediction_is_a_miss_and_no_class():
    c = confusion([0, 0, 1, 1], [0, 255, 1, 3])
    assert c.counts[:, 3].tolist() == [1, 1, 0]
    m = c.metrics()
    assert m.pixel_acc == 0.5
    assert m.class_iu[:2].tolist() == [0.5, 0.5]


def test_nothing_labelled():
    m = confusion([255, 255], [0, 1]).metrics()
    assert all(math.isnan(v) for v in m.four().values())


def test_label_that_is_no_class_names_file_and_value():
    with pytest.raises(DataError, match=r"a\.png.*found 7 at 2 pixel"):
        Confusion(3).add(np.array([7, 7, 0]), np.array([0, 0, 0]), name="a.png")


def test_sizes_differ():
    with pytest.raises(DataError, match="as many pixels"):
        Confusion(3).add(np.zeros((2, 2)), np.zeros((2, 3)))


images = hnp.arrays(np.int64, (2, 6), elements=st.sampled_from([0, 1, 2, 3, 255]))


@given(truth=images, prediction=images, present_only=st.booleans())
def test_equals_the_definition(truth, prediction, present_only):
    """Set arithmetic over pixels, one class at a time."""
    m = confusion(truth, prediction, classes=4).metrics(present_only)
    labelled = [(t, p) for t, p in zip(truth.ravel(), prediction.ravel(), strict=True) if t != 255]
    ius, accs = [], []
    weighted = 0.0
    for k in range(4):
        is_class = {i for i, (t, _) in enumerate(labelled) if t == k}
        said = {i for i, (_, p) in enumerate(labelled) if p == k}
        if is_class:
            accs.append(len(is_class & said) / len(is_class))
            weighted += len(is_class) * len(is_class & said) / len(is_class | said)
        if is_class or (said and not present_only):
            ius.append(len(is_class & said) / len(is_class | said))
    if labelled:
        assert m.pixel_acc == pytest.approx(sum(t == p for t, p in labelled) / len(labelled))
        assert m.mean_iu == pytest.approx(np.mean(ius))
        assert m.mean_acc == pytest.approx(np.mean(accs))
        assert m.fw_iu == pytest.approx(weighted / len(labelled))
    else:
        assert math.isnan(m.pixel_acc)


@given(truth=images, prediction=images)
def test_adding_halves_equals_adding_all(truth, prediction):
    halves = Confusion(4)
    halves.add(truth[0], prediction[0])
    halves.add(truth[1], prediction[1])
    assert np.array_equal(halves.counts, confusion(truth, prediction, classes=4).counts)
