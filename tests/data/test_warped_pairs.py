"""Warped pairs: the second image at F of a point looks as the first at the point; seeded; nothing folds."""

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter, map_coordinates

from data.errors import DataError
from data.warped_pairs import SMALL, Change, WarpedPairs

pytestmark = pytest.mark.unit


@pytest.fixture
def folder(tmp_path):
    draw = np.random.default_rng(0)
    for number, size in enumerate([(120, 160), (200, 90)]):
        smooth = gaussian_filter(draw.normal(size=(*size, 3)), (3, 3, 0))
        pixels = np.clip(128 + 40 * smooth / smooth.std(), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    return tmp_path


def points_of(pair, count=400):
    points = np.random.default_rng(1).uniform(2, len(pair.source) - 3, (count, 2))
    there = pair.forward(points)
    return points[pair.inside(there)], there[pair.inside(there)]


def seen(image, points):
    return np.stack([map_coordinates(image[..., c].astype(float), points.T[::-1], order=3) for c in range(3)], 1)


@pytest.mark.parametrize("change", [SMALL, Change(light=0, noise=0)])
@pytest.mark.parametrize("number", [0, 1])
def test_corresponding_points_look_alike(folder, change, number):
    """Within what resampling twice costs; at the same place they do not."""
    pair = WarpedPairs(folder, 64, change)[number]
    points, there = points_of(pair)
    assert len(points) > 200
    apart = abs(seen(pair.source, points) - seen(pair.target, there)).mean()
    assert apart < 2 < abs(seen(pair.source, points) - seen(pair.target, points)).mean()


def test_light_changes_brightness_and_not_the_place(folder):
    dark, plain = (WarpedPairs(folder, 64, Change(light=light, noise=0))[0] for light in (0.3, 0.0))
    points, there = points_of(plain)
    np.testing.assert_array_equal(dark.forward(points), there)
    np.testing.assert_array_equal(dark.target, plain.target)
    assert abs(dark.source.astype(int) - plain.source).mean() > 5
    matched = np.corrcoef(seen(dark.source, points)[:, 1], seen(dark.target, there)[:, 1])[0, 1]
    assert matched > 0.8


def test_a_seed_and_a_number_give_the_pair(folder):
    one, same, other = WarpedPairs(folder, 48)[3], WarpedPairs(folder, 48)[3], WarpedPairs(folder, 48, seed=1)[3]
    np.testing.assert_array_equal(one.source, same.source)
    np.testing.assert_array_equal(one.forward([[5, 7]]), same.forward([[5, 7]]))
    assert (one.forward([[5, 7]]) != other.forward([[5, 7]])).any()
    assert one.photograph.name == "1.png" and one.source.shape == one.target.shape == (48, 48, 3)


@pytest.mark.parametrize("number", range(6))
def test_nothing_folds_however_much_it_bends(folder, number):
    pair = WarpedPairs(folder, 64, Change(bend=0.2))[number]
    x, y = np.meshgrid(np.arange(0, 64, 2), np.arange(0, 64, 2))
    there = pair.forward(np.stack([x, y], -1).reshape(-1, 2)).reshape(32, 32, 2)
    across, down = np.gradient(there, axis=1), np.gradient(there, axis=0)
    assert (across[..., 0] * down[..., 1] - across[..., 1] * down[..., 0]).min() > 0


def test_no_change_is_the_identity(folder):
    pair = WarpedPairs(folder, 64, Change(0, 0, 0, 0, 0, 0, 0))[0]
    np.testing.assert_allclose(pair.forward([[0, 0], [31.5, 20], [63, 63]]), [[0, 0], [31.5, 20], [63, 63]], atol=1e-9)
    assert abs(pair.source.astype(int) - pair.target)[2:-2, 2:-2].mean() < 1   # resampled twice


def test_folders_without_photographs_are_refused(tmp_path):
    with pytest.raises(DataError, match="no images"):
        WarpedPairs(tmp_path)
    Image.new("RGB", (40, 20)).save(tmp_path / "thin.png")
    with pytest.raises(DataError, match="thin.png"):
        WarpedPairs(tmp_path)[0]
