"""PCK: the traps that have moved published numbers, and every choice printed."""

import numpy as np
import pytest

from correspondence.errors import DataError
from correspondence.pck import AVERAGES, BASES, COUNTED, Case, Choices, by_method, evaluate, score

pytestmark = pytest.mark.unit
NAN = [np.nan, np.nan]


def case(apart, visible=None, category="cat", box=(0, 0, 100, 50), image=(400, 200)):
    """Keypoints at (0, 0), (40, 0), (80, 0), ... and predictions so far below them."""
    truth = np.array([[40.0 * k, 0] for k in range(len(apart))])
    return Case(category, truth + np.array([[0, d] for d in apart]), truth, visible, box, image)


def test_the_basis_decides():
    """8 pixels: within 0.1 of the box's 100 and the image's 400, not of the keypoints' 40."""
    found = {basis: evaluate([case([8, 8])], Choices(basis)).categories["cat"][0] for basis in BASES}
    assert found == {"box": 100, "image": 100, "keypoints": 0}
    assert evaluate([case([10, 10.001])]).categories["cat"][0] == 50   # the limit included


def test_the_average_decides():
    """Three objects of two kinds: one right of one, none of two, two of two."""
    cases = [case([0, 99], [True, False]), case([99, 99]), case([0, 0])]
    found = {average: evaluate(cases, Choices(average=average)).categories["cat"][0] for average in AVERAGES}
    assert found["point"] == pytest.approx(100 * 3 / 5)
    assert found["image"] == pytest.approx(100 * (1 + 0 + 1) / 3)
    assert found["kind"] == pytest.approx(100 * (2 / 3 + 1 / 2) / 2)


def test_hidden_and_absent_keypoints_are_not_counted_as_right():
    """Padding must not inflate the number: NaN in truth never counts, hidden ones only if asked for."""
    padded = Case("cat", [[0, 0], [5, 5]], [[0, 0], NAN], [True, True], (0, 0, 9, 9))
    assert evaluate([padded]).keypoints["cat"] == 1
    hidden = case([0, 99], [True, False])
    assert evaluate([hidden]).categories["cat"][0] == 100
    assert evaluate([hidden], Choices(counted="all")).categories["cat"][0] == 50
    missing = Case("cat", [[0, 0], NAN], [[0, 0], [9, 9]], None, (0, 0, 9, 9))
    assert evaluate([missing]).categories["cat"][0] == 50   # no prediction is a wrong one


def test_alphas_categories_and_the_mean_over_categories():
    report = evaluate([case([4, 4]), case([8, 8], category="dog"), case([1, 1], category="dog"),
                       case([0], [False], category="eel")])
    np.testing.assert_array_equal(report.categories["cat"], [100, 100, 0])
    np.testing.assert_array_equal(report.categories["dog"], [100, 50, 50])
    np.testing.assert_array_equal(report.mean, [100, 75, 25])   # eel has no keypoint that counts
    assert report.keypoints == {"cat": 2, "dog": 4, "eel": 0} and report.objects == {"cat": 1, "dog": 2, "eel": 0}


def test_agrees_with_the_score_of_flat_lists():
    draw = np.random.default_rng(0)
    cases = [Case("cat", truth + draw.normal(0, 6, (4, 2)), truth, draw.random(4) < 0.8, (0, 0, 60, 90))
             for truth in draw.random((7, 4, 2)) * 80]
    seen = [(f"{k}", c.predicted[k], c.truth[k], 90) for c in cases for k in range(4) if c.visible[k]]
    flat = score(*(np.array(column) for column in zip(*seen, strict=True)))
    report = evaluate(cases)
    np.testing.assert_allclose(report.categories["cat"], [100 * flat.mean[alpha] for alpha in (0.1, 0.05, 0.025)])
    assert report.keypoints["cat"] == flat.count


def test_every_choice_is_printed():
    for basis, average, counted in zip(BASES, AVERAGES, ("visible", "all", "visible"), strict=True):
        text = evaluate([case([4, 4])], Choices(basis, average, counted, (0.2,), "squares of 227")).table()
        for part in (BASES[basis], AVERAGES[average], COUNTED[counted], "0.2", "squares of 227"):
            assert part in text
        assert text.splitlines()[-1].split() == ["mean", "100.0", "2", "1"]


def test_methods_compare_only_under_one_choice():
    one, other = evaluate([case([4])]), evaluate([case([8])])
    lines = [line.split() for line in by_method({"flow": one, "copy": other}).splitlines()[2:]]
    assert lines == [["flow", "100.0", "100.0", "0.0", "1"], ["copy", "100.0", "0.0", "0.0", "1"]]
    with pytest.raises(DataError, match="cannot be compared"):
        by_method({"flow": one, "copy": evaluate([case([8])], Choices("image"))})


def test_mistakes_are_named():
    with pytest.raises(DataError, match="no such choice"):
        Choices("bbox")
    with pytest.raises(DataError, match="not given"):
        evaluate([Case("cat", [[0, 0]], [[0, 0]])])
    with pytest.raises(DataError, match="do not match"):
        evaluate([Case("cat", [[0, 0]], [[0, 0], [1, 1]], box=(0, 0, 9, 9))])
