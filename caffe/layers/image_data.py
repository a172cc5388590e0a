"""ImageData: images and labels from a list of image files."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from .. import state
from ..data.images import read_image
from ..data.imageset import read_list
from ..layer import register
from .prefetch import PrefetchingSource

logger = logging.getLogger("caffe")


@register("ImageData")
class ImageData(PrefetchingSource):
    """Batches of the images that the text file `source` lists, one `path label` in a line.

    Top 0 is batch_size x channels x height x width in BGR, resized to new_height x new_width where these are set,
    then transformed by `transform_param`; top 1 the labels (batch_size). Paths follow `root_folder` directly (it
    ends in a slash). Without crop and resizing all images of a batch must be of one size; with batch_size 1 the
    tops take the size of each. `shuffle` orders them anew in each round. Raises DataError.
    """

    tops = 2
    line_form = "'path label' with an integer label"

    def open(self) -> tuple[int, ...]:
        p = self.p
        if (p.new_height == 0) != (p.new_width == 0):
            self.fail("new_height and new_width go together", found=f"{p.new_height} and {p.new_width}",
                      help="set both, or neither")
        if self.transformer.color is not None:
            logger.warning("layer '%s': force_color and force_gray have no effect here, is_color has", self.name)
        self.size = (p.new_height, p.new_width) if p.new_height else None
        if state.solver_count() > 1 and self.phase == 0 and not self.randomized():
            logger.warning("layer '%s': every process reads the same images: set shuffle or rand_skip", self.name)
        logger.info("Opening file %s", p.source)
        self.lines = read_list(p.source, self.label, self.line_form)
        logger.info("A total of %d images.", len(self.lines))
        self.resumed()
        if self._skip >= len(self.lines):
            raise self.bad_data("there are not enough images to skip", found=f"{len(self.lines)} images",
                                expected=f"more than rand_skip: {p.rand_skip}", help="lower rand_skip")
        return self.transformer.shape(self._image(self._line(0)[0]))

    def randomized(self) -> bool:
        return bool(self.p.shuffle or self.p.rand_skip)

    def resumed(self) -> None:
        self._skip = self.skipped(self.p.rand_skip)
        self._round, self._order = -1, np.empty(0, np.int64)

    def label(self, word: str) -> Any:
        """What the last word of a line means; ValueError for nothing."""
        return int(word)

    def _line(self, number: int) -> tuple[str, Any]:
        """(path, label) of item `number`."""
        turn, index = divmod(self._skip + number, len(self.lines))
        if not self.p.shuffle:
            return self.lines[index]
        if turn != self._round:
            self._round = turn
            self._order = self.random_numbers(turn, purpose=2).permutation(len(self.lines))
        return self.lines[self._order[index]]

    def _image(self, path: str) -> np.ndarray:
        return read_image(self.p.root_folder + path, self.p.is_color, self.size).transpose(2, 0, 1)

    def load_item(self, number: int) -> tuple[np.ndarray, float | np.ndarray]:
        path, label = self._line(number)
        return self.transformed(self._image(path), number), label
