"""HHA on ray-cast rooms whose camera tilt, heights and surfaces are known."""

import warnings

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import binary_erosion

from data import DataError
from data.hha import NYU_CAMERA, Camera, gravity, hha, normals
from tools.hha import main

pytestmark = pytest.mark.unit

HALF = Camera(*(value / 2 for value in NYU_CAMERA))
# corners (x right, y down, z forward) seen from a camera 1.3 m above the floor
ROOM = (-2.0, -1.2, -1.0), (2.2, 1.3, 4.0)
BOXES = [((-1.1, 0.8, 2.2), (-0.3, 1.3, 3.0)), ((0.4, 0.55, 1.8), (1.4, 1.3, 2.6))]   # 50 and 75 cm high
FLOOR, CEILING, WALL = 0, 1, 2


def rotation(pitch, roll, yaw=0.0):
    """Camera to world: rolled about its axis, then pitched up, then turned; in degrees."""
    p, r, w = np.radians([pitch, roll, yaw])
    turn = np.array([[np.cos(w), 0, np.sin(w)], [0, 1, 0], [-np.sin(w), 0, np.cos(w)]])
    up = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    return turn @ up @ np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])


def render(turn, camera=HALF, shape=(240, 320), room=ROOM, boxes=tuple(BOXES)):
    """Depth (m), height above the floor (m), kind of surface (tops are floors), face (box 0.. gives 3.., tops 4, 7)."""
    x, y = camera.rays(shape)
    ray = np.stack(np.broadcast_arrays(x, y, 1.0), axis=-1) @ turn.T
    ray[ray == 0] = 1e-12   # parallel to a face
    # the inside of the room is where a ray leaves a box, the outside of the others where it enters them
    depth, face = np.full(shape, np.inf), np.zeros(shape, int)
    for number, (low, high) in enumerate([room, *boxes]):
        ends = np.stack([low / ray, high / ray])
        enter, leave = ends.min(axis=0), ends.max(axis=0)
        inside = number == 0
        hit = leave.min(axis=-1) if inside else enter.max(axis=-1)
        nearer = (hit < depth) & (inside | (hit < leave.min(axis=-1)) & (hit > 0))
        depth[nearer] = hit[nearer]
        face[nearer] = 3 * number + (leave.argmin(axis=-1) if inside else enter.argmax(axis=-1))[nearer]
    down = depth * ray[..., 1]
    kind = np.where(face % 3 != 1, WALL, np.where(down > 0, FLOOR, CEILING))
    return depth, room[1][1] - down, kind, face


def kinect(depth, seed=0):
    """Depth from disparity in eighths of a pixel, with noise: steps of 3 mm at 1 m, of 46 mm at 4 m."""
    step = 1 / (8 * 580 * 0.075)   # per metre; 580 pixels focal length, 7.5 cm baseline
    noise = np.random.default_rng(seed).normal(0, 0.3, depth.shape)
    return step**-1 / np.rint(1 / depth / step + noise)


def apart(a, b):
    return np.degrees(np.arccos(np.clip(a @ b, -1, 1)))


def interior(mask, radius):
    """The pixels whose window of that radius is all in the mask."""
    return binary_erosion(mask, np.ones((2 * radius + 1, 2 * radius + 1)))


TILTS = [(0, 0), (-30, 0), (30, 0), (0, 20), (0, -20), (-30, 20), (30, -20), (-15, -10)]


@pytest.mark.parametrize("noise", [False, True], ids=["exact", "kinect"])
@pytest.mark.parametrize("pitch, roll", TILTS)
def test_gravity_within_a_degree_at_full_size(pitch, roll, noise):
    turn = rotation(pitch, roll, 25)
    depth = render(turn, NYU_CAMERA, (480, 640))[0]
    found = gravity(normals(kinect(depth) if noise else depth, NYU_CAMERA, 10))
    assert apart(found, turn[1]) < 1   # turn[1] is the world's y axis as the camera sees it


