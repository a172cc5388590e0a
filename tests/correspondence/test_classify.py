"""Classifiers on features that are known, against scikit-learn's own scores; histograms by hand."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.svm import LinearSVC

from correspondence import classify
from correspondence.classify import Samples
from correspondence.errors import DataError
from correspondence.grids import FeatureNet
from correspondence.sift import dense_sift
from data.keypoints import Instance, Keypoint
from prototxt import build

pytestmark = pytest.mark.unit


@pytest.fixture
def samples():
    draw = np.random.default_rng(0)
    names = np.array(["eye", "nose", "paw"] * 30)
    middle = {"eye": (500, 0), "nose": (0, 500), "paw": (-400, -400)}
    features = np.array([middle[name] for name in names]) + draw.normal(0, 300, (90, 2))
    return Samples({"a": features.astype(np.float32)}, names, np.array([f"p{i // 9}" for i in range(90)]))


def test_keypoints_are_described_where_they_are(noise):
    pictures = {"p": noise(60, 70), "q": noise(60, 70, 1)}
    keypoints = {"eye": Keypoint(20, 30, True), "nose": Keypoint(40.4, 12, True), "paw": Keypoint(9, 9, False),
                 "tail": Keypoint(-5, 9, True)}
    instances = [Instance(p, kind, Path(), (0, 0, 69, 59), keypoints) for p, kind in
                 (("p", "cat"), ("p", "dog"), ("q", "cat"))]
    net = FeatureNet(build("small-fcn32s"), None, ["pool2"])
    found = classify.collect(instances, pictures.__getitem__, net, (5, 10))
    cat = found["cat"]
    assert sorted(found) == ["cat", "dog"] and cat.names.tolist() == ["eye", "nose"] * 2   # neither hidden nor outside
    assert cat.pictures.tolist() == ["p", "p", "q", "q"] and set(cat.features) == {"pool2", "sift 5", "sift 10"}
    assert np.allclose(cat.features["pool2"][3], net.grids(pictures["q"])["pool2"].at([(40.4, 12)])[0])
    assert np.allclose(cat.features["sift 10"][0], 512 * dense_sift(pictures["p"], [(20, 30)], 10)[0])
    with pytest.raises(DataError, match="no keypoint can be seen"):
        classify.collect(instances[:0], pictures.__getitem__, net)


def test_a_sweep_is_scikit_learns_cross_validation(samples):
    for c, ours in classify.sweep(samples, "a", [1e-9, 1e-6, 1e-3]).items():
        machine = LinearSVC(C=c, dual=False)
        theirs = cross_val_score(machine, samples.features["a"], samples.names, cv=GroupKFold(5),
                                 groups=samples.pictures)
        assert ours == pytest.approx(theirs.mean())
    assert classify.sweep(samples, "a", [1e-6])[1e-6] > 0.7
    with pytest.raises(DataError, match="5 folds"):
        classify.sweep(samples.of(np.arange(20)), "a", [1])


def test_features_of_any_size_get_sifts_length(samples):
    small, other = classify.same_length(samples.features["a"] / 7, samples.features["a"])
    assert np.linalg.norm(small, axis=1).mean() == pytest.approx(512, rel=1e-4)
    assert np.allclose(other, 7 * small, rtol=1e-4)
    tiny = Samples({"a": 1e-3 * samples.features["a"]}, samples.names, samples.pictures)
    assert classify.accuracy(tiny, tiny, "a", scaled=True) == classify.accuracy(samples, samples, "a", scaled=True)


def test_what_cannot_be_learned_is_refused(samples, monkeypatch):
    with pytest.raises(DataError, match="two kinds"):
        classify.fit(samples.features["a"][:1], samples.names[:1])
    whole = classify.LinearSVC
    monkeypatch.setattr(classify, "LinearSVC", lambda **options: whole(**{**options, "max_iter": 1}))
    with pytest.raises(DataError, match="did not converge"):
        classify.fit(samples.features["a"], samples.names, 1e3)


@pytest.mark.parametrize("kinds", [2, 3])
def test_responses_are_of_the_keypoints_own_classifier(samples, kinds):
    part = samples.of(np.flatnonzero(samples.names != "paw")) if kinds == 2 else samples
    machine = classify.fit(part.features["a"], part.names)
    for name, place in (("eye", (500.0, 0.0)), ("nose", (0.0, 500.0))):
        maps = np.zeros((3, 3, 2), np.float32)
        maps[1, 2] = place
        assert np.unravel_index(classify.responses(machine, name, maps).argmax(), (3, 3)) == (1, 2)


def test_histogram_by_hand():
    maps = np.zeros((4, 5, 5))
    for i, at in enumerate([(2, 2), (1, 3), (0, 2), (2, 4)]):
        maps[i][at] = 1
    counts, border = classify.histogram(maps)
    assert border == 2 and counts.sum() == 2 and counts[2, 2] == counts[1, 3] == 1
    assert classify.mean_distance(counts) == pytest.approx(np.sqrt(2) / 2)
    with pytest.raises(DataError):
        classify.histogram([])


def test_sift_around_a_point(noise):
    image = noise(50, 50)
    found = classify.around(image, (20.2, 30), 8.0, reach=2)
    assert found.shape == (5, 5, 128)
    assert np.allclose(found[0, 4], 512 * dense_sift(image, [(22, 28)], 8)[0])
