"""Pictures hold the regions, colours and weights that they should; figures are written."""

import numpy as np
import pytest
from PIL import Image

from halide_kernels import rle
from halide_kernels.nms import Pathway
from proposals import figures, pictures
from proposals.errors import DataError
from proposals.overlap import best_overlaps
from proposals.plane import Plane
from proposals.propose import propose
from proposals.recall import density_table, objects_by_density, objects_of
from tests.proposals.drawn import an_instance


@pytest.fixture
def scene():
    """An image, two planes and three objects, one of which no region meets; the first region is the first object."""
    numbers = np.random.default_rng(0)
    planes = [Plane(f"r{cell}", Pathway(-cell, -cell, cell, cell, 4),
                    numbers.integers(-3, 3, (16, *grid)).astype(np.float32), numbers.random(grid, np.float32))
              for cell, grid in ((4, (8, 11)), (8, (4, 6)))]
    first = planes[0].mask(3, 4, 40, 50)
    second, far = np.zeros((40, 50), bool), np.zeros((40, 50), bool)
    second[10:35, 20:48], far[39, 49] = True, True
    instances = [an_instance(mask, mask.sum()) for mask in (first, second, far)]
    return numbers.integers(0, 256, (40, 50, 3)).astype(np.uint8), planes, instances


@pytest.mark.tiny
def test_a_plane_is_drawn_window_by_window(scene):
    plane = scene[1][0]
    picture = pictures.plane_picture(plane, across=6, pixels=2)   # every second centre, the first at (0, 0)
    assert picture.shape == (4 * 10, 6 * 10)
    for y in range(4):
        for x in range(6):
            window = picture[10 * y:10 * y + 8, 10 * x:10 * x + 8]
            np.testing.assert_array_equal(window < 128, rle.window(plane.region(2 * y, 2 * x), 2))
    gaps = np.ones(picture.shape, bool)
    gaps.reshape(4, 10, 6, 10)[:, :8, :, :8] = False
    assert (picture[gaps] == 255).all()


@pytest.mark.tiny
def test_masks_over_an_image():
    image = np.full((9, 9, 3), 100, np.uint8)
    large, small = np.zeros((9, 9), bool), np.zeros((9, 9), bool)
    large[0:8, 0:8], small[2:5, 2:5] = True, True
    paint = np.array([[0, 200, 0], [200, 0, 0]], np.uint8)
    drawn = pictures.over(image, [small, large], paint, alpha=0.25)
    assert drawn[3, 3].tolist() == [94, 106, 56]   # small lies on large
    assert drawn[2, 2].tolist() == [0, 200, 0] and drawn[7, 7].tolist() == [200, 0, 0]   # outlines
    assert drawn[6, 6].tolist() == [125, 75, 75] and drawn[0, 3].tolist() == [125, 75, 75]   # no outline at the border
    assert drawn[8, 8].tolist() == [100] * 3 and (image == 100).all()
    with pytest.raises(DataError, match="do not fit"):
        pictures.over(image, [np.zeros((9, 8), bool)])


@pytest.mark.tiny
def test_colours_differ():
    paint = pictures.colours(40).astype(int)
    apart = np.abs(paint[:, None] - paint).sum(2) + 999 * np.eye(40, dtype=int)
    assert paint.shape == (40, 3) and apart.min() > 10 and pictures.colours(0).shape == (0, 3)


@pytest.mark.tiny
def test_the_best_region_of_each_object_in_its_colour(scene):
    image, planes, instances = scene
    best = best_overlaps(planes, instances)
    assert best.overlap[0] == 1 and best.overlap[1] > 0
    masks = pictures.best_masks(planes, best, 40, 50)
    np.testing.assert_array_equal(masks[0], instances[0].mask)
    for mask, one, value in zip(masks, instances, best.overlap, strict=True):
        either = np.count_nonzero(mask | one.mask)
        assert np.count_nonzero(mask & one.mask) / either == value
    truth, found = pictures.best_matches(image, planes, instances, best)
    paint = pictures.colours(3)
    for picture, some in ((truth, [one.mask for one in instances]), (found, masks)):
        np.testing.assert_array_equal(picture, pictures.over(image, some, paint))


@pytest.mark.tiny
def test_norms_of_weights_and_of_differences():
    weights = np.random.default_rng(0).standard_normal((9, 5, 2, 3))
    norms, differences = pictures.block_norms(weights), pictures.block_norms(weights, differences=True)
    assert norms.shape == (3, 3, 2, 3) and differences.shape == (2, 3, 2, 3)
    for i, j, y, x in np.ndindex(3, 3, 2, 3):
        assert norms[i, j, y, x] == pytest.approx(sum(abs(weights[3 * i + j, c, y, x]) for c in range(5)))
        if i < 2:
            assert differences[i, j, y, x] == pytest.approx(
                sum(abs(weights[3 * i + 3 + j, c, y, x] - weights[3 * i + j, c, y, x]) for c in range(5)))
    tiles = pictures.tiled(norms)
    assert tiles.shape == (3 * 3 - 1, 3 * 4 - 1) and tiles.max() == 255 and (tiles[2] == 70).all()
    np.testing.assert_array_equal(tiles[3:5, 8:11], np.rint(norms[1, 2] * (255 / norms.max())))
    with pytest.raises(DataError, match="no weights of region"):
        pictures.block_norms(weights[:8])


@pytest.mark.slow
def test_all_figures_are_written(scene, tmp_path):
    image, planes, instances = scene
    best, objects = best_overlaps(planes, instances), objects_of(planes, instances)
    table = density_table(objects_by_density(planes, instances))
    draw = {
        "planes": lambda path: figures.planes_figure(path, planes, image),
        "proposals": lambda path: figures.proposals_figure(path, image, planes, propose(planes, 40, 50)),
        "nothing proposed": lambda path: figures.proposals_figure(path, image, planes, []),
        "matches": lambda path: figures.matches_figure(path, [(image, planes, instances, best)] * 2),
        "sizes": lambda path: figures.sizes_figure(path, objects, [plane.name for plane in planes]),
        "weights": lambda path: figures.weights_figure(path, np.random.default_rng(0).standard_normal((9, 4, 5, 5))),
        "density": lambda path: figures.density_figure(path, {"net": table, "disc": table}),
        "ablation": lambda path: figures.ablation_figure(path, {"neither": [0.2], "both": [0.3, 0.4]}, "AR"),
    }
    for name, one in draw.items():
        one(tmp_path / f"{name}.png")
        drawn = np.asarray(Image.open(tmp_path / f"{name}.png").convert("RGB"))
        assert min(drawn.shape[:2]) > 200 and len(np.unique(drawn.reshape(-1, 3), axis=0)) > 5, name
    with pytest.raises(DataError, match="no picture"):
        figures.matches_figure(tmp_path / "none.png", [])
