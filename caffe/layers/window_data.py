"""WindowData: windows cut out of images, object and background ones in a fixed ratio (the training of R-CNN)."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from itertools import islice

import numpy as np

from ..data.images import decode_image, read_bytes, resize_linear
from ..layer import register
from .prefetch import PrefetchingSource

logger = logging.getLogger("caffe")


@register("WindowData")
class WindowData(PrefetchingSource):
    """Batches of random windows from the list `source`, fg_fraction of them showing an object.

    Top 0 is batch_size x 3 x crop_size x crop_size in BGR, top 1 the labels (batch_size), 0 for background; the
    background windows come first. A window shows an object when its overlap is at least `fg_threshold`, background
    when it is below `bg_threshold`. It is stretched to crop_size x crop_size with `context_pad` pixels around it;
    crop_mode "square" widens it to a square first. What lies outside of the image is 0. Means and mirror are those
    of `transform_param`, the scale is that of `window_data_param`. Raises DataError.

    The list has for each image the lines `# index`, path (it follows `root_folder`), channels, height, width,
    number of windows, and for each window `label overlap x1 y1 x2 y2`.
    """

    tops = 2
    legacy_fields = ("mean_file", "crop_size", "mirror")

    def open(self) -> tuple[int, ...]:
        p, transform = self.p, self.layer_param.transform_param
        self.size: int = transform.crop_size
        if not self.size:
            self.fail("needs crop_size", help="set transform_param { crop_size: ... }")
        if self.size <= 2 * p.context_pad:
            self.fail("context_pad leaves no room for the window", found=p.context_pad,
                      expected=f"less than half of crop_size: {self.size}", help="lower it")
        if p.crop_mode not in ("warp", "square"):
            self.fail("there is no such crop_mode", found=p.crop_mode, expected="warp or square")
        if transform.HasField("scale"):
            logger.warning("layer '%s': the scale of transform_param has no effect here, as in Caffe; set that of "
                           "window_data_param", self.name)
        if transform.force_color or transform.force_gray:
            logger.warning("layer '%s': force_color and force_gray have no effect here: windows are colour", self.name)
        self.mean = self._mean()
        self.paths: list[str] = []
        background, objects = self._read_list()
        self.windows: list[np.ndarray] = []
        for windows, kind in ((background, "background"), (objects, "object")):
            if not windows or not sum(map(len, windows)):
                raise self.bad_data(f"there are no {kind} windows", found=f"{len(self.paths)} images",
                                    help="check fg_threshold, bg_threshold and the overlaps in the list")
            self.windows.append(np.concatenate(windows))
        logger.info("Number of images: %d", len(self.paths))
        self.n_background = p.batch_size - int(np.float32(p.batch_size) * np.float32(p.fg_fraction))
        self.files = [read_bytes(path) for path in self.paths] if p.cache_images else []
        return (3, self.size, self.size)

    def randomized(self) -> bool:
        return True

    def _mean(self) -> np.ndarray:
        """What is subtracted from a whole crop: the middle of the mean image, or one value per channel."""
        mean = self.transformer.mean
        if mean is None:
            return np.zeros((1, 1, 1), np.float32)
        if not self.layer_param.transform_param.HasField("mean_file"):
            if len(mean) not in (1, 3):
                raise self.bad_data("mean_value must be given once, or once per channel", found=len(mean),
                                    expected="1 or 3", help="correct transform_param")
            return mean
        at = (mean.shape[2] - self.size) // 2   # Caffe uses the horizontal margin for both directions
        middle = mean[:, at : at + self.size, at : at + self.size]
        if at < 0 or middle.shape != (3, self.size, self.size):
            raise self.bad_data("mean_file does not cover crop_size", found=mean.shape,
                                expected=f"3 x at least {self.size} x {self.size}",
                                help="compute a larger mean")
        return middle

    # ------------------------------------------------------------------ the list
    def _read_list(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        background: list[np.ndarray] = []
        objects: list[np.ndarray] = []
        try:
            with open(self.p.source, encoding="utf-8", errors="surrogateescape") as file:
                lines = (line.strip() for line in file if line.strip())
                while (head := next(lines, None)) is not None:
                    self._read_image(head, lines, background, objects)
        except OSError as problem:
            raise self.bad_data(f"cannot read the list: {problem.strerror}",
                                help="correct window_data_param's source") from problem
        return background, objects

    def _read_image(self, head: str, lines: Iterator[str], background: list[np.ndarray],
                    objects: list[np.ndarray]) -> None:
        index = len(self.paths)
        try:
            if head.split() != ["#", str(index)]:
                raise ValueError(f"'{head}' where '# {index}' should stand")
            path = next(lines, "")
            channels, _, _, count = (int(next(lines, "")) for _ in range(4))
            if channels != 3:
                raise ValueError(f"{channels} channels; windows are cut out of colour images")
            table = np.array(" ".join(islice(lines, count)).split(), np.float64).reshape(count, 6)
        except ValueError as problem:
            raise self.bad_data(f"image {index} of the list: {problem}",
                                help="the form of the list is in the docstring of WindowData") from problem
        self.paths.append(self.p.root_folder + path)
        overlap = table[:, 1].astype(np.float32)
        boxes = np.column_stack([np.full(count, index), table[:, [0, 2, 3, 4, 5]]]).astype(np.int32)
        shown = overlap >= np.float32(self.p.fg_threshold)
        if (boxes[shown, 1] < 1).any():
            raise self.bad_data(f"image {index} of the list: an object window has no label above 0",
                                help="0 is the background's label")
        objects.append(boxes[shown])
        rest = boxes[~shown & (overlap < np.float32(self.p.bg_threshold))]
        rest[:, 1] = 0
        background.append(rest)

    # ------------------------------------------------------------------ windows
    def load_item(self, number: int) -> tuple[np.ndarray, float]:
        random = self.random_numbers(number)
        windows = self.windows[int(number % self.p.batch_size >= self.n_background)]
        image_index, label, *box = (int(v) for v in windows[random.integers(len(windows))])
        mirror = bool(self.layer_param.transform_param.mirror) and int(random.integers(2)) == 1
        path = self.paths[image_index]
        data = self.files[image_index] if self.files else read_bytes(path)
        image = decode_image(data, color=True, file=path)
        (x1, y1, x2, y2), (top, left), (height, width) = self._place(box, image.shape[:2], mirror)
        if not (0 <= x1 <= x2 < image.shape[1] and 0 <= y1 <= y2 < image.shape[0] and height > 0 < width):
            raise self.bad_data("a window lies outside of its image", file=path, found=f"x1 y1 x2 y2 = {box}",
                                expected=f"inside {image.shape[1]} x {image.shape[0]}",
                                help="correct the list")
        window = resize_linear(image[y1 : y2 + 1, x1 : x2 + 1], height, width)
        window = window[:, ::-1] if mirror else window
        at = (slice(None), slice(top, top + height), slice(left, left + width))
        out = np.zeros((3, self.size, self.size), np.float32)
        mean = np.broadcast_to(self.mean, (3, self.size, self.size))
        out[at] = (window.transpose(2, 0, 1) - mean[at]) * np.float32(self.p.scale)
        return out, label

    def _place(self, box: list[int], image: tuple[int, ...], mirror: bool) -> tuple[
            tuple[int, int, int, int], tuple[int, int], tuple[int, int]]:
        """(x1, y1, x2, y2) to cut out, (top, left) in the crop where it goes, and (height, width) there."""
        x1, y1, x2, y2 = box
        pad, size = self.p.context_pad, self.size
        if not pad and self.p.crop_mode != "square":
            return (x1, y1, x2, y2), (0, 0), (size, size)
        # widened so that in the crop there are exactly `pad` pixels on each side; in float32, as Caffe rounds
        half = [np.float32(y2 - y1 + 1) / np.float32(2), np.float32(x2 - x1 + 1) / np.float32(2)]
        centre = [np.float32(y1) + half[0], np.float32(x1) + half[1]]
        if self.p.crop_mode == "square":
            half = [max(half)] * 2
        grow = np.float32(size) / np.float32(size - 2 * pad)
        cut, at, extent = [], [], []
        for axis in (0, 1):
            first, last = _round(centre[axis] - half[axis] * grow), _round(centre[axis] + half[axis] * grow)
            before, after = max(0, -first), max(0, last - image[axis] + 1)   # what is outside of the image
            stretch = np.float32(size) / np.float32(last - first + 1)
            cut.append((first + before, last - after))
            margin = after if mirror and axis == 1 else before
            at.append(_round(np.float32(margin) * stretch))
            inside = _round(np.float32(last - first + 1 - before - after) * stretch)
            extent.append(min(inside, size - at[axis]))
        (y1, y2), (x1, x2) = cut
        return (x1, y1, x2, y2), (at[0], at[1]), (extent[0], extent[1])


def _round(value: np.float32) -> int:
    """To the nearest integer, halves away from 0, as C does."""
    return int(math.copysign(math.floor(abs(float(value)) + 0.5), float(value)))
