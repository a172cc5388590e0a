"""Pictures of alignments: flows as colours, and keypoints on images."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw

from correspondence.align import Flow


def flow_colours(flow: Flow, height: int, width: int) -> NDArray[np.uint8]:
    """The flow at every pixel: hue for the direction (red to the right, green-yellow down), white for none.

    The longest displacement is of full colour.
    """
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    way = flow.displacement(np.stack([x.ravel(), y.ravel()], axis=1))
    length = np.hypot(*way.T)
    strength = (length / max(length.max(), 1e-9))[:, None]
    turn = np.arctan2(way[:, 1], way[:, 0]) / (2 * np.pi) % 1
    wheel = np.array([colorsys.hsv_to_rgb(k / 256, 1, 1) for k in range(256)])
    colours = 1 - strength * (1 - wheel[(256 * turn).astype(int) % 256])
    return np.asarray(np.rint(255 * colours).reshape(height, width, 3), np.uint8)


def with_keypoints(image: NDArray[np.uint8], points: ArrayLike, colours: Sequence[tuple[int, int, int]] | None = None,
                   radius: float = 4) -> NDArray[np.uint8]:
    """The image with a disk of its own colour, black-rimmed, at each keypoint (N x 2 as (x, y)) that is not NaN."""
    points = np.asarray(points, np.float64).reshape(-1, 2)
    picture = Image.fromarray(image)
    draw = ImageDraw.Draw(picture)
    for number, (x, y) in enumerate(points):
        if not np.isnan([x, y]).any():
            colour = colours[number] if colours else keypoint_colour(number, len(points))
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour, outline="black")
    return np.asarray(picture)


def keypoint_colour(number: int, count: int) -> tuple[int, int, int]:
    """One of `count` hues."""
    red, green, blue = colorsys.hsv_to_rgb(number / max(count, 1), 1, 1)
    return round(255 * red), round(255 * green), round(255 * blue)
