"""Dense SIFT descriptors of any radius, upright, at any points of an image.

Lowe, "Distinctive image features from scale-invariant keypoints" (2004), section 6: gradients of 8 orientations
are summed into 4 x 4 cells, with linear interpolation between neighbouring cells and orientations and a Gaussian
window over all; the vector of 128 is scaled to length 1, clipped at 0.2 and scaled again.

A descriptor of radius r has cells of r / 2 pixels, so that its 4 x 4 cells cover the square of 2 r by 2 r pixels
around its point: OpenCV's keypoint size is r / 3, VLFeat's bin size r / 2.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter

from correspondence.errors import DataError

CELLS, ORIENTATIONS = 4, 8
CLIP = 0.2
CAMERA_BLUR = 0.5   # what an image is taken to have been smoothed by already, as in Lowe's section 3.3


def dense_sift(
    image: ArrayLike, points: ArrayLike, radius: float, smoothing: float | None = None
) -> NDArray[np.float32]:
    """Descriptors (N x 128, of length 1, or 0 where the image is flat) of an image at N points.

    `image`: H x W gray or H x W x 3 RGB, in any range of values.  `points`: N x 2 as (x, y) in pixels, rounded to
    whole ones; (0, 0) is the middle of the first pixel.  Points may lie anywhere: beyond the image there is no
    gradient.  `smoothing`: the Gaussian scale in pixels at which gradients are taken; by default radius / 6, at which
    Lowe's detector gives a keypoint this radius (a cell is three scales wide).  A smoothing below 0.5 does nothing.

    The numbers are in OpenCV's order: cell row, cell column, orientation.  Raises DataError for another shape, or a
    radius that is not above 0.
    """
    at = np.rint(np.asarray(points, np.float64)).astype(np.int64)
    if at.ndim != 2 or at.shape[1] != 2:
        raise DataError("points are not pairs", found=at.shape, expected="N x 2, as (x, y)")
    if not radius > 0:
        raise DataError("a descriptor needs a radius", found=radius, expected="pixels, above 0")
    maps = orientation_maps(image, radius / 6 if smoothing is None else smoothing)
    kernels = cell_kernels(radius)
    return normalised(_sums(maps, kernels, at))


def gray(image: ArrayLike) -> NDArray[np.float32]:
    """An image as H x W float32; of RGB the luma of ITU-R BT.601, as OpenCV computes it.  Raises DataError."""
    values = np.asarray(image, np.float32)
    if values.ndim == 3 and values.shape[2] == 3:
        values = values @ np.array([0.299, 0.587, 0.114], np.float32)
    if values.ndim != 2 or min(values.shape) < 3:
        raise DataError("no image to describe", found=values.shape,
                        expected="H x W or H x W x 3, of 3 x 3 pixels or more")
    return values


def orientation_maps(image: ArrayLike, smoothing: float) -> NDArray[np.float32]:
    """Gradient magnitudes by orientation, 8 x H x W: each gradient is shared between its two nearest orientations.

    Orientation k points k * 45 degrees counter-clockwise from the x axis, y upwards.  The border has no gradient.
    """
    values = gray(image)
    if smoothing > CAMERA_BLUR:
        values = gaussian_filter(values, float(np.sqrt(smoothing**2 - CAMERA_BLUR**2)), mode="mirror")
    dx, dy = np.zeros_like(values), np.zeros_like(values)
    dx[1:-1, 1:-1] = values[1:-1, 2:] - values[1:-1, :-2]
    dy[1:-1, 1:-1] = values[:-2, 1:-1] - values[2:, 1:-1]
    magnitude = np.hypot(dx, dy)
    place = np.arctan2(dy, dx) * np.float32(ORIENTATIONS / (2 * np.pi)) % ORIENTATIONS
    below = np.floor(place)
    share = magnitude * (place - below)
    index = below.astype(np.int64) % ORIENTATIONS
    maps = np.zeros((ORIENTATIONS, *values.shape), np.float32)
    np.put_along_axis(maps, index[None], (magnitude - share)[None], axis=0)
    np.put_along_axis(maps, (index[None] + 1) % ORIENTATIONS, share[None], axis=0)
    return maps


def cell_kernels(radius: float) -> NDArray[np.float32]:
    """The weight of each pixel in each of the four cells along an axis, 4 x (2 R + 1) for offsets -R..R.

    The window is separable: a triangle around the cell's middle times a Gaussian of two cells around the point.
    """
    reach = int(np.floor(radius / 2 * 2.5))
    offsets = np.arange(-reach, reach + 1) / (radius / 2)   # in cells
    middles = np.arange(CELLS) - (CELLS - 1) / 2
    triangles = np.maximum(0, 1 - np.abs(offsets - middles[:, None]))
    return np.asarray(triangles * np.exp(-(offsets**2) / (CELLS**2 / 2)), np.float32)


def normalised(raw: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows scaled to length 1, clipped at 0.2 and scaled again, against changes of contrast and single strong edges."""
    length = np.linalg.norm(raw, axis=1, keepdims=True)
    clipped = np.minimum(raw, CLIP * length)
    length = np.linalg.norm(clipped, axis=1, keepdims=True)
    return np.asarray(clipped / np.maximum(length, np.finfo(np.float32).tiny), np.float32)


def _sums(maps: NDArray[np.float32], kernels: NDArray[np.float32], at: NDArray[np.int64]) -> NDArray[np.float32]:
    """The 4 x 4 x 8 weighted sums around each point.

    Points are taken column by column, since all that share one share the sums along x; both sums are matrix products.
    """
    _, height, width = maps.shape
    reach = kernels.shape[1] // 2
    raw = np.zeros((len(at), CELLS, CELLS, ORIENTATIONS), np.float32)
    seen = ((at >= -reach) & (at < (width + reach, height + reach))).all(axis=1)
    order = np.flatnonzero(seen)[np.argsort(at[seen, 0], kind="stable")]
    columns, starts = np.unique(at[order, 0], return_index=True)
    rows, row_of = np.unique(at[order, 1], return_inverse=True)
    along_x, along_y = _placed(kernels, columns, width), _placed(kernels, rows, height)
    groups = zip(columns, along_x, np.split(order, starts[1:]), np.split(row_of, starts[1:]), strict=True)
    for x, weights, group, lines in groups:
        near = slice(max(x - reach, 0), x + reach + 1)
        strip = weights[:, near] @ maps[:, :, near].transpose(0, 2, 1)   # orientation, cell column, y
        sums = strip.reshape(ORIENTATIONS * CELLS, height) @ along_y[lines].reshape(-1, height).T
        raw[group] = sums.reshape(ORIENTATIONS, CELLS, len(group), CELLS).transpose(2, 3, 1, 0)
    return raw.reshape(len(at), -1)


def _placed(kernels: NDArray[np.float32], places: NDArray[np.int64], size: int) -> NDArray[np.float32]:
    """The kernels around each place, as weights of `size` pixels: places x 4 x size."""
    reach = kernels.shape[1] // 2
    offsets = np.clip(np.arange(size) - places[:, None], -reach - 1, reach + 1) + reach + 1
    return np.ascontiguousarray(np.pad(kernels, ((0, 0), (1, 1))).T[offsets].transpose(0, 2, 1))