@settings(max_examples=25)
@given(st.floats(-30, 30), st.floats(-20, 20), st.floats(-180, 180), st.integers(0, 99))
def test_gravity_at_any_tilt(pitch, roll, yaw, seed):
    turn = rotation(pitch, roll, yaw)
    depth, _, kind, _ = render(turn)
    assume((kind != WALL).mean() > 0.05)   # a picture of one wall does not tell gravity
    assert apart(gravity(normals(kinect(depth, seed), HALF, 10)), turn[1]) < 1


@pytest.mark.tiny
@pytest.mark.parametrize("pitch, roll", TILTS)
def test_channels_of_an_exact_room(pitch, roll):
    depth, height, kind, face = render(rotation(pitch, roll, 10))
    disparity, high, angle = np.moveaxis(hha(depth, HALF).astype(float), -1, 0)
    assert np.abs(disparity - np.clip(310 / np.maximum(depth, 1), 0, 255)).max() <= 0.5 + 1e-9
    order = np.argsort(depth, axis=None)
    assert (np.diff(disparity.ravel()[order]) <= 0).all()
    for surface, expected in ((FLOOR, 38), (WALL, 128), (CEILING, 218)):
        for one in np.unique(face):
            of = interior((kind == surface) & (face == one), 3)
            assert np.abs(angle[of] - expected).max(initial=0) <= 3
    # the lowest point in view is the zero, unless it is so high that the floor must be out of view
    lowest = height.min() - 1.3
    zero = lowest if lowest <= -0.9 else -1.3
    assert np.abs(high - np.clip(100 * (height - 1.3 - zero), 0, 255)).max() <= 3


@pytest.mark.parametrize("pitch, roll", [(-10, 0), (-20, 10), (-30, -15)])
def test_channels_under_kinect_noise(pitch, roll):
    """Heights to 3 cm, walls to 3 degrees, at full size; the angle at a pixel scatters, more the farther it is."""
    depth, height, kind, face = render(rotation(pitch, roll), NYU_CAMERA, (480, 640))
    high, angle = np.moveaxis(hha(kinect(depth)).astype(float), -1, 0)[1:]
    for top, expected in ((4, 50), (7, 75)):
        assert np.percentile(np.abs(high[face == top] - expected), 95) <= 3
    for surface, expected in ((FLOOR, 38), (WALL, 128)):
        assert abs(np.median(angle[interior((kind == surface) & (face < 3), 3)]) - expected) <= 3


def test_normals_are_window_regressions():
    """Against numpy.linalg.lstsq over the known pixels of the window, at borders and holes too."""
    draw = np.random.default_rng(4)
    camera = Camera(30.0, 25.0, 11.0, 8.0)
    depth = render(rotation(-20, 5), camera, (18, 24))[0] * draw.uniform(0.98, 1.02, (18, 24))
    depth[draw.random((18, 24)) < 0.5] = 0
    depth[3, 4] = np.nan
    x, y = (np.broadcast_to(ray, depth.shape) for ray in camera.rays(depth.shape))
    found = normals(depth, camera, 2)
    checked = 0
    for r in range(18):
        for c in range(24):
            window = np.s_[max(r - 2, 0):r + 3, max(c - 2, 0):c + 3]
            of = np.nan_to_num(depth[window]) > 0
            rays = np.stack([x[window][of], y[window][of], np.ones(of.sum())], axis=-1)
            if len(rays) == 0 or np.linalg.matrix_rank(rays) < 3:
                assert np.isnan(found[r, c]).all()
                continue
            plane = np.linalg.lstsq(rays, 1 / depth[window][of], rcond=None)[0]
            np.testing.assert_allclose(found[r, c], plane / np.linalg.norm(plane), atol=1e-9)
            checked += 1
    assert checked > 300


def test_too_few_points_or_a_line_are_no_plane():
    depth = np.zeros((9, 9))
    depth[4, 2:7] = 2.0
    assert np.isnan(normals(depth, HALF, 4)).all()
    depth[5, 4] = 2.0
    assert np.isfinite(normals(depth, HALF, 4)).any()
    with pytest.raises(DataError, match="no surface normal"):
        gravity(np.full((4, 4, 3), np.nan))


