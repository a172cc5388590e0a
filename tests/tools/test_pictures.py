"""Pictures side by side and in grids: sizes, places of the cells, and which images are shown."""

import numpy as np
import pytest

from data.palette import voc_palette
from tools.errors import DataError
from tools.pictures import CAPTION, MARGIN, class_legend, grid, side_by_side, spread

pytestmark = pytest.mark.unit


def test_spread():
    ids = [str(i) for i in range(11)]
    assert spread(ids, 3) == ["0", "5", "10"]
    assert spread(ids, 20) == ids
    assert spread(ids, 0) == []
    assert spread(ids, 1) == ["0"]


def test_cells_lie_where_they_should():
    cells = [[np.full((20, 300, 3), 10 * (2 * r + c + 1), np.uint8) for c in range(2)] for r in range(2)]
    picture = grid(cells, ["left", "right"])
    for r in range(2):
        for c in range(2):
            y, x = CAPTION + r * (20 + MARGIN), MARGIN + c * (300 + MARGIN)
            assert (picture[y : y + 20, x : x + 300] == 10 * (2 * r + c + 1)).all()
    assert picture.shape[1] == 2 * 300 + 3 * MARGIN
    assert (picture[-1] == 255).all()
    assert (picture[:CAPTION] != 255).any()  # the captions


def test_small_images_are_enlarged():
    picture = side_by_side(np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64), int), np.ones((64, 64), int))
    assert picture.shape[1] == 3 * 256 + 4 * MARGIN
    x = 3 * MARGIN + 2 * 256
    assert (picture[CAPTION : CAPTION + 256, x : x + 256] == voc_palette()[1]).all()


def test_legend_breaks_lines_and_shows_every_colour():
    names = [f"class number {i}" for i in range(12)]
    legend = class_legend(names, voc_palette())
    assert legend[-1][0] == "void" and legend[1] == ("class number 1", [128, 0, 0])
    plain = grid([[np.zeros((10, 300, 3), np.uint8)]], ["x"])
    picture = grid([[np.zeros((10, 300, 3), np.uint8)]], ["x"], legend)
    below = picture[plain.shape[0] - MARGIN :]
    assert below.shape[0] > 3 * CAPTION
    for _, colour in legend:
        assert (below == colour).all(axis=2).any()


def test_ragged_rows():
    cell = np.zeros((10, 300, 3), np.uint8)
    with pytest.raises(DataError, match="picture for each caption"):
        grid([[cell]], ["a", "b"])
    with pytest.raises(DataError, match="differ in size"):
        grid([[cell, cell[:5]]], ["a", "b"])
