"""COCO's layout: instance maps by brute force, a folder as published, and broken files named."""

import json

import numpy as np
import pytest
from PIL import Image

from data import DataError, open_dataset
from data.coco import COCO, Instance, instance_map

pytestmark = pytest.mark.unit
SQUARE, CROWD = [[2, 1, 6, 1, 6, 5, 2, 5]], {"size": [8, 10], "counts": [16, 64]}   # a polygon, and columns 2 to 9


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "annotations").mkdir()
    for split, number in (("train2014", 7), ("val2014", 9)):
        (tmp_path / split).mkdir()
        Image.fromarray(np.full((8, 10, 3), number, np.uint8)).save(tmp_path / split / f"{number}.png")
        annotations = [
            {"id": 1, "image_id": number, "category_id": 18, "iscrowd": 1, "area": 64, "segmentation": CROWD},
            {"id": 2, "image_id": number, "category_id": 18, "iscrowd": 0, "area": 16, "segmentation": SQUARE},
            {"id": 3, "image_id": number, "category_id": 3, "iscrowd": 0, "area": 4,
             "segmentation": [[3, 2, 5, 2, 5, 4, 3, 4]]}]
        (tmp_path / "annotations" / f"instances_{split}.json").write_text(json.dumps({
            "images": [{"id": number, "file_name": f"{number}.png", "height": 8, "width": 10}],
            "annotations": annotations, "categories": [{"id": 18, "name": "dog"}, {"id": 3, "name": "car"}]}))
    return tmp_path


def test_a_folder_as_published(folder):
    dataset = open_dataset(folder)
    assert isinstance(dataset, COCO)
    assert dataset.splits() == ("train2014", "val2014")
    assert dataset.classes == ("car", "dog")   # by the ids of the categories
    assert dataset.ids("val2014") == ["9"]
    assert (dataset.image("7") == 7).all() and dataset.image("9").shape == (8, 10, 3)
    crowd, square, inner = dataset.instances("9")
    assert (crowd.crowd, square.crowd, inner.category, inner.id) == (True, False, 3, 3)
    assert square.mask.sum() == 16 and crowd.mask.sum() == 64


def test_the_smaller_instance_is_on_top_and_crowds_are_void(folder):
    label = open_dataset(folder).label("7")
    assert label.dtype == np.uint8
    expected = np.zeros((8, 10), int)
    expected[:, 2:] = 255
    expected[1:5, 2:6] = 2
    expected[2:4, 3:5] = 3
    np.testing.assert_array_equal(label, expected)


def test_instance_map_is_the_smallest_instance_of_each_pixel():
    draw = np.random.default_rng(0)
    masks = [np.zeros((9, 11), bool) for _ in range(6)]
    for mask in masks:
        y, x = draw.integers(0, (7, 9))
        mask[y:y + draw.integers(1, 6), x:x + draw.integers(1, 6)] = True
    instances = [Instance(mask, 0.0, i == 2, i, 1) for i, mask in enumerate(masks)]
    found = instance_map(instances, 9, 11)
    for y, x in np.ndindex(9, 11):
        at = [i for i, mask in enumerate(masks) if mask[y, x] and i != 2]
        sizes = {i: masks[i].sum() for i in at}
        if not at:
            assert found[y, x] == (255 if masks[2][y, x] else 0)
        else:
            assert sizes[found[y, x] - 1] == min(sizes.values())


def test_what_is_broken_is_named(folder):
    path = folder / "annotations" / "instances_val2014.json"
    content = json.loads(path.read_text())
    content["annotations"][1]["segmentation"] = "not a polygon"
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match="annotation 2 of picture 9"):
        COCO(folder).instances("9")
    with pytest.raises(DataError, match="no split 'test'"):
        COCO(folder).ids("test")
    with pytest.raises(DataError, match="no picture '12'"):
        COCO(folder).instances("12")
    path.write_text("{")
    with pytest.raises(DataError, match="annotations cannot be read"):
        COCO(folder).ids("val2014")
    with pytest.raises(DataError, match="data set 'coco' is not here"):
        COCO(folder / "annotations")
    many = [Instance(np.ones((1, 1), bool), 1.0, False, i, 1) for i in range(255)]
    with pytest.raises(DataError, match="more instances"):
        instance_map(many, 1, 1)
