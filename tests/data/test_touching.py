"""The drawn set of touching discs: the same on every machine, in COCO's layout, and not to be told apart by labels."""

import hashlib

import numpy as np
import pytest
from scipy import ndimage

from data import touching
from data.coco import COCO

pytestmark = pytest.mark.unit


def test_pictures_of_a_seed_never_change():
    image, masks = touching.render(2016, 1)
    assert hashlib.sha256(image.tobytes()).hexdigest()[:16] == "fed4aee59c14e204"
    assert image.shape == (128, 128, 3) and len(masks) >= 2
    assert (image != touching.render(2017, 1)[0]).any()


def test_discs_do_not_overlap_and_each_touches_another():
    for index in range(1, 12):
        _, masks = touching.render(2016, index)
        assert np.sum(masks, 0).max() == 1
        pieces, count = ndimage.label(np.any(masks, 0))
        assert count == 1, "one connected piece: a label for each pixel cannot separate them"
        for mask in masks:
            assert 0.9 * np.pi * 10**2 < mask.sum() < 1.1 * np.pi * 20**2


def test_the_folder_is_read_as_it_was_drawn(tmp_path):
    dataset = COCO(touching.write(tmp_path / "touching", counts={"train": 2, "val": 1}))
    assert (dataset.splits(), dataset.ids("val"), dataset.classes) == (("train", "val"), ["3"], ("disc",))
    image, masks = touching.render(touching.SEED, 3)
    np.testing.assert_array_equal(dataset.image("3"), image)
    found = dataset.instances("3")
    assert len(found) == len(masks)
    for instance, mask in zip(found, masks, strict=True):
        np.testing.assert_array_equal(instance.mask, mask)
        assert instance.area == mask.sum()
