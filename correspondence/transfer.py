"""Keypoints from neighbours: objects in square boxes, aligned, their keypoints carried over and their median taken
(thesis 2.2).

Each object is cut out at its box and resized to a square. The nearest objects by a feature of the whole image (fc7;
`neighbours.nearest`) are aligned with it, and ordered by deformation energy. Of each keypoint the first five that the
order offers are carried along the flow, and the prediction is their median, coordinate by coordinate. Copying takes
those of the nearest five as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from correspondence.align import Flow
from correspondence.errors import DataError

NEIGHBOURS, TOP = 25, 5


@dataclass(frozen=True)
class Square:
    """A box (left, top, right, bottom in pixels, of which the middle of the first is 0) seen as side x side pixels."""

    box: tuple[float, float, float, float]
    side: int

    def cut(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The box's content, side x side x 3; what hangs over the image is its edge's colours."""
        left, top, right, bottom = self.box
        if right <= left or bottom <= top:
            raise DataError("an empty box", found=self.box, expected="left < right and top < bottom")
        height, width = image.shape[:2]
        over = max(0, int(np.ceil(max(-left, -top, right - width + 1, bottom - height + 1))))
        padded = np.pad(image, ((over, over), (over, over), (0, 0)), mode="edge") if over else image
        # the box's edges are middles of pixels; Pillow's are their borders
        edges = left + over, top + over, right + over + 1, bottom + over + 1
        return np.asarray(Image.fromarray(padded).resize((self.side, self.side), Image.Resampling.BICUBIC, edges))

    def into(self, points: ArrayLike) -> NDArray[np.float64]:
        """Points of the image, N x 2 as (x, y), in the square's pixels."""
        return np.asarray((np.asarray(points, np.float64) - self._corner) * self._scale - 0.5)

    def out(self, points: ArrayLike) -> NDArray[np.float64]:
        """Points of the square in the image's pixels."""
        return np.asarray((np.asarray(points, np.float64) + 0.5) / self._scale + self._corner)

    @property
    def _corner(self) -> NDArray[np.float64]:
        return np.array(self.box[:2]) - 0.5

    @property
    def _scale(self) -> NDArray[np.float64]:
        return self.side / np.array([self.box[2] - self.box[0] + 1, self.box[3] - self.box[1] + 1])


def carried(flow: Flow, keypoints: ArrayLike, side: int) -> NDArray[np.float64]:
    """A neighbour's keypoints (K x 2, NaN where there is none) in the object's square, the source of the flow."""
    return flow.backward(keypoints, side, side)


def by_deformation(flows: Sequence[Flow]) -> NDArray[np.int64]:
    """The order from the least deformed on; "we found this method to outperform ordering using the data term"."""
    return np.asarray(np.argsort([flow.deformation for flow in flows], kind="stable"), np.int64)


def median_of_first(points: ArrayLike, top: int = TOP) -> NDArray[np.float64]:
    """For each of neighbours x K x 2 keypoints, best neighbour first, the median by coordinate of the first `top`.

    NaN is skipped; a keypoint that no neighbour has is NaN.
    """
    points = np.asarray(points, np.float64)
    found = np.full(points.shape[1:], np.nan)
    for k in range(points.shape[1]):
        own = points[~np.isnan(points[:, k]).any(axis=1), k][:top]
        if len(own):
            found[k] = np.median(own, axis=0)
    return found


def predict(flows: Sequence[Flow], keypoints: Sequence[ArrayLike], side: int, top: int = TOP) -> NDArray[np.float64]:
    """An object's keypoints, K x 2 in its square, from its neighbours' (K x 2 in theirs) along the flows to them."""
    points = []
    for i in by_deformation(flows):
        points.append(carried(flows[i], keypoints[i], side))
        if (np.sum(~np.isnan(points), axis=0) >= top).all():   # what comes later is not among the first
            break
    return median_of_first(points, top)


def copied(keypoints: Sequence[ArrayLike], top: int = TOP) -> NDArray[np.float64]:
    """The baseline: the nearest neighbours' keypoints (nearest first) at their places in the square."""
    return median_of_first(np.stack([np.asarray(each, np.float64) for each in keypoints]), top)
