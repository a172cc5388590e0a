"""Mirror, scale, jitter, crop: image and labels stay together, and what comes from outside counts nowhere."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from layers.augment import VOID, Augmentation, rescale, window

pytestmark = pytest.mark.unit


def numbered(height, width):
    """An image in which no two values are alike and none is 0, and labels tied to channel 0."""
    image = np.arange(1, 1 + 3 * height * width, dtype=np.float32).reshape(3, height, width)
    return image, (image[0].astype(int) % 200).astype(np.uint8)


def assert_together(image, label):
    """Every pixel is either one of the original, label and all channels, or from outside."""
    outside = label == VOID
    assert (image[:, outside] == 0).all()
    np.testing.assert_array_equal(image[0][~outside] % 200, label[~outside])


@pytest.mark.tiny
@given(
    st.integers(1, 6),
    st.integers(1, 6),
    st.integers(-8, 8),
    st.integers(-8, 8),
    st.integers(1, 9),
    st.integers(1, 9),
)
def test_window_is_what_a_pixel_loop_gives(height, width, top, left, h, w):
    image, label = numbered(height, width)
    out_image, out_label = window(image, label, top, left, h, w)
    assert out_image.shape == (3, h, w) and out_label.shape == (h, w)
    for y in range(h):
        for x in range(w):
            inside = 0 <= y + top < height and 0 <= x + left < width
            assert out_label[y, x] == (label[y + top, x + left] if inside else VOID)
            for c in range(3):
                assert out_image[c, y, x] == (image[c, y + top, x + left] if inside else 0)


@given(
    st.integers(0, 10**6),
    st.booleans(),
    st.integers(0, 40),
    st.none() | st.tuples(st.integers(1, 20), st.integers(1, 20)),
)
def test_pairs_stay_together(seed, mirror, jitter, crop):
    image, label = numbered(9, 13)
    augmentation = Augmentation(mirror=mirror, jitter=jitter, crop=crop)
    one = augmentation.apply(image, label, np.random.default_rng(seed))
    two = augmentation.apply(image, label, np.random.default_rng(seed))
    assert_together(*one)
    assert one[1].shape == (crop or (9, 13))
    np.testing.assert_array_equal(one[0], two[0])


def test_mirror_is_one_of_two_and_both_happen():
    image, label = numbered(3, 4)
    seen = set()
    for seed in range(40):
        out, _ = Augmentation(mirror=True).apply(image, label, np.random.default_rng(seed))
        flipped = (out == image[:, :, ::-1]).all()
        assert flipped or (out == image).all()
        seen.add(bool(flipped))
    assert seen == {True, False}


def test_jitter_reaches_its_limit_and_not_further():
    image, label = numbered(50, 50)
    downs = set()
    for seed in range(400):
        out, _ = Augmentation(jitter=3).apply(image, label, np.random.default_rng(seed))
        downs.add(int(out[0, 25, 25] - image[0, 25, 25]))
    assert downs == {50 * down + right for down in range(-3, 4) for right in range(-3, 4)}


def test_shift_is_right_and_down_up_to_its_limit():
    image, label = numbered(50, 50)
    shifts = set()
    for seed in range(400):
        out, marks = Augmentation(shift=3).apply(image, label, np.random.default_rng(seed))
        assert_together(out, marks)
        down, right = divmod(int(image[0, 25, 25] - out[0, 25, 25]), 50)
        np.testing.assert_array_equal(out[:, down:, right:], image[:, : 50 - down, : 50 - right])
        assert (marks[:down] == VOID).all() and (marks[:, :right] == VOID).all()
        shifts.add((down, right))
    assert shifts == {(down, right) for down in range(4) for right in range(4)}


def test_the_augmentation_of_the_thesis():
    """Section 3.3.11: mirrored at random, and translated by up to 32 pixels in each direction."""
    image, label = numbered(80, 90)
    seen = set()
    for seed in range(200):
        out, marks = Augmentation(mirror=True, jitter=32).apply(image, label, np.random.default_rng(seed))
        assert_together(out, marks)
        row, column = np.argwhere(marks != VOID)[0]
        step = out[0, row, column + 1] - out[0, row, column]
        assert abs(step) == 1
        inside = np.count_nonzero(out[0])
        assert inside >= (80 - 32) * (90 - 32)
        seen.add(int(step))
    assert seen == {1, -1}


def test_crop_reaches_every_place():
    image, label = numbered(6, 7)
    corners = set()
    for seed in range(300):
        out, _ = Augmentation(crop=(4, 4)).apply(image, label, np.random.default_rng(seed))
        corners.add(int(out[0, 0, 0]) - 1)
    assert corners == {7 * y + x for y in range(3) for x in range(4)}


def test_a_small_image_lies_whole_in_its_crop():
    image, label = numbered(3, 4)
    for seed in range(30):
        out, marks = Augmentation(crop=(6, 5)).apply(image, label, np.random.default_rng(seed))
        assert np.count_nonzero(out[0]) == 12 and np.count_nonzero(marks == VOID) == 30 - 12


def test_centre_crop_is_in_the_middle():
    image, label = numbered(7, 9)
    out, _ = Augmentation(crop=(3, 3), centre=True).apply(image, label, np.random.default_rng(0))
    np.testing.assert_array_equal(out, image[:, 2:5, 3:6])


@pytest.mark.parametrize("factor", [0.01, 0.5, 1.0, 2.0])
def test_rescale_keeps_a_linear_image_linear_and_labels_pure(factor):
    ramp = np.tile(np.linspace(0, 100, 40, dtype=np.float32), (3, 20, 1))
    label = np.where(np.arange(40) < 20, 3, 255).astype(np.uint8) * np.ones((20, 1), np.uint8)
    image, marks = rescale(ramp, label, factor)
    assert image.shape[1:] == marks.shape == (max(1, round(20 * factor)), max(1, round(40 * factor)))
    assert set(np.unique(marks)) <= {3, 255}
    if factor == 1.0:
        np.testing.assert_array_equal(image, ramp)
    if factor == 2.0:  # away from the border, bilinear interpolation of a ramp is the ramp
        step = np.diff(image[0, 10, 4:-4])
        np.testing.assert_allclose(step, 100 / 39 / 2, rtol=1e-4)
