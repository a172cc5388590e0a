"""Detectors that must find a drawn mark; boxes and points; the prior; PCK by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from correspondence import pck, predict
from correspondence.errors import DataError
from correspondence.grids import FeatureNet, Grid
from correspondence.predict import Candidates
from prototxt import build

pytestmark = pytest.mark.unit
box = st.tuples(st.floats(-9, 40), st.floats(-9, 40), st.floats(50, 90), st.floats(50, 70))


@given(box, st.tuples(st.floats(-50, 200), st.floats(-50, 200)))
def test_points_go_there_and_back(box, point):
    there = predict.into([point], (64, 80), box)
    assert np.allclose(predict.back(there, (64, 80), box), [point], atol=1e-6)


def test_points_stay_on_what_they_mark():
    image = np.zeros((60, 80, 3), np.uint8)
    image[20, 30] = 255
    for box in ((10, 5, 69, 54), (-4, -3, 49, 40), (25, 15, 200, 200)):
        scaled = predict.rescale(image, box, 400).astype(float).sum(axis=2)
        y, x = np.indices(scaled.shape)
        centre = (scaled * x).sum() / scaled.sum(), (scaled * y).sum() / scaled.sum()
        assert np.allclose(predict.into([(30, 20)], image.shape, box, 400), centre, atol=0.6)
    with pytest.raises(DataError, match="nothing of the image"):
        predict.rescale(image, (90, 5, 120, 20))


def test_neighbourhoods_and_their_scores_by_hand():
    cells = np.random.default_rng(0).normal(size=(5, 6, 2)).astype(np.float32)
    made = predict.of_grid(Grid(cells, 10, 8, 21))
    assert len(made.places) == 12 and made.places[0].tolist() == [18, 18] and made.field == 37
    half = cells.astype(np.float16)
    rows = made.features(np.array([0, 11]))
    assert np.array_equal(rows[0], half[:3, :3].ravel()) and np.array_equal(rows[1], half[2:, 3:].ravel())
    weights = np.arange(18, dtype=np.float32)
    assert np.allclose(made.scores(weights), made.features(np.arange(12)) @ weights, rtol=1e-3, atol=1e-2)


def test_examples_of_a_layer_and_of_sift():
    grid = predict.of_grid(Grid(np.zeros((12, 12, 1), np.float32), 0, 10, 15))   # field 35
    yes, no = grid.examples(np.array([52.0, 50.0]))
    assert len(yes) == 10 and np.abs(grid.places[yes] - (52, 50)).max() < 25
    assert (np.abs(grid.places[no] - (52, 50)).max(axis=1) > 17.5).all() and len(no) == 100 - 9
    sift = predict.of_sift(np.zeros((120, 100), np.uint8))
    assert sift.places.min() == 16 and sift.places.max() < 104
    yes, no = sift.examples(np.array([48.0, 48.0]))
    away = np.linalg.norm(sift.places - 48, axis=1)
    assert set(yes) == set(np.flatnonzero(away <= 16)) and set(no) == set(np.flatnonzero(away >= 32))


@pytest.fixture
def marked(noise):
    """marked(seed, sort): Candidates of a noisy picture with a striped mark on it, and where it is."""
    net = FeatureNet(build("squeezenet-fcn16s"), None, ["pool1"])
    for blob in net.net.params["conv1"]:
        blob.data[...] = np.random.default_rng(3).normal(0, 0.2, blob.data.shape)

    def make(seed, sort):
        image = (0.5 * noise(160, 160, seed)).astype(np.uint8)
        x, y = np.random.default_rng(seed).integers(40, 120, 2)
        image[y - 10 : y + 10, x - 10 : x + 10] = np.where(np.arange(20) // 3 % 2, 250, 0)[:, None, None]
        made = predict.of_sift(image) if sort == "sift" else predict.of_grid(net.grids(image)["pool1"])
        return made, np.array([x, y], float)

    return make


@pytest.mark.parametrize("sort", ["sift", "layer"])
def test_a_detector_finds_its_mark_in_other_pictures(marked, sort):
    candidates, points = zip(*[marked(seed, sort) for seed in range(12)], strict=True)
    detector = predict.train_detector(candidates, points, seed=0)
    errors = []
    for seed in range(20, 28):
        made, point = marked(seed, sort)
        errors.append(np.linalg.norm(predict.predict(detector, made) - point))
        both = detector.scores(made), detector.probabilities(made)
        assert (np.argsort(both[0]) == np.argsort(both[1])).all() and 0 <= both[1].min() <= both[1].max() <= 1
    assert np.median(errors) < 12


def test_a_strong_prior_decides_and_a_far_one_does_not_find_other_places(marked):
    candidates, points = zip(*[marked(seed, "sift") for seed in range(6)], strict=True)
    detector = predict.train_detector(candidates, points, seed=0)
    made, point = marked(30, "sift")
    mean = np.array([30.0, 90.0])
    assert np.allclose(predict.predict(detector, made, mean, eta=1), made.places[
        np.linalg.norm(made.places - mean, axis=1).argmin()])
    assert np.array_equal(predict.predict(detector, made, mean, eta=0), predict.predict(detector, made))
    score = np.log(detector.probabilities(made)) * 0.9 - 0.1 * ((made.places - mean) ** 2).sum(axis=1) / (2 * 22**2)
    assert np.array_equal(predict.predict(detector, made, mean), made.places[score.argmax()])


def test_a_detector_without_negatives_is_refused():
    whole = Candidates(np.zeros((4, 2)), np.ones((2, 2, 3), np.float16), 0, 500.0)
    with pytest.raises(DataError, match="positive and negative"):
        predict.train_detector([whole], [np.zeros(2)], seed=0)


def test_prior_means_are_of_the_nearest_object_that_has_the_keypoint():
    train = np.eye(3, dtype=np.float32)
    points = [{"eye": np.array([1.0, 1])}, {"nose": np.array([2.0, 2])}, {"eye": np.array([3.0, 3])}]
    (found,) = predict.prior_means(np.array([[0.5, 0.8, 0.1]], np.float32), train, points, ["eye", "nose", "paw"])
    assert {name: place.tolist() for name, place in found.items()} == {"eye": [1, 1], "nose": [2, 2]}


def test_pck_by_hand():
    truth = np.zeros((4, 2))
    guess = [(10, 0), (0, 10.01), (3, 4), (30, 0)]
    assert pck.pck(guess, truth, 100) == {0.1: 0.5, 0.05: 0.25, 0.025: 0.0}
    assert pck.pck(guess, truth, [100, 101, 50, 300], [0.1])[0.1] == 1.0
    made = pck.score(["eye", "eye", "eye", "nose"], guess, truth, 100, [0.1])
    assert made.kinds == {"eye": {0.1: pytest.approx(2 / 3)}, "nose": {0.1: 0.0}} and made.count == 4
    assert made.mean[0.1] == pytest.approx(1 / 3)   # over kinds, not over keypoints
    other = pck.score(["eye"], [(0, 0)], [(0, 0)], 1, [0.1])
    assert pck.overall({"cat": made, "dog": other})[0.1] == pytest.approx(2 / 3)
    assert np.isnan(pck.pck(np.zeros((0, 2)), np.zeros((0, 2)), 1, [0.1])[0.1])
    with pytest.raises(DataError, match="do not match"):
        pck.pck(truth, truth[:3], 1)
    with pytest.raises(DataError, match="no keypoint"):
        pck.score([], np.zeros((0, 2)), np.zeros((0, 2)), 1)
