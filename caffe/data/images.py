"""Images as Caffe's data layers see them: height x width x channels, uint8, BGR, what OpenCV would give."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError

_ONE = 1 << 11  # OpenCV interpolates bytes with weights of 11 bits


def read_image(path: str | os.PathLike[str], color: bool = True, size: tuple[int, int] | None = None) -> np.ndarray:
    """The image file as height x width x 3 (BGR) or, without `color`, x 1; resized to `size` (height, width).

    Raises DataError naming the file when it is missing or holds no readable image.
    """
    image = decode_image(read_bytes(path), color, file=path)
    return image if size is None else resize_linear(image, *size)


@contextmanager
def opened(data: bytes, file: str | os.PathLike[str] | None = None) -> Iterator[Any]:
    """Pillow's image of an image file's bytes; whatever goes wrong in the body becomes a DataError naming `file`."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as image:
            most = Image.MAX_IMAGE_PIXELS
            if most is not None and image.width * image.height > most:
                raise DataError("claims too many pixels", found=f"{image.width} x {image.height}",
                                expected=f"at most {most}", help="if it is yours, raise PIL.Image.MAX_IMAGE_PIXELS")
            yield image
    except DataError as problem:
        problem.file = None if file is None else str(file)
        raise
    # Pillow's readers raise whatever they stumble over in damaged bytes: SyntaxError, struct.error, KeyError...
    except Exception as problem:
        reason = str(problem).partition(" <_io")[0]   # not Pillow's address of our bytes
        raise DataError(f"cannot be read, holds no readable image: {reason}", file=file, found=f"{len(data)} bytes",
                        help="open it in a viewer; it may be cut short, or no image") from problem


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """The content of an image file. Raises DataError naming it."""
    try:
        return Path(path).read_bytes()
    except OSError as problem:
        reason = "it is not there" if isinstance(problem, FileNotFoundError) else problem.strerror
        raise DataError(f"image cannot be read: {reason}", file=path,
                        help="check the path and root_folder; relative ones start at the current folder") from problem
    except ValueError as problem:  # a path with a null character
        raise DataError("this is no path of an image", file=repr(path), help="correct the list") from problem


def decode_image(data: bytes, color: bool | None = None, file: str | os.PathLike[str] | None = None) -> np.ndarray:
    """The image in the bytes of an image file (JPEG, PNG, ...), height x width x channels uint8 in BGR.

    `color` True gives 3 channels and False 1 (the luminance: 0.299 R + 0.587 G + 0.114 B); None leaves it to
    the image: 1 for gray, 3 for colour, 4 (BGRA) where it has transparency. Transparency is otherwise
    dropped, an EXIF orientation not applied. Raises DataError for anything unreadable or cut short.
    """
    with opened(data, file) as image:
        return _pixels(image, color)


def _pixels(image: Any, color: bool | None) -> np.ndarray:
    if color is False and image.format == "JPEG":
        image.draft("L", None)  # the luminance as it is stored, without the way through RGB
    if image.mode.startswith("I"):  # 16-bit gray
        if color is None:
            raise DataError("holds an image of 16 bits", found=f"mode {image.mode}", expected="8 bits per channel",
                            help="convert it, or set force_color or force_gray: true")
        high = (np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)[:, :, np.newaxis]
        return np.repeat(high, 3, axis=2) if color else high
    transparent = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
    if image.mode in ("1", "L") and not transparent:
        gray = np.array(image.convert("L"))[:, :, np.newaxis]
        return np.repeat(gray, 3, axis=2) if color else gray
    if transparent:
        rgba = np.asarray(image.convert("RGBA"))
        rgb = rgba[:, :, :3]
        if color is None:
            return np.ascontiguousarray(rgba[:, :, [2, 1, 0, 3]])
    else:
        rgb = np.asarray(image.convert("RGB"))
    if color is False:
        weighted = rgb.astype(np.int32) @ np.array([4899, 9617, 1868], np.int32)
        return ((weighted + (1 << 13)) >> 14).astype(np.uint8)[:, :, np.newaxis]
    return np.ascontiguousarray(rgb[:, :, ::-1])


def resize_linear(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize height x width x channels uint8 bilinearly, as OpenCV's INTER_LINEAR: no smoothing when shrinking.

    Samples lie at pixel centres, beyond the border the border pixel counts. (Pillow's BILINEAR averages when
    it shrinks: another image, and other scores of a trained net.)
    """
    if image.shape[:2] == (height, width):
        return image
    top, bottom, down = _neighbours(image.shape[0], height)
    left, right, across = _neighbours(image.shape[1], width)
    across, down = across[:, np.newaxis], down[:, np.newaxis, np.newaxis]
    rows = np.unique(np.concatenate([top, bottom]))  # of the others nothing is needed
    source = image[rows].astype(np.int32)
    # the order of multiplications and shifts is OpenCV's: no more than single pixels are off, by one
    wide = (source[:, left] * (_ONE - across) + source[:, right] * across) >> 4
    upper, lower = wide[np.searchsorted(rows, top)], wide[np.searchsorted(rows, bottom)]
    result = ((upper * (_ONE - down) >> 16) + (lower * down >> 16) + 2) >> 2
    return result.astype(np.uint8)


def _neighbours(size: int, new_size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each new pixel the two old ones between which it lies, and the weight (of 2048) of the second."""
    at = ((np.arange(new_size) + 0.5) * (size / new_size) - 0.5).astype(np.float32)
    first = np.floor(at).astype(np.int64)
    weight = at - first
    weight[(first < 0) | (first >= size - 1)] = 0
    first = first.clip(0, size - 1)
    return first, np.minimum(first + 1, size - 1), np.rint(weight * _ONE).astype(np.int32)
