"""Mirroring, scaling, jitter, shift and cropping of an image together with its labels (thesis, section 3.3.11).

Images are C x H x W float32 with the mean subtracted, labels ... x H x W uint8, so what is shifted in from outside
is 0 (the mean) in the image and 255 (void) in the labels: it counts nowhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

VOID = 255


@dataclass(frozen=True)
class Augmentation:
    """What `apply` does, in this order.

    `mirror`: left-right with probability 1/2. `scale`: (low, high), a factor drawn uniformly in its
    logarithm; the image is resampled bilinearly, the labels by the nearest pixel. `jitter`: a translation of
    up to so many pixels each way. `shift`: one right and down by 0 to so many pixels; with the stride of the
    final layer, its cells fall on all patches of the image in turn (section 3.2.4, footnote 3). `crop`:
    (height, width) of a window, placed at random or, with `centre`, in the middle.
    """

    mirror: bool = False
    scale: tuple[float, float] | None = None
    jitter: int = 0
    shift: int = 0
    crop: tuple[int, int] | None = None
    centre: bool = False

    def apply(
        self, image: NDArray[np.float32], label: NDArray[np.uint8], draw: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """The changed pair; all random numbers come from `draw`."""
        if self.mirror and draw.integers(2):
            image, label = image[..., ::-1], label[..., ::-1]
        if self.scale is not None:
            low, high = np.log(self.scale)
            image, label = rescale(image, label, float(np.exp(draw.uniform(low, high))))
        height, width = label.shape[-2:]
        if self.jitter:
            down, right = (int(n) for n in draw.integers(-self.jitter, self.jitter + 1, size=2))
            image, label = window(image, label, down, right, height, width)
        if self.shift:
            down, right = (int(n) for n in draw.integers(self.shift + 1, size=2))
            image, label = window(image, label, -down, -right, height, width)
        if self.crop is not None:
            image, label = window(image, label, *self._corner(height, width, draw), *self.crop)
        return image, label

    def _corner(self, height: int, width: int, draw: np.random.Generator) -> tuple[int, int]:
        """The top left of the crop: anywhere inside, or anywhere around an image smaller than the crop."""
        assert self.crop is not None
        spare = (height - self.crop[0], width - self.crop[1])
        if self.centre:
            return spare[0] // 2, spare[1] // 2
        top, left = (int(draw.integers(min(0, n), max(0, n) + 1)) for n in spare)
        return top, left


def window(
    image: NDArray[np.float32], label: NDArray[np.uint8], top: int, left: int, height: int, width: int
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """The `height` x `width` window whose corner is at (top, left); outside the picture it is 0 and void."""
    out_image = np.zeros((image.shape[0], height, width), np.float32)
    out_label = np.full((*label.shape[:-2], height, width), VOID, np.uint8)
    y0, y1 = max(top, 0), min(top + height, label.shape[-2])
    x0, x1 = max(left, 0), min(left + width, label.shape[-1])
    if y0 < y1 and x0 < x1:
        to = (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
        out_image[(slice(None), *to)] = image[:, y0:y1, x0:x1]
        out_label[(..., *to)] = label[..., y0:y1, x0:x1]
    return out_image, out_label


def rescale(
    image: NDArray[np.float32], label: NDArray[np.uint8], factor: float
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Both resized by `factor`, at least one pixel each way."""
    height, width = (max(1, round(n * factor)) for n in label.shape[-2:])
    def resized(planes: NDArray, how: Image.Resampling) -> NDArray:
        out = np.empty((*planes.shape[:-2], height, width), planes.dtype)
        for index in np.ndindex(planes.shape[:-2]):
            plane = Image.fromarray(np.ascontiguousarray(planes[index]))
            out[index] = np.asarray(plane.resize((width, height), how))
        return out

    return resized(image, Image.Resampling.BILINEAR), resized(label, Image.Resampling.NEAREST)
