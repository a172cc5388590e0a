"""HHA from a depth picture: horizontal disparity, height above the lowest point, angle of the surface to gravity.

The encoding of Gupta, Girshick, Arbelaez, Malik, "Learning Rich Features from RGB-D Images" (ECCV 2014), with the
gravity of Gupta, Arbelaez, Malik, "Perceptual Organization and Recognition of Indoor Scenes" (CVPR 2013); the numbers
are those of their public program (github.com/s-gupta/rcnn-depth: saveHHA, processDepthImage). docs/hha.md has formulas.

Camera coordinates: x right, y down, z forward, in metres; a pixel's depth is z, and 0 or NaN where there is none.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, uniform_filter

from data.errors import DataError


class Camera(NamedTuple):
    """A pinhole camera in pixels: focal lengths, and column and row of the principal point, counted from 0."""

    fx: float
    fy: float
    cx: float
    cy: float

    def rays(self, shape: tuple[int, int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """x/z of each column (1 x W) and y/z of each row (H x 1): a pixel's point is depth * (x/z, y/z, 1)."""
        rows, columns = np.ogrid[: shape[0], : shape[1]]
        return (columns - self.cx) / self.fx, (rows - self.cy) / self.fy


NYU_CAMERA = Camera(518.857901, 519.469611, 325.582449, 253.736166)
"""The Kinect of NYUv2 (fx_rgb, fy_rgb, cx_rgb, cy_rgb of its toolbox's camera_params.m): the depth of the labeled set
is projected to the colour camera, so these are the colour camera's."""

RADIUS, GRAVITY_RADIUS = 3, 10   # windows of 7 x 7 pixels for the angle, of 21 x 21 for gravity
ROUNDS = (45.0, 15.0)            # degrees; what counts as parallel or perpendicular to gravity in each round
ITERATIONS = 5                   # of each round
INERTIA = 0.01                   # of the estimate so far, as a share of all normals


def normals(depth_m: NDArray, camera: Camera = NYU_CAMERA, radius: int = RADIUS) -> NDArray[np.float64]:
    """The unit normal of the surface at each pixel, H x W x 3, away from the camera; NaN where depth does not tell.

    A plane n . p = 1 seen along the ray (x/z, y/z, 1) is n . ray = 1/depth.  So n is the linear regression of
    1/depth, in which a Kinect's errors are equal everywhere, over the known pixels within `radius` rows and
    columns; they must number three and not be on one line.  Raises DataError unless `depth_m` is H x W, float.
    """
    known = _known(depth_m)
    x, y = (np.broadcast_to(ray, known.shape) for ray in camera.rays(known.shape))
    # in units of a pixel, so that the determinant below has the same scale for every camera
    x, y = x * camera.fx, y * camera.fy
    inverse = np.divide(1.0, depth_m, out=np.zeros(known.shape), where=known)
    size = 2 * radius + 1

    def window(values: NDArray) -> NDArray[np.float64]:
        return uniform_filter(np.where(known, values, 0.0), size, mode="constant")

    share = window(np.ones(known.shape))
    enough = share * size**2 > 2.5
    share[~enough] = np.nan
    mean_x, mean_y, mean = (window(values) / share for values in (x, y, inverse))
    xx, xy, yy = window(x * x) / share - mean_x**2, window(x * y) / share - mean_x * mean_y, \
        window(y * y) / share - mean_y**2
    xd, yd = window(x * inverse) / share - mean_x * mean, window(y * inverse) / share - mean_y * mean
    determinant = xx * yy - xy**2
    # pixels on one line give 0; the least of any others, all but one of (2r+1)^2 on a line, is far above this
    determinant[~(determinant > 1e-4)] = np.nan
    slope_x, slope_y = (xd * yy - yd * xy) / determinant, (yd * xx - xd * xy) / determinant
    normal = np.stack([slope_x * camera.fx, slope_y * camera.fy, mean - slope_x * mean_x - slope_y * mean_y], axis=-1)
    return normal / np.linalg.norm(normal, axis=-1, keepdims=True)


