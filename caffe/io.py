"""pycaffe's `caffe.io`: images in and out of nets, and arrays in and out of protobuf messages.

Pillow, NumPy and SciPy do the work.  Images are H x W x K arrays of float32 in [0, 1], RGB, as pycaffe's are.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .data.images import decode_image, opened, read_bytes
from .errors import DataError, ShapeError, WeightsError
from .proto import blobs, caffe_pb2


class ArrayShapeError(ShapeError, ValueError):
    """An array has the wrong shape.  (A ValueError too, which pycaffe programs catch.)"""


# Arrays and messages


def blobproto_to_array(blob: Any, return_diff: bool = False) -> np.ndarray:
    """The values (or with `return_diff` the gradient) of a `BlobProto`, in its shape, as float32.

    One value without a shape is an array without axes.  Raises `ArrayShapeError` when number and shape
    differ.
    """
    try:
        return blobs.blob_array(blob, diff=return_diff).copy()
    except WeightsError as problem:
        raise ArrayShapeError(problem.message, found=problem.found, expected=problem.expected,
                              help="set blob.shape.dim to the sizes of the array") from None


def array_to_blobproto(arr: np.ndarray, diff: np.ndarray | None = None) -> Any:
    """A `BlobProto` with the array's shape and values, and optionally a gradient of the same shape."""
    return blobs.array_blob(np.asarray(arr), None if diff is None else np.asarray(diff), fast=False)


def arraylist_to_blobprotovector_str(arraylist: Sequence[np.ndarray]) -> bytes:
    """Several arrays as one serialized `BlobProtoVector`."""
    return caffe_pb2.BlobProtoVector(blobs=[array_to_blobproto(arr) for arr in arraylist]).SerializeToString()


def blobprotovector_str_to_arraylist(str: bytes) -> list[np.ndarray]:
    """The arrays in a serialized `BlobProtoVector`."""
    return [blobproto_to_array(blob) for blob in caffe_pb2.BlobProtoVector.FromString(str).blobs]


def array_to_datum(arr: np.ndarray, label: int | None = None) -> Any:
    """A `Datum` of a channels x height x width array: bytes when it is uint8, else floats.

    Raises `ArrayShapeError` for other than three axes.
    """
    if arr.ndim != 3:
        raise ArrayShapeError("a Datum holds three axes", found=f"shape {arr.shape}",
                              expected="(channels, height, width)", help="add or squeeze axes")
    datum = caffe_pb2.Datum(channels=arr.shape[0], height=arr.shape[1], width=arr.shape[2])
    if arr.dtype == np.uint8:
        datum.data = arr.tobytes()
    else:
        datum.float_data.extend(arr.astype(float).ravel())
    if label is not None:
        datum.label = label
    return datum


def datum_to_array(datum: Any) -> np.ndarray:
    """The channels x height x width array in a `Datum`: uint8, or float64 from float data; its label is
    `datum.label`.

    An encoded image is decoded, to BGR as Caffe keeps it.  Raises `DataError` for a damaged one and
    `ArrayShapeError` when the number of values does not fit.
    """
    if datum.encoded:
        return decode_image(datum.data).transpose(2, 0, 1)[:3].copy()   # without transparency
    shape = (datum.channels, datum.height, datum.width)
    values = np.frombuffer(datum.data, np.uint8).copy() if datum.data else np.array(datum.float_data, float)
    if values.size != math.prod(shape):
        raise ArrayShapeError("a Datum's values do not fit its shape", found=f"{values.size} values",
                              expected=f"shape {shape}")
    return values.reshape(shape)


# Images


def load_image(filename: str | os.PathLike[str], color: bool = True) -> np.ndarray:
    """Read an image file as float32 in [0, 1]: H x W x 3 in RGB, or H x W x 1 when `color` is False.

    Grayscale is repeated to three channels, transparency dropped.  Raises `DataError` naming the file.
    """
    with opened(read_bytes(filename), filename) as image:
        return _to_unit(image, color)


