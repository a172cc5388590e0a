"""pycaffe's `Classifier`: a net that takes images of any size and gives class probabilities."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from . import TEST, io
from .errors import CaffeError, DataError, NetError, ShapeError
from .net import Net
from .proto.blobs import read_blob


class Classifier(Net):
    """A net in phase TEST whose first input is a batch of images, and what brings images into that form.

    `image_dims` (height, width) is the size to which images are resized before they are cropped to the net's input
    (by default that input's size). `mean`, `raw_scale`, `channel_swap` and `input_scale` are `io.Transformer`'s:
    K values or K x H x W; 255 for nets trained on 0..255; (2, 1, 0) for nets trained on BGR; a factor at the end.
    Raises what `Net` and `Transformer` raise.
    """

    def __init__(self, model_file: str | os.PathLike[str], pretrained_file: str | os.PathLike[str],
                 image_dims: Sequence[int] | None = None, mean: np.ndarray | None = None,
                 input_scale: float | None = None, raw_scale: float | None = None,
                 channel_swap: Sequence[int] | None = None) -> None:
        super().__init__(model_file, TEST, weights=pretrained_file)
        self.transformer = image_transformer(self, mean, input_scale, raw_scale, channel_swap)
        self.crop_dims = np.array(self.blobs[self.inputs[0]].shape[2:])
        self.image_dims = self.crop_dims if image_dims is None or not len(image_dims) else np.array(image_dims)
        if self.image_dims.shape != (2,) or (self.image_dims < self.crop_dims).any():
            raise ShapeError("image_dims (height, width) must hold the net's input", file=self.file,
                             found=tuple(self.image_dims.tolist()),
                             expected=f"at least {tuple(self.crop_dims.tolist())}", help="leave it out, or enlarge it")

    def predict(self, inputs: Sequence[np.ndarray], oversample: bool = True) -> np.ndarray:
        """The net's first output for each of N images (H x W x K, of any sizes; see `io.load_image`).

        With `oversample` the mean over the four corners, the centre and their mirror images, N x C; without it that
        of the centre, N x whatever shape the output has. Raises DataError for no images, ShapeError for wrong ones.
        """
        images = check_images(inputs, self)
        resized = np.stack([io.resize_image(image, self.image_dims.tolist()) for image in images])
        if oversample:
            crops = io.oversample(list(resized), self.crop_dims.tolist())
        else:
            # halves are cut off as in pycaffe: the crop of odd differences lies one pixel up and left
            top, left = ((self.image_dims - self.crop_dims) / 2.0).astype(int)
            height, width = self.crop_dims
            crops = resized[:, top:top + height, left:left + width]
        name = self.inputs[0]
        batch = np.stack([self.transformer.preprocess(name, crop) for crop in crops])
        predictions = self.forward_all(None, **{name: batch})[self.outputs[0]]
        return predictions.reshape(len(images), 10, -1).mean(1) if oversample else predictions


def image_transformer(net: Net, mean: np.ndarray | None, input_scale: float | None, raw_scale: float | None,
                      channel_swap: Sequence[int] | None) -> io.Transformer:
    """The Transformer of a net's first input, with the settings that are not None. Raises NetError, ShapeError."""
    if not net.inputs or len(net.blobs[net.inputs[0]].shape) != 4:
        raise NetError("the net takes no images", file=net.file,
                       found=f"inputs {', '.join(net.inputs) or '(none)'}",
                       expected="an input of num x channels x height x width", help="give the deploy prototxt")
    name = net.inputs[0]
    transformer = io.Transformer({name: net.blobs[name].shape})
    transformer.set_transpose(name, (2, 0, 1))
    if mean is not None:
        transformer.set_mean(name, mean)
    if input_scale is not None:
        transformer.set_input_scale(name, input_scale)
    if raw_scale is not None:
        transformer.set_raw_scale(name, raw_scale)
    if channel_swap is not None:
        transformer.set_channel_swap(name, channel_swap)
    return transformer


def check_images(images: Sequence[np.ndarray], net: Net) -> list[np.ndarray]:
    """The images as arrays. Raises DataError for none, ShapeError for one that is not H x W x the net's channels."""
    channels = net.blobs[net.inputs[0]].shape[1]
    arrays = [np.asarray(image) for image in images]
    if not arrays:
        raise DataError("there are no images", help="give at least one")
    for i, array in enumerate(arrays):
        if array.ndim != 3 or array.shape[2] != channels or not array.size:
            raise ShapeError(f"image {i} does not fit the net", file=net.file, found=f"shape {array.shape}",
                             expected=f"(height, width, {channels})",
                             help="caffe.io.load_image reads 3 channels, with color=False one")
    return arrays


def load_mean(path: str | os.PathLike[str]) -> np.ndarray:
    """A mean image or mean values from .npy, or from the binaryproto that compute_image_mean writes.

    K x H x W, or K values. Raises DataError naming the file.
    """
    try:
        mean = np.load(path, allow_pickle=False) if Path(path).suffix == ".npy" else read_blob(path)
    except (OSError, ValueError, EOFError, CaffeError) as problem:
        raise DataError(f"no mean can be read: {problem}", file=path,
                        help="give a .npy file, or what compute_image_mean wrote") from problem
    return mean[0] if mean.ndim == 4 and len(mean) == 1 else mean
