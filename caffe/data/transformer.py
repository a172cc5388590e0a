"""What `transform_param` does to an image on its way into a net (Caffe's DataTransformer)."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from ..errors import CaffeError, DataError, LayerError
from ..proto import caffe_pb2
from ..proto.blobs import read_blob

logger = logging.getLogger("caffe")


class Transformer:
    """The TransformationParameter of one data layer, ready to be applied to its images.

    Reads `mean_file`. Raises LayerError for settings that exclude each other, DataError for a mean file that is
    no mean image.
    """

    def __init__(self, param: Any, phase: int, layer: str = "", where: str = "") -> None:
        self.p, self.layer = param, layer
        self.random_crop = bool(param.crop_size) and phase == caffe_pb2.TRAIN
        self.random = bool(param.mirror) or self.random_crop   # whether images need random numbers
        for one, other, both in (("mean_file", "mean_value", param.HasField("mean_file") and len(param.mean_value)),
                                 ("force_color", "force_gray", param.force_color and param.force_gray)):
            if both:
                raise LayerError(f"transform_param has both {one} and {other}", file=where or None,
                                 layer=layer or None, help="give one of them")
        self.mean: np.ndarray | None = None
        if param.HasField("mean_file"):
            self.mean = self._read_mean(param.mean_file)
        elif len(param.mean_value):
            self.mean = np.array(param.mean_value, np.float32).reshape(-1, 1, 1)

    @property
    def color(self) -> bool | None:
        """How to decode encoded images: 3 channels, 1 channel, or as they are (None)."""
        return True if self.p.force_color else False if self.p.force_gray else None

    def _read_mean(self, path: str) -> np.ndarray:
        logger.info("Loading mean file from: %s", path)
        try:
            mean = read_blob(path)
        except CaffeError as problem:
            raise DataError(f"mean_file {problem.message}", file=path, layer=self.layer or None,
                            found=problem.found, expected=problem.expected, help=problem.help) from problem
        if mean.ndim == 4 and len(mean) == 1:
            mean = mean[0]
        if mean.ndim != 3:
            raise DataError("mean_file holds no mean image", file=path, layer=self.layer or None,
                            found=f"shape {mean.shape}", expected="1 x channels x height x width",
                            help="write it with compute_image_mean")
        return mean

    def apply(self, image: np.ndarray, random: np.random.Generator | None = None) -> np.ndarray:
        """channels x height x width numbers -> float32 of the same form, or channels x crop_size x crop_size.

        (value - mean) * scale, mirrored in half of the cases. A mean image is cropped like the image. The crop
        is in the centre in phase TEST and anywhere in TRAIN; `random` must be given where `self.random` says.
        Raises DataError for images that do not fit the mean or are smaller than the crop.
        """
        self._check(image)
        height, width = image.shape[1:]
        size, mean = self.p.crop_size, self.mean
        mirror = bool(self.p.mirror) and self._draw(random, 2) == 1
        if size:
            if self.random_crop:
                top, left = self._draw(random, height - size + 1), self._draw(random, width - size + 1)
            else:
                top, left = (height - size) // 2, (width - size) // 2
            image = image[:, top : top + size, left : left + size]
            if mean is not None and self.p.HasField("mean_file"):
                mean = mean[:, top : top + size, left : left + size]
        out = image.astype(np.float32)
        if mean is not None:
            out -= mean
        if self.p.scale != 1:
            out *= np.float32(self.p.scale)
        return out[:, :, ::-1] if mirror else out

    def shape(self, image: np.ndarray) -> tuple[int, int, int]:
        """The shape that `apply` gives this image. Raises DataError as it does."""
        self._check(image)
        size = self.p.crop_size
        return (image.shape[0], size or image.shape[1], size or image.shape[2])

    def _draw(self, random: np.random.Generator | None, n: int) -> int:
        if random is None:
            raise LayerError("this transform_param needs random numbers", layer=self.layer or None,
                             help="pass a numpy.random.Generator")
        return int(random.integers(n))

    def _check(self, image: np.ndarray) -> None:
        size = self.p.crop_size
        if size > min(image.shape[1:]):
            self._misfit("the image is smaller than crop_size", f"{image.shape[1]} x {image.shape[2]}",
                         f"{size} x {size}", "resize the images, or lower crop_size")
        if self.mean is None:
            return
        if self.p.HasField("mean_file"):
            if self.mean.shape != image.shape:
                self._misfit("the image has another shape than mean_file", image.shape, self.mean.shape,
                             "compute the mean from images of this size")
        elif len(self.mean) not in (1, len(image)):
            self._misfit("mean_value must be given once, or once per channel", f"{len(self.mean)} of them",
                         f"1 or {len(image)}", "correct transform_param")

    def _misfit(self, message: str, found: object, expected: object, help: str) -> None:
        raise DataError(message, layer=self.layer or None, found=found, expected=expected, help=help)