def _to_unit(image: Any, color: bool) -> np.ndarray:
    if image.mode.startswith("I"):  # 16-bit gray: Pillow's own conversion to 8 bits clips it
        gray = np.asarray(image, np.float32)[:, :, np.newaxis] / np.float32(65535)
        return np.repeat(gray, 3, axis=2) if color else gray
    if image.mode == "F":
        gray = np.asarray(image, np.float32)[:, :, np.newaxis]
        return np.repeat(gray, 3, axis=2) if color else gray
    if image.mode in ("L", "1", "LA") and not color:
        return (np.asarray(image.convert("L"), np.float32) / 255)[:, :, np.newaxis]
    # A palette with transparency goes through RGBA: Pillow warns about the direct way.
    opaque = image.convert("RGBA") if image.mode in ("P", "PA") else image
    unit = np.asarray(opaque.convert("RGB"), np.float32) / 255
    if color:
        return unit
    # The luminance that pycaffe's reader uses (ITU-R BT.709), not Pillow's BT.601.
    return (unit @ np.array([0.2125, 0.7154, 0.0721], np.float32))[:, :, np.newaxis]


def resize_image(im: np.ndarray, new_dims: Sequence[int], interp_order: int = 1) -> np.ndarray:
    """Resize an H x W x K array to (height, width) `new_dims` by spline interpolation; float32.

    Images of 1 or 3 channels are sampled at pixel centres (edges included), with zeros beyond the border
    mixed in as pycaffe does; others on a grid whose corners are the corner pixels.  `interp_order` 0 is
    nearest, 1 linear, up to 5.
    """
    from scipy import ndimage

    im = np.asarray(im)
    if im.ndim != 3 or len(new_dims) != 2:
        raise ArrayShapeError("an image to resize has three axes", found=f"shape {im.shape}",
                              expected="(height, width, channels)",
                              help="add a channel axis: im[:, :, np.newaxis]")
    height, width = (int(n) for n in new_dims)
    if im.shape[2] not in (1, 3):
        zoom = (height / im.shape[0], width / im.shape[1], 1)
        return ndimage.zoom(im, zoom, order=interp_order).astype(np.float32)
    low, high = im.min(), im.max()
    if low == high:
        return np.full((height, width, im.shape[2]), low, np.float32)
    rows = (np.arange(height) + 0.5) * im.shape[0] / height - 0.5
    columns = (np.arange(width) + 0.5) * im.shape[1] / width - 0.5
    grid = np.meshgrid(rows, columns, indexing="ij")
    # Relative to the minimum, so that "beyond the border" is the darkest value, as it is in pycaffe.
    above = im.astype(np.float64) - low
    planes = [
        ndimage.map_coordinates(above[:, :, k], grid, order=interp_order, mode="grid-constant")
        for k in range(im.shape[2])
    ]
    return (np.stack(planes, axis=2) + low).astype(np.float32)


