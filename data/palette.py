"""The PASCAL VOC colour palette, palette PNG files, and pictures of labels.

Labels are kept as class *indices*; the colours exist only in the palette of the PNG.  A label file written
without a palette looks black in every viewer, and one written as colours cannot be trained on: both are
avoided by writing through `write_indexed_png` alone.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data.errors import DataError


def voc_palette() -> NDArray[np.uint8]:
    """The 256 colours of VOC, as uint8 of shape (256, 3), RGB.

    Bit 3k, 3k+1, 3k+2 of the class index is bit 7-k of red, green, blue, so that neighbouring indices get far
    apart colours: 0 is black, 1 (128, 0, 0), 15 (192, 128, 128), 255 (224, 224, 192).
    """
    index = np.arange(256)
    colours = np.zeros((256, 3), dtype=np.uint8)
    for channel in range(3):
        for k in range(3):
            bit = (index >> (3 * k + channel)) & 1
            colours[:, channel] |= (bit << (7 - k)).astype(np.uint8)
    return colours


def _as_indices(labels: NDArray) -> NDArray[np.uint8]:
    """`labels` as uint8 HxW; DataError when it is not a picture of whole numbers 0..255."""
    labels = np.asarray(labels)
    if labels.ndim == 3 and labels.shape[0] == 1:
        labels = labels[0]
    if labels.ndim != 2:
        raise DataError(
            "labels are not one index per pixel",
            found=f"shape {labels.shape}",
            expected="H x W or 1 x H x W",
            help="take the argmax over the classes of a score map first",
        )
    indices = labels.astype(np.uint8)
    if not np.array_equal(indices, labels):
        raise DataError(
            "labels are not whole numbers in 0..255",
            found=f"{labels.dtype} from {labels.min()} to {labels.max()}",
            expected="class indices, 255 for void",
            help="a palette PNG holds at most 256 classes",
        )
    return indices


def write_indexed_png(path: str | os.PathLike, labels: NDArray, palette: NDArray | None = None) -> None:
    """Write `labels` (H x W or 1 x H x W, whole numbers 0..255) as a palette PNG, as VOC's server wants it.

    `palette` is (n, 3) uint8 with n <= 256, VOC's by default; missing entries are black. Raises DataError
    when the labels are not indices.
    """
    image = Image.fromarray(_as_indices(labels))
    colours = np.zeros((256, 3), dtype=np.uint8)
    given = voc_palette() if palette is None else np.asarray(palette, dtype=np.uint8)
    colours[: len(given)] = given
    image.putpalette(colours.ravel().tolist())  # turns mode L into P and leaves the indices as they are
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    image.save(path, format="PNG")


def colorize(labels: NDArray, palette: NDArray | None = None) -> NDArray[np.uint8]:
    """H x W labels as an H x W x 3 RGB picture."""
    colours = voc_palette() if palette is None else np.asarray(palette, dtype=np.uint8)
    indices = _as_indices(labels)
    if indices.size and int(indices.max()) >= len(colours):
        full = np.zeros((256, 3), dtype=np.uint8)
        full[: len(colours)] = colours
        colours = full
    return colours[indices]


def overlay(
    image: NDArray, labels: NDArray, palette: NDArray | None = None, alpha: float = 0.5, ignore: int = 255
) -> NDArray[np.uint8]:
    """`image` (H x W x 3 uint8 RGB) with the label colours laid over it.

    `alpha` is the weight of the colours, 0..1; class 0 and `ignore` leave the image as it is, so that the
    background of a VOC picture stays visible.
    """
    image = np.asarray(image, dtype=np.uint8)
    indices = _as_indices(labels)
    if image.shape != (*indices.shape, 3):
        raise DataError(
            "image and labels do not fit together",
            found=f"image {image.shape}, labels {indices.shape}",
            expected="H x W x 3 and H x W",
            help="bring the prediction to the size of the image first",
        )
    mixed = (1.0 - alpha) * image + alpha * colorize(indices, palette)
    keep = (indices == 0) | (indices == ignore)
    return np.where(keep[:, :, None], image, np.rint(mixed).astype(np.uint8))
