"""Nearest neighbours by brute force; reconstructions and receptive fields on pictures that are known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import caffe
from correspondence import neighbours, reconstruct
from correspondence.errors import DataError
from correspondence.grids import FeatureNet, Grid
from correspondence.neighbours import build_databases, nearest, unit
from prototxt import build

pytestmark = pytest.mark.unit


@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 5), st.integers(1, 6), st.integers(0, 99))
def test_neighbours_by_brute_force(features, queries, k, block, seed):
    draw = np.random.default_rng(seed)
    rows = unit(draw.normal(size=(features, 3))).astype(np.float16)
    asked = draw.normal(size=(queries, 3)).astype(np.float32)
    excluded = draw.random(features) < 0.2
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbours, "BLOCK", block)
        patch.setattr(neighbours, "QUERIES", 2)
        if (~excluded).sum() < k:
            with pytest.raises(DataError, match="no such neighbours"):
                nearest(asked, rows, k, excluded)
            return
        index, cosine = nearest(asked, rows, k, excluded)
    similar = np.where(excluded, -np.inf, unit(asked) @ rows.astype(np.float32).T)
    assert np.allclose(cosine, -np.sort(-similar, axis=1)[:, :k], atol=1e-6)
    assert np.allclose(np.take_along_axis(similar, index, axis=1), cosine, atol=1e-6)
    assert all(len(set(row)) == k for row in index.tolist())


@pytest.fixture
def pictures(tmp_path, noise):
    paths = []
    for seed in range(3):
        paths.append(tmp_path / f"{seed}.png")
        Image.fromarray(noise(64, 80, seed)).save(paths[-1])
    return paths


@pytest.fixture
def net():
    caffe.set_random_seed(0)   # of the fillers: with others a feature may be nearest to that of another place
    return FeatureNet(build("small-fcn32s"), None, ["pool2", "pool3"])


def test_a_database_has_every_feature_with_its_place(net, pictures, noise):
    made = build_databases(net, pictures)
    for layer, grid in net.grids(noise(64, 80, 1)).items():
        base = made[layer]
        own = np.flatnonzero(base.picture == 1)
        assert len(base) == 3 * len(own) and (base.stride, base.size) == (grid.stride, grid.size)
        assert np.allclose(base.place[own].reshape(*grid.shape, 2), grid.centres())
        flat = unit(grid.features.reshape(len(own), -1))
        assert np.abs(base.features[own].astype(np.float32) - flat).max() < 1e-3
    few = build_databases(net, pictures, limit=100)   # 20 x 16 of pool2, but 10 x 8 of pool3
    assert set(few["pool3"].picture) == {0, 1}
    with pytest.raises(DataError, match="needs pictures"):
        build_databases(net, [])


def test_an_image_in_the_database_is_put_together_again(net, pictures, noise):
    image = noise(64, 80, 2)
    base, grid = build_databases(net, pictures)["pool2"], net.grids(image)["pool2"]
    found, cosine = reconstruct.from_neighbours(grid, base, 1)
    assert np.array_equal(found, reconstruct.original(image, grid)) and cosine.min() > 0.99
    others, cosine = reconstruct.from_neighbours(grid, base, 2, excluded=base.picture == 2)
    assert np.abs(others - found).mean() > 5 and others.shape == found.shape


@given(st.integers(1, 6), st.floats(-4, 12), st.floats(-4, 12))
def test_windows_by_hand(size, x, y):
    image = np.add.outer(100 * np.arange(9), np.arange(10))
    found = reconstruct.window(image, (x, y), size)
    left, top = (int(np.floor(c - (size - 1) / 2 + 0.5)) for c in (x, y))
    for i in range(size):
        for j in range(size):
            assert found[i, j] == image[min(max(top + i, 0), 8), min(max(left + j, 0), 9)]


def test_the_original_is_the_image():
    image = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    grid = Grid(np.zeros((4, 6, 1), np.float32), 3.5, 8, 8)   # cells of 8 pixels, from the corner
    assert np.array_equal(reconstruct.original(image, grid), image)


def test_the_uniform_baseline_stays_within_the_field():
    image = np.zeros((64, 64, 3), np.uint8)
    image[:, :, 0] = np.arange(64)   # a patch says where it comes from
    grid = Grid(np.zeros((8, 8, 1), np.float32), 3, 8, 21)
    moved = reconstruct.uniform(image, grid, 21, 1, seed=0)[:, :, 0] - reconstruct.original(image, grid)[:, :, 0]
    middle = moved[:, 24:40]
    assert np.abs(middle).max() <= 10 and middle.std() > 4
    mean = reconstruct.uniform(image, grid, 21, 64, seed=0)[:, :, 0]
    assert np.abs(mean - reconstruct.original(image, grid)[:, :, 0])[:, 24:40].mean() < 2


def test_detail_is_what_is_finer_than_the_field(noise):
    image = noise(96, 96).astype(np.float32)
    grid = Grid(np.zeros((24, 24, 1), np.float32), 1.5, 4, 25)
    assert reconstruct.detail(image, image, 25) == pytest.approx(1)
    assert reconstruct.detail(0.5 * image + 40, image, 25) == pytest.approx(1)   # brightness and contrast do not count
    moved = [reconstruct.uniform(image, grid, 25, k, seed=0) for k in (1, 5)]
    assert max(reconstruct.detail(each, image, 25) for each in moved) < 0.3
    coarse = reconstruct.assemble(grid, reconstruct.patches_of(image, grid).mean(axis=(2, 3), keepdims=True)
                                  * np.ones((1, 1, 4, 4, 1)))
    assert reconstruct.detail(coarse, image, 25) > 0.7


def test_receptive_fields_contrast_and_spread(net, pictures, noise):
    base = build_databases(net, pictures)["pool3"]
    chosen = np.flatnonzero(np.all(base.place == np.median(base.place, axis=0).round() // 1, axis=1))
    chosen = chosen if len(chosen) else np.array([len(base) // 6])
    stack = reconstruct.fields(base, chosen)
    size = round(base.size)
    assert stack.shape == (len(chosen), size, size, 3)
    assert np.array_equal(stack[0], reconstruct.window(noise(64, 80, int(base.picture[chosen[0]])),
                                                       base.place[chosen[0]], size))
    wide = reconstruct.expanded(100 + 0.1 * stack[0])
    assert wide.min() == 0 and wide.max() == 255
    draw = np.random.default_rng(0)
    away = np.abs(np.arange(33) - 16) / 16
    wild = draw.normal(size=(50, 33, 33, 3)) * np.maximum.outer(away, away)[:, :, None]
    spread = reconstruct.spread_by_distance(wild.astype(np.float32))
    assert (np.diff(spread) > 0).all() and spread[-1] == pytest.approx(0.95, abs=0.1)