def test_a_single_wall_leaves_gravity_where_it_was():
    depth = kinect(np.full((240, 320), 2.0))   # no floor, one direction
    assert apart(gravity(normals(depth, HALF, 10)), np.array([0, 1, 0])) < 1


def test_missing_depth_takes_the_nearest_and_has_no_angle():
    depth = render(rotation(-20, 8, 30))[0]
    holes = np.zeros(depth.shape, bool)
    holes[:, :12] = holes[100:140, 90:130] = True   # a border and a hole wider than either window
    holes |= np.random.default_rng(1).random(depth.shape) < 0.1
    whole, mended = hha(depth, HALF), hha(np.where(holes, 0, depth), HALF)
    assert np.array_equal(mended, hha(np.where(holes, np.nan, depth), HALF))
    assert np.abs(mended[~holes, :2].astype(int) - whole[~holes, :2]).max() <= 1
    assert np.abs(mended[..., 2].astype(int) - whole[..., 2])[interior(~holes, 3)].max(initial=0) <= 1
    # by brute force: some known pixel at the least distance
    there = np.argwhere(~holes)
    for row, column in ((120, 110), (101, 129), (60, 0), (200, 5)):
        distance = ((there - (row, column)) ** 2).sum(axis=1)
        nearest = there[distance == distance.min()]
        assert mended[row, column, 0] in mended[nearest[:, 0], nearest[:, 1], 0]
    # a known pixel within 3 rows and columns gives a normal, most often; else there is none
    assert (mended[104:136, 94:126, 2] == 218).all()
    assert (mended[104:136, 3:8, 2] == 218).all()


def test_filled_depth_counts_in_no_normal():
    """Depth that was filled in badly over a third of the picture does not turn gravity."""
    turn = rotation(-20, 8, 30)
    depth = render(turn)[0]
    measured = np.ones(depth.shape, bool)
    measured[:, :110] = False
    rows, columns = np.indices(depth.shape)
    filled = np.where(measured, depth, 1.5 + 0.004 * rows + 0.003 * columns)
    with_mask, without = hha(filled, HALF, measured), hha(filled, HALF)
    right = hha(depth, HALF)[:, 120:, 2].astype(int)
    assert np.abs(with_mask[:, 120:, 2] - right).max() <= 2
    assert np.abs(without[:, 120:, 2] - right).mean() > 2


def test_errors_say_what_to_do():
    for wrong in (np.full((4, 4), 2300, np.uint16), np.ones((4, 4, 3))):
        with pytest.raises(DataError, match="in metres.*\nhelp: divide integer millimetres by 1000"):
            hha(wrong)
    with warnings.catch_warnings(), pytest.raises(DataError, match="no depth.*\nhelp: leave out"):
        warnings.simplefilter("error")
        hha(np.zeros((20, 20)))


def test_tool_converts_a_folder(tmp_path, capsys):
    depths = tmp_path / "depth"
    depths.mkdir()
    rooms = {name: render(rotation(pitch, 0), HALF, (120, 160))[0] for name, pitch in (("a", 0), ("b", -20))}
    for name, depth in rooms.items():
        Image.fromarray(np.rint(depth * 1000).astype(np.uint16)).save(depths / f"{name}.png")
    camera = list(map(str, HALF))
    assert main([str(depths), str(tmp_path / "hha"), "--camera", *camera]) == 0
    assert "2 pictures" in capsys.readouterr().out
    for name, depth in rooms.items():
        with Image.open(tmp_path / "hha" / f"{name}.png") as image:
            assert image.mode == "RGB"
            assert np.array_equal(np.array(image), hha(np.rint(depth * 1000) / 1000, HALF))
    Image.fromarray(np.zeros((5, 5), np.uint8)).save(depths / "c.png")
    assert main([str(depths), str(tmp_path / "hha")]) == 1
    assert "c.png" in capsys.readouterr().err
    Image.fromarray(np.zeros((5, 5), np.uint16)).save(depths / "c.png")
    assert main([str(depths), str(tmp_path / "hha")]) == 1
    assert "c.png" in capsys.readouterr().err
    assert main([str(tmp_path), str(tmp_path / "hha")]) == 1
    assert "no PNG" in capsys.readouterr().err
