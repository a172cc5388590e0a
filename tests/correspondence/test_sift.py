"""SIFT against OpenCV at the same points and scales, and what a descriptor must not depend on."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from correspondence.errors import DataError
from correspondence.sift import cell_kernels, dense_sift, gray, orientation_maps

pytestmark = pytest.mark.unit
OPENCV_BLUR = 1.6   # what its pyramid's first level is smoothed to
ROUNDED = 0.6   # OpenCV rounds 512 times a value to whole numbers, up to 255


def opencv(image, points, radius, octave=0):
    cv2 = pytest.importorskip("cv2")
    keypoints = [cv2.KeyPoint(float(x), float(y), radius / 3, 0.0, 1.0, octave) for x, y in points]
    kept, found = cv2.SIFT_create().compute(image, keypoints)
    assert len(kept) == len(points)
    return found


@pytest.mark.parametrize("radius", [4, 10, 20, 40, 80, 160])
def test_descriptors_are_opencvs(noise, radius):
    image = noise(120, 150)[:, :, 1]
    points = np.random.default_rng(1).integers(0, (150, 120), (60, 2))
    ours = np.minimum(512 * dense_sift(image, points, radius, smoothing=OPENCV_BLUR), 255)
    assert np.abs(ours - opencv(image, points, radius)).max() < ROUNDED


def test_the_default_smoothing_is_that_of_opencvs_level_for_the_radius(noise):
    """OpenCV's third octave is smoothed to 6.4 = 38.4 / 6 pixels; it is sampled at every fourth pixel, we are not."""
    cv2 = pytest.importorskip("cv2")
    image = cv2.resize(noise(60, 60)[:, :, 1], (240, 240), interpolation=cv2.INTER_CUBIC)
    points = 4 * np.random.default_rng(1).integers(15, 45, (40, 2))
    theirs = opencv(image, points, 38.4, octave=2).astype(np.float64)
    theirs /= np.linalg.norm(theirs, axis=1, keepdims=True)
    agree, unsmoothed = ((dense_sift(image, points, 38.4, smoothing=s) * theirs).sum(axis=1) for s in (None, 0))
    assert agree.min() > 0.99 > unsmoothed.mean()


@given(hnp.arrays(np.uint8, (9, 11)), st.integers(0, 10), st.integers(0, 8), st.floats(1, 12))
def test_sums_by_brute_force(image, x, y, radius):
    maps, kernels = orientation_maps(image, 0), cell_kernels(radius)
    reach = kernels.shape[1] // 2
    raw = np.zeros((4, 4, 8))
    for i in range(max(0, y - reach), min(9, y + reach + 1)):
        for j in range(max(0, x - reach), min(11, x + reach + 1)):
            across = np.outer(kernels[:, i - y + reach], kernels[:, j - x + reach])
            raw += across[:, :, None] * maps[:, i, j]
    found = dense_sift(image, [(x, y)], radius, smoothing=0)[0]
    clipped = np.minimum(raw.ravel(), 0.2 * np.linalg.norm(raw))
    expected = clipped / np.linalg.norm(clipped) if raw.any() else 0
    assert np.allclose(found, expected, atol=1e-5)


@given(st.integers(-400, 500), st.integers(-400, 500), st.floats(0.5, 300))
def test_any_point_has_a_descriptor_of_length_one_or_zero(x, y, radius):
    image = np.add.outer(np.arange(20), np.arange(30) ** 2)
    length = np.linalg.norm(dense_sift(image, [(x, y), (15, 10)], radius), axis=1)
    assert length[1] == pytest.approx(1, abs=1e-5) and (length[0] == 0 or length[0] == pytest.approx(1, abs=1e-5))


def test_contrast_and_brightness_do_not_matter_and_flat_images_give_nothing(noise):
    image, points = noise(60, 60).astype(float), [(20, 30), (41, 7)]
    assert np.allclose(dense_sift(image, points, 10), dense_sift(0.3 * image + 50, points, 10), atol=1e-4)
    assert not dense_sift(np.full((60, 60), 7.0), points, 10).any()


def test_a_shifted_image_has_shifted_descriptors(noise):
    image = noise(90, 90)
    here, there = dense_sift(image, [(45, 40)], 12), dense_sift(image[5:, 9:], [(36, 35)], 12)
    assert np.allclose(here, there, atol=1e-5)


def test_a_turned_image_has_turned_descriptors(noise):
    """A quarter turn moves cells and orientations; nothing else changes."""
    image = noise(61, 61)
    here = dense_sift(image, [(25, 33)], 12).reshape(4, 4, 8)
    turned = dense_sift(np.rot90(image), [(33, 60 - 25)], 12).reshape(4, 4, 8)
    assert np.allclose(turned, np.roll(np.rot90(here), 2, axis=2), atol=1e-4)


def test_gray_is_opencvs(noise):
    cv2 = pytest.importorskip("cv2")
    image = noise(20, 30)
    assert np.abs(gray(image) - cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)).max() <= 0.51


@pytest.mark.parametrize(("image", "points", "radius"), [
    (np.zeros((9, 9, 2)), [(1, 1)], 5), (np.zeros((2, 9)), [(1, 1)], 5), (np.zeros((9, 9)), [1, 1], 5),
    (np.zeros((9, 9)), [(1, 1)], 0),
])
def test_what_cannot_be_described_is_refused(image, points, radius):
    with pytest.raises(DataError):
        dense_sift(image, points, radius)
