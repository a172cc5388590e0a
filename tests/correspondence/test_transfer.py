"""Square boxes, and keypoints from neighbours: order, median, baseline."""

import numpy as np
import pytest

from correspondence import transfer
from correspondence.align import Flow
from correspondence.errors import DataError
from correspondence.transfer import Square

pytestmark = pytest.mark.unit
NAN = [np.nan, np.nan]


def flow(dx, dy, deformation, side=64):
    steps = np.zeros((4, 4, 2)) + [dy / 16, dx / 16]
    return Flow(8.0 + 16 * np.arange(4), 8.0 + 16 * np.arange(4), 16.0, steps, 0.0, deformation)


def test_a_square_maps_points_to_what_it_shows_and_back():
    y, x = np.mgrid[:60, :80]
    image = np.stack([2 * x, 3 * y, 0 * x], -1).astype(np.uint8)   # linear: resizing keeps the value at a place
    square = Square((11.0, 7.0, 50.0, 46.0), 80)
    cut = square.cut(image)
    assert cut.shape == (80, 80, 3)
    points = np.array([[20.0, 30.0], [44.5, 12.25]])
    (a, b), inside = cut[tuple(np.rint(square.into(points)).astype(int).T[::-1])].astype(float), square.into(points)
    np.testing.assert_allclose([a[:2], b[:2]], points * [2, 3], atol=2)
    np.testing.assert_allclose(square.out(inside), points)
    np.testing.assert_allclose(square.into([[10.5, 6.5], [50.5, 46.5]]), [[-0.5, -0.5], [79.5, 79.5]])


def test_a_box_over_the_edge_shows_the_edges_colours():
    image = np.full((20, 30, 3), 90, np.uint8)
    assert (Square((-5.0, -3.0, 34.0, 22.0), 16).cut(image) == 90).all()
    with pytest.raises(DataError, match="empty"):
        Square((5.0, 5.0, 5.0, 9.0), 16).cut(image)


def test_the_median_of_the_first_that_there_are():
    points = [[[0, 9], NAN], [[10, 1], NAN], [[2, 2], [4, 4]], [[100, 100], [6, 8]]]
    np.testing.assert_array_equal(transfer.median_of_first(points, top=3), [[2, 2], [5, 6]])
    assert np.isnan(transfer.median_of_first([[NAN], [NAN]])).all()


def test_prediction_takes_the_least_deformed_and_carries_their_keypoints_back():
    """Neighbours shifted against the object: the flow leads from the object to them, so keypoints go the other way."""
    flows = [flow(8, 0, 3.0), flow(0, -6, 1.0), flow(-4, 2, 2.0)]
    keypoints = [np.array([[30.0, 30.0], NAN]), np.array([[20.0, 20.0], NAN]), np.array([[25.0, 21.0], [9.0, 40.0]])]
    assert transfer.by_deformation(flows).tolist() == [1, 2, 0]
    found = transfer.predict(flows, keypoints, 64, top=1)
    np.testing.assert_allclose(found, [[20, 26], [13, 38]])
    np.testing.assert_allclose(transfer.predict(flows, keypoints, 64, top=5)[0], np.median(
        [[22, 30], [20, 26], [29, 19]], axis=0))


def test_copying_leaves_them_where_they_are():
    keypoints = [np.array([[k, 2.0 * k]]) for k in range(9)]
    np.testing.assert_array_equal(transfer.copied(keypoints), [[2, 4]])