def oversample(images: Sequence[np.ndarray], crop_dims: Sequence[int]) -> np.ndarray:
    """The four corners, the centre, and their mirror images, of each H x W x K image: 10 N crops, float32.

    `crop_dims` is (height, width); all images have one size.  Raises `ArrayShapeError` when a crop does not
    fit.
    """
    height, width, channels = images[0].shape
    crop_height, crop_width = (int(n) for n in crop_dims)
    if crop_height > height or crop_width > width:
        raise ArrayShapeError("a crop does not fit in the image", found=f"crop {crop_height} x {crop_width}",
                              expected=f"at most {height} x {width}", help="resize the images first")
    down, right = height - crop_height, width - crop_width
    corners = [(0, 0), (0, right), (down, 0), (down, right), (down // 2, right // 2)]
    crops = np.empty((10 * len(images), crop_height, crop_width, channels), np.float32)
    for i, image in enumerate(images):
        for j, (top, left) in enumerate(corners):
            crops[10 * i + j] = image[top : top + crop_height, left : left + crop_width]
        crops[10 * i + 5 : 10 * i + 10] = crops[10 * i : 10 * i + 5, :, ::-1]
    return crops


class Transformer:
    """Brings images into a net's input form and back, by settings made for each input.

    `inputs` maps the name of each input to its shape (batch, channels, height, width).  `preprocess`
    applies, in this order: resize, transpose, channel swap, raw scale, mean, input scale; a setting that is
    not made is skipped.
    """

    def __init__(self, inputs: Mapping[str, Sequence[int]]) -> None:
        self.inputs = inputs
        self.transpose: dict[str, Sequence[int]] = {}
        self.channel_swap: dict[str, Sequence[int]] = {}
        self.raw_scale: dict[str, float] = {}
        self.mean: dict[str, np.ndarray] = {}
        self.input_scale: dict[str, float] = {}

    def _shape(self, in_: str) -> tuple[int, ...]:
        if in_ not in self.inputs:
            raise DataError(f"there is no input '{in_}'", expected=" or ".join(self.inputs),
                                 help="name one of the net's inputs")
        return tuple(self.inputs[in_])

    def preprocess(self, in_: str, data: np.ndarray) -> np.ndarray:
        """H' x W' x K image -> the array for input `in_` (K x H x W after the usual transpose), float32."""
        dims = self._shape(in_)[2:]
        out = np.array(data, np.float32)  # a copy: the caller's image stays as it is
        if out.shape[:2] != dims:
            out = resize_image(out, dims)
        if in_ in self.transpose:
            out = out.transpose(self.transpose[in_])
        if in_ in self.channel_swap:
            out = out[list(self.channel_swap[in_])]
        if in_ in self.raw_scale:
            out = out * np.float32(self.raw_scale[in_])
        if in_ in self.mean:
            out = out - self.mean[in_].astype(np.float32, copy=False)
        if in_ in self.input_scale:
            out = out * np.float32(self.input_scale[in_])
        return out

    def deprocess(self, in_: str, data: np.ndarray) -> np.ndarray:
        """The image that `preprocess` made `data` from (but for its size); axes of length 1 are dropped
        first."""
        self._shape(in_)
        out = np.array(data, np.result_type(data, np.float32)).squeeze()
        if in_ in self.input_scale:
            out = out / out.dtype.type(self.input_scale[in_])
        if in_ in self.mean:
            out = out + self.mean[in_].astype(out.dtype, copy=False)
        if in_ in self.raw_scale:
            out = out / out.dtype.type(self.raw_scale[in_])
        if in_ in self.channel_swap:
            out = out[np.argsort(self.channel_swap[in_])]
        if in_ in self.transpose:
            out = out.transpose(np.argsort(self.transpose[in_]))
        return out

    def set_transpose(self, in_: str, order: Sequence[int]) -> None:
        """Order of the image's axes in the input: (2, 0, 1) turns H x W x K into K x H x W."""
        self._check_length(in_, order, len(self._shape(in_)) - 1, "axes")
        self.transpose[in_] = order

    def set_channel_swap(self, in_: str, order: Sequence[int]) -> None:
        """Order of the channels, on the first axis after the transpose: (2, 1, 0) turns RGB into BGR."""
        self._check_length(in_, order, self._shape(in_)[1], "channels")
        self.channel_swap[in_] = order

    def set_raw_scale(self, in_: str, scale: float) -> None:
        """Factor before the mean is subtracted: 255 for nets trained on 0..255."""
        self._shape(in_)
        self.raw_scale[in_] = scale

    def set_mean(self, in_: str, mean: np.ndarray) -> None:
        """Mean to subtract: one value for each channel, or an array that is resized to the input.

        Raises `ArrayShapeError` when it fits neither way.
        """
        channels, *dims = self._shape(in_)[1:]
        mean = np.asarray(mean)
        if not 1 <= mean.ndim <= 3:
            raise ArrayShapeError("the mean has a shape that no input has", found=f"shape {mean.shape}",
                                  expected="1, 2 or 3 axes", help="drop the batch axis: mean[0]")
        values = mean.ndim == 1
        mean = mean[:, np.newaxis, np.newaxis] if values else mean[np.newaxis] if mean.ndim == 2 else mean
        if mean.shape[0] != channels and (values or mean.shape[0] != 1):
            raise ArrayShapeError("the mean has another number of channels than the input", found=mean.shape[0],
                                  expected=channels, help="give one value for each channel, or "
                                                          "channels x height x width")
        if not values and mean.shape[1:] != tuple(dims):
            mean = resize_image(mean.transpose(1, 2, 0), dims).transpose(2, 0, 1)
        self.mean[in_] = mean

    def set_input_scale(self, in_: str, scale: float) -> None:
        """Factor after everything else."""
        self._shape(in_)
        self.input_scale[in_] = scale

    def _check_length(self, in_: str, order: Sequence[int], length: int, what: str) -> None:
        if sorted(order) != list(range(length)):
            raise ArrayShapeError(f"the order is no permutation of the {what} of input '{in_}'",
                                  found=tuple(order), expected=f"0 to {length - 1}, each once",
                                  help=f"name each of the {length} {what} once")
