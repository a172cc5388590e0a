"""pycaffe's `Detector`: a classifier for windows of images, with context around them as in R-CNN."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from . import TEST, io
from .classifier import check_images, image_transformer
from .errors import DataError, ShapeError
from .net import Net


class Detector(Net):
    """A net in phase TEST that scores windows of images.

    `mean`, `input_scale`, `raw_scale` and `channel_swap` are `io.Transformer`'s. `context_pad` is the width of the
    border of the net's input, in pixels, that shows what surrounds the window (Girshick et al. 2014); beyond the
    image's own border it is filled with the mean. Raises what `Net` and `Transformer` raise, and ShapeError for a
    `context_pad` that leaves nothing of the window.
    """

    def __init__(self, model_file: str | os.PathLike[str], pretrained_file: str | os.PathLike[str],
                 mean: np.ndarray | None = None, input_scale: float | None = None, raw_scale: float | None = None,
                 channel_swap: Sequence[int] | None = None, context_pad: int | None = None) -> None:
        super().__init__(model_file, TEST, weights=pretrained_file)
        self.transformer = image_transformer(self, mean, input_scale, raw_scale, channel_swap)
        self.configure_crop(context_pad)

    def configure_crop(self, context_pad: int | None) -> None:
        """Set the context border, and `crop_mean`: the mean as it is before the Transformer, height x width x K."""
        name = self.inputs[0]
        channels, height, width = self.blobs[name].shape[1:]
        self.crop_dims = np.array([height, width, channels])
        self.context_pad = context_pad or 0
        if not 0 <= 2 * self.context_pad < min(height, width):
            raise ShapeError("context_pad leaves nothing of the window", file=self.file, found=self.context_pad,
                             expected=f"0 to {(min(height, width) - 1) // 2}", help="lower it")
        mean = self.transformer.mean.get(name)
        if mean is None:
            self.crop_mean = np.zeros(self.crop_dims, np.float32)
            return
        crop_mean = np.asarray(mean, np.float32).transpose(1, 2, 0)
        swap = self.transformer.channel_swap.get(name)
        if swap is not None and crop_mean.shape[2] == channels:
            crop_mean = crop_mean[:, :, np.argsort(swap)]
        raw_scale = self.transformer.raw_scale.get(name)
        self.crop_mean = crop_mean if raw_scale is None else crop_mean / np.float32(raw_scale)

    def detect_windows(self, images_windows: Iterable[tuple[str, Sequence[Sequence[int]]]]) -> list[dict[str, Any]]:
        """Score windows (ymin, xmin, ymax, xmax) of image files, in order.

        `images_windows` gives (file, windows) pairs. Returns a {"filename", "window", "prediction"} for each window;
        the prediction is the net's first output for it. Raises DataError for images or windows that cannot be used.
        """
        pairs = [(filename, list(windows)) for filename, windows in images_windows]
        crops = []
        for filename, windows in pairs:
            image = io.load_image(filename, color=bool(self.crop_dims[2] != 1))
            for window in windows:
                try:
                    crops.append(self.crop(image, window))
                except DataError as problem:
                    problem.file = str(filename)
                    raise
        check_images(crops, self)
        name = self.inputs[0]
        batch = np.stack([self.transformer.preprocess(name, crop) for crop in crops])
        predictions = iter(self.forward_all(None, **{name: batch})[self.outputs[0]])
        return [{"window": window, "prediction": next(predictions), "filename": filename}
                for filename, windows in pairs for window in windows]

    def detect_selective_search(self, image_fnames: Iterable[str]) -> list[dict[str, Any]]:
        """`detect_windows` on the proposals of the package selective_search_ijcv_with_python (it needs MATLAB).

        Raises DataError when that package is not installed.
        """
        try:
            search = importlib.import_module("selective_search_ijcv_with_python")
        except ImportError as problem:
            raise DataError("proposals need the package selective_search_ijcv_with_python",
                            help="give the windows: detect_windows, or `caffe detect -crop_mode list`") from problem
        names = [os.path.abspath(name) for name in image_fnames]
        return self.detect_windows(zip(names, search.get_windows(names, cmd="selective_search_rcnn"), strict=True))

    def crop(self, im: np.ndarray, window: Sequence[int]) -> np.ndarray:
        """A window (ymin, xmin, ymax, xmax) of an H x W x K image; with `context_pad`, what is around it as well.

        Without context it has the window's size, with context the net's input size. Raises DataError for a window
        with nothing of the image in it.
        """
        box = np.asarray(window, float)
        if box.shape != (4,) or not np.isfinite(box).all():
            raise DataError("this is no window", found=str(window), expected="(ymin, xmin, ymax, xmax)",
                            help="correct the list of windows")
        ymin, xmin, ymax, xmax = box.astype(int)
        if not self.context_pad:
            crop = im[max(ymin, 0):max(ymax, 0), max(xmin, 0):max(xmax, 0)]
            if not crop.size:
                raise _outside(window, im)
            return crop
        size = self.crop_dims[:2]
        # the window grows about its centre, so that it fills all but the border of the net's input
        half = (box[2:] - box[:2] + 1) / 2
        grow = half * (size / (size - 2 * self.context_pad))
        centre = box[:2] + half
        low, high = np.round(centre - grow), np.round(centre + grow)
        scale = size / (high - low + 1)
        pad = np.round(np.maximum(0, -low) * scale).astype(int)   # pixels of the input beyond the image
        low, high = (np.clip(corner, 0, im.shape[:2]).astype(int) for corner in (low, high))
        if (high <= low).any() or (pad >= size).any():
            raise _outside(window, im)
        inside = np.minimum(np.round((high - low + 1) * scale).astype(int), size - pad)
        shown = io.resize_image(im[low[0]:high[0], low[1]:high[1]], np.maximum(inside, 1))
        crop = np.broadcast_to(self.crop_mean, self.crop_dims).astype(np.float32)
        crop[pad[0]:pad[0] + shown.shape[0], pad[1]:pad[1] + shown.shape[1]] = shown
        return crop


def _outside(window: Sequence[int], image: np.ndarray) -> DataError:
    return DataError("a window holds nothing of the image", found=str(tuple(np.asarray(window).tolist())),
                     expected=f"(ymin, xmin, ymax, xmax) within {image.shape[0]} x {image.shape[1]}",
                     help="correct the list of windows")