def gravity(normals: NDArray) -> NDArray[np.float64]:
    """The unit vector of gravity (3, camera coordinates) to which the normals (... x 3, NaN where unknown) agree best.

    Starts from the camera's y axis.  Normals within a threshold of the estimate, up or down, are taken for
    floors and ceilings, those within it of 90 degrees for walls; the next estimate is the g with the least
    sum of sin^2(n, g) over the first and cos^2(n, g) over the second: an eigenvector.  Two rounds, with 45
    and with 15 degrees.  Right for cameras tilted by less than 45 degrees.  Raises DataError without normals.
    """
    known = normals[np.isfinite(normals).all(axis=-1)]
    if not len(known):
        raise DataError("no surface normal is known, so gravity is not", expected="some depth",
                        help="leave out pictures without depth")
    down = np.array([0.0, 1.0, 0.0])
    for degrees in ROUNDS:
        level, upright = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        for _ in range(ITERATIONS):
            cosine = np.abs(known @ down)
            sign = (cosine < upright).astype(np.float64) - (cosine > level)
            # Ours: a small vote for the estimate so far. What was best stays so, but where the normals do not
            # tell, as with a single wall, the estimate does not wander off.
            votes = known.T @ (known * sign[:, None]) - INERTIA * len(known) * np.outer(down, down)
            axis = np.linalg.eigh(votes)[1][:, 0]
            down = axis if axis @ down > 0 else -axis
    return down


def hha(depth_m: NDArray, camera: Camera = NYU_CAMERA, measured: NDArray | None = None) -> NDArray[np.uint8]:
    """The HHA picture of a depth picture: H x W x 3 uint8, in the order of the published PNG files.

    `depth_m` is H x W float, in metres, 0 or NaN where unknown; `measured` (H x W bool), for depth that has
    been filled in before, says which pixels the sensor saw: normals come from these alone.  The channels,
    rounded and clipped to 0..255:

    0. disparity: 31000 / max(depth, 100), depth in centimetres: 255 up to 1.2 m, 31 at 10 m;
    1. height in centimetres above the lowest point, or, where that is less than 90 below the camera, so that
       the floor is out of sight, above a floor that is taken to be 130 below the camera;
    2. angle of the normal (of the side away from the camera) to gravity in degrees, plus 38: floors and
       table tops 38, walls 128, ceilings 218.

    Pixels of unknown depth take the depth of the nearest known one. Pixels without a normal, far from known
    ones, have 218 as angle: so have the published files, with which the published nets were trained.  Raises
    DataError when `depth_m` is not H x W float or has no known pixel.
    """
    known = _known(depth_m)
    if not known.any():
        raise DataError("this picture has no depth", expected="some pixels above 0",
                        help="leave out pictures without depth")
    nearest = distance_transform_edt(~known, return_distances=False, return_indices=True)
    depth = depth_m[tuple(nearest)]
    seen = depth_m if measured is None else np.where(measured, depth_m, 0.0)
    down = gravity(normals(seen, camera, GRAVITY_RADIUS))
    cosine = np.nan_to_num(normals(seen, camera, RADIUS) @ down, nan=-1.0)
    x, y = camera.rays(depth.shape)
    height = -100 * depth * (x * down[0] + y * down[1] + down[2])
    lowest = height.min()
    channels = np.stack([
        31000 / np.maximum(100 * depth, 100),
        height - (lowest if lowest <= -90 else -130),
        np.degrees(np.arccos(np.clip(cosine, -1, 1))) + 128 - 90,
    ], axis=-1)
    return np.clip(np.rint(channels), 0, 255).astype(np.uint8)


def _known(depth_m: NDArray) -> NDArray[np.bool_]:
    """Where there is depth.  Raises DataError unless it is an H x W picture of floats."""
    if depth_m.ndim != 2 or depth_m.dtype.kind != "f":
        raise DataError("depth is one number per pixel, in metres", found=f"{depth_m.dtype} {depth_m.shape}",
                        expected="float H x W", help="divide integer millimetres by 1000.0")
    return np.isfinite(depth_m) & (depth_m > 0)
