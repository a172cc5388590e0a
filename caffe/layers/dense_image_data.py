"""DenseImageData: images and label images from a list of pairs (SegNet)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..blob import Blob
from ..data.images import read_image
from ..layer import register
from .image_data import ImageData


@register("DenseImageData")
class DenseImageData(ImageData):
    """Batches of the images and label images that the text file `source` lists, one `image labels` in a line.

    Fork: SegNet. Top 0 as ImageData's; top 1 (batch_size, 1, height, width): the gray values of the label image (of a
    palette image those of its colours, not its indices), resized to the nearest pixel. `mirror`, and a random part of
    crop_height x crop_width in testing too, take image and labels alike; transform_param's mean and scale are the
    image's. Raises DataError.
    """

    legacy_fields = ("mean_file",)
    line_form = "'image labels', two paths"

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p, t = self.p, self.layer_param.transform_param
        if (p.crop_height == 0) != (p.crop_width == 0):
            self.fail("crop_height and crop_width go together", found=f"{p.crop_height} and {p.crop_width}",
                      help="set both, or neither")
        if t.mirror or t.crop_size:
            self.fail("transform_param would not change image and labels alike", found="mirror or crop_size",
                      help="use dense_image_data_param's mirror, crop_height and crop_width")
        super().setup(bottom, top)
        top[1].reshape(p.batch_size, 1, *top[0].shape[2:])

    def randomized(self) -> bool:
        return bool(super().randomized() or self.p.mirror or self.p.crop_height)

    def open(self) -> tuple[int, ...]:
        channels, height, width = super().open()
        return channels, self.p.crop_height or height, self.p.crop_width or width

    def label(self, word: str) -> str:
        return word

    def load_item(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        path, label_path = self._line(number)
        image, labels = self._image(path), read_image(self.p.root_folder + label_path, False).transpose(2, 0, 1)
        if self.size is not None:
            rows, cols = (np.arange(n) * old // n for n, old in zip(self.size, labels.shape[1:], strict=True))
            labels = labels[:, rows[:, None], cols]
        if image.shape[1:] != labels.shape[1:]:
            raise self.bad_data(f"'{label_path}' has another size than '{path}'", found=labels.shape[1:],
                                expected=image.shape[1:], help="give labels of the image's size, or new_height and "
                                                               "new_width")
        if not self.randomized():
            return self.transformed(image, number), labels
        random, p = self.random_numbers(number), self.p
        if p.mirror and random.integers(2):
            image, labels = image[:, :, ::-1], labels[:, :, ::-1]
        if p.crop_height:
            if p.crop_height > image.shape[1] or p.crop_width > image.shape[2]:
                raise self.bad_data(f"'{path}' is smaller than the crop", found=image.shape[1:],
                                    expected=(p.crop_height, p.crop_width), help="lower crop_height and crop_width")
            top, left = (int(random.integers(n - crop + 1))
                         for n, crop in zip(image.shape[1:], (p.crop_height, p.crop_width), strict=True))
            image, labels = (each[:, top : top + p.crop_height, left : left + p.crop_width] for each in (image, labels))
        return self.transformed(image, number), labels
