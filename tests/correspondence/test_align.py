"""Alignment: shifts and smooth warps are found, points go there and back, images are warped by splines."""

import numpy as np
import pytest

from correspondence import align as a
from correspondence.align import Flow
from correspondence.errors import DataError
from correspondence.grids import Grid
from data.warped_pairs import SMALL, Pair

pytestmark = pytest.mark.unit


def grid(features, stride=8.0, start=4.0):
    return Grid(np.asarray(features, np.float32), start, stride, 3 * stride)


def field(height, width, channels=16, seed=0):
    return np.random.default_rng(seed).random((height, width, channels)).astype(np.float32)


@pytest.mark.parametrize("levels", [1, 2])
def test_a_shift_is_found_where_the_target_shows_it(levels):
    whole = np.repeat(np.repeat(field(12, 12), 2, axis=0), 2, axis=1)   # alike in 2 x 2: coarse grids can tell too
    source, target = grid(whole[4:20, 4:20]), grid(whole[2:18, 6:22])   # p there is p + (2, -2) here
    flow = a.align(source, target, reach=4, levels=levels)
    inner = flow.steps[2:-4, 4:-2]
    assert (np.median(inner, axis=(0, 1)) == [2, -2]).all()
    assert (inner == [2, -2]).all(2).mean() > 0.7
    np.testing.assert_allclose(flow.forward([[68.0, 60.0]]), [[68 - 16, 60 + 16]], atol=6)


def test_energy_is_the_sum_of_its_parts_and_an_image_aligns_with_itself():
    source = grid(field(6, 7))
    flow = a.align(source, source, reach=2)
    assert not flow.steps.any() and flow.energy == flow.data_term + flow.deformation < 1e-3


def test_a_stronger_prior_bends_less():
    source, target = grid(field(7, 7)), grid(field(7, 7, seed=1))
    flows = [a.align(source, target, beta, reach=3) for beta in (1e-3, 0.05, 10)]
    rough = [np.square(np.diff(flow.steps, axis=0)).sum() for flow in flows]
    assert rough[0] > rough[1] > rough[2] == 0


def smooth_flow(height=9, width=11, stride=8.0):
    y, x = np.mgrid[:height, :width]
    steps = np.stack([0.8 * np.sin(x / 4), 0.5 * np.cos(y / 3)], -1)
    return Flow(4 + stride * np.arange(height), 4 + stride * np.arange(width), stride, steps)


def test_the_spline_goes_through_the_centres_and_is_constant_beyond():
    flow = smooth_flow()
    x, y = np.meshgrid(flow.columns, flow.rows)
    centres = np.stack([x.ravel(), y.ravel()], 1)
    np.testing.assert_allclose(flow.displacement(centres), 8 * flow.steps[..., ::-1].reshape(-1, 2), atol=1e-9)
    np.testing.assert_allclose(flow.displacement([[-50, 4]]), flow.displacement([[4, 4]]))


def test_points_go_there_and_back_and_nan_stays():
    flow = smooth_flow()
    points = np.array([[20.0, 30.0], [44.0, 21.0], [np.nan, np.nan]])
    back = flow.backward(flow.forward(points), 72, 88)
    np.testing.assert_allclose(back[:2], points[:2], atol=0.8)   # whole pixels
    assert np.isnan(back[2]).all()


def test_warping_shows_the_target_as_the_source_sees_it():
    """A smooth image, whose value at any point is known."""
    flow, (y, x) = smooth_flow(), np.mgrid[:72, :88]

    def light(x, y):
        return 128 + 60 * np.sin(x / 9) + 40 * np.cos(y / 7)

    target = np.stack([light(x, y), light(y, x), 255 - light(x, y)], -1).clip(0, 255)
    warped = flow.warp(np.rint(target).astype(np.uint8), 72, 88)
    there = flow.forward(np.stack([x.ravel(), y.ravel()], 1))
    inside = ((there >= 0) & (there <= [87, 71])).all(1)
    expected = light(*there.T).clip(0, 255)
    assert abs(warped[..., 0].ravel().astype(float) - expected)[inside].max() < 2
    np.testing.assert_array_equal(a.identity(grid(field(9, 11))).warp(target.astype(np.uint8), 72, 88),
                                  target.astype(np.uint8))


def test_sift_flow_finds_a_known_warp_within_a_step(noise):
    """A photograph of smooth noise and its small warp: SIFT at the centres of a grid, 95 % within one step."""
    from data.warped_pairs import WarpedPairs

    class Noise(WarpedPairs):
        def __init__(self):
            self.side, self.change, self.seed = 128, SMALL, 0

    maker, draw = Noise(), np.random.default_rng(0)
    photograph, forward = noise(180, 180), maker._warp(draw)
    box = (20.0, 20.0, 148.0, 148.0)
    pair = Pair(maker._seen(draw, photograph, box, forward), photograph[20:148, 20:148], None, forward)
    like = grid(np.zeros((16, 16, 1)))
    flow = a.align(*(a.sift_grid(image, like, 12) for image in (pair.source, pair.target)), reach=3)
    centres = like.centres().reshape(-1, 2)
    there = pair.forward(centres)
    inside = ((there >= 4) & (there <= 124)).all(1)   # where the target has a centre nearer than a step
    apart = abs(flow.forward(centres) - there).max(1)[inside]
    assert (apart <= 8).mean() >= 0.95


def test_grids_of_two_layers_are_refused():
    with pytest.raises(DataError, match="not alike"):
        a.align(grid(field(4, 4)), grid(field(4, 4), stride=16.0))
    with pytest.raises(DataError, match="no spline"):
        a.identity(grid(field(1, 4))).forward([[0, 0]])
