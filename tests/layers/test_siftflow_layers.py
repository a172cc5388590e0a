"""The data layer of SIFT Flow with the public FCN code's name, keys, tops and mean."""

import numpy as np
import pytest
from PIL import Image

from layers.errors import LayerError
from layers.siftflow_layers import SIFTFlowSegDataLayer
from tests.data.layouts import SIFT_FOLDER, write_siftflow

pytestmark = pytest.mark.unit
SPLITS = {"trainval": ["street_b", "coast_a"], "test": ["forest_c"]}


@pytest.mark.tiny
def test_three_tops_and_the_public_mean(tmp_path, driver):
    made = write_siftflow(tmp_path, SPLITS)
    text = f"{{'siftflow_dir': '{tmp_path}', 'seed': 1337, 'split': 'test'}}"
    data, sem, geo = driver(SIFTFlowSegDataLayer, text, phase=1, tops=3).forward()
    image = np.array(Image.open(tmp_path / "Images" / SIFT_FOLDER / "forest_c.jpg"), float)
    np.testing.assert_allclose(
        data[0], image.transpose(2, 0, 1)[::-1] - np.array([114.578, 115.294, 108.353])[:, None, None], atol=1e-4)
    np.testing.assert_array_equal(sem[0, 0], made["forest_c"]["sem"])
    np.testing.assert_array_equal(geo[0, 0], made["forest_c"]["geo"])


def test_wrong_number_of_tops(tmp_path, driver):
    write_siftflow(tmp_path, SPLITS)
    with pytest.raises(LayerError, match="gives 3 tops: data, sem, geo"):
        driver(SIFTFlowSegDataLayer, {"siftflow_dir": str(tmp_path), "split": "test"})


def test_training_comes_in_random_order_each_picture_once_an_epoch(tmp_path, driver):
    made = write_siftflow(tmp_path, SPLITS)
    layer = driver(SIFTFlowSegDataLayer, {"siftflow_dir": str(tmp_path), "split": "trainval", "seed": 1}, tops=3)
    orders = set()
    for _ in range(8):
        sems = [layer.forward()[1][0, 0] for _ in range(2)]
        order = tuple(i for sem in sems for i in made if np.array_equal(sem, made[i]["sem"]))
        assert set(order) == {"street_b", "coast_a"}
        orders.add(order)
    assert len(orders) == 2
