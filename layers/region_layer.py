"""What the losses on regions share: where windows lie, by `param_str`, and saying what is wrong (thesis 4.4.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import caffe
from layers.errors import LayerError
from layers.parameters import Reader, read_params


class RegionLayer(caffe.Layer):
    """Takes scores of regions and instance labels, gives a loss.

    Keys of param_str that all have: `window` and `stride` (both needed), the side of a window and the distance of
    region centres in pixels; `centre` (stride / 2), the centre of the first window in pixels from the image's edge,
    such that windows begin on the edge of a pixel: 0 on the dual grid that a pairwise transpose with even R leads to;
    `ignore_label` (255), void.
    """

    def read(self, keys: Sequence[str], bottom: Sequence[Any], top: Sequence[Any]) -> Reader:
        """Set `window`, `stride`, `first` (the first window's first pixel) and `void`; a Reader for other `keys`."""
        self.title = getattr(self, "name", "") or type(self).__name__   # BVLC Caffe's Python layers do not know theirs
        known = ("window", "stride", "centre", "ignore_label", *keys)
        read = Reader(read_params(self.param_str, self.title, known, ("window", "stride")), self.title)
        self.window, self.stride = read.whole("window", 1, 1), read.whole("stride", 1, 1)
        first = read.number("centre", self.stride / 2, float("-inf")) - self.window / 2
        if first != int(first):
            raise self.wrong("the windows do not begin on the edge of a pixel", f"window {self.window} around "
                             f"{first + self.window / 2:g}", "'centre' half a pixel further, or another 'window'")
        self.first, self.void = int(first), read.whole("ignore_label", 255, -1)
        if len(bottom) != 2 or len(top) != 1:
            raise self.wrong("scores and instance labels go in, and a loss comes out",
                             f"{len(bottom)} bottoms, {len(top)} tops", 'bottom: "scores" bottom: "instances"')
        return read

    def reshape(self, bottom: Sequence[Any], top: Sequence[Any]) -> None:
        """LayerError unless scores are N x `self.cells` x H x W and labels N x 1 x h x w."""
        scores, labels = bottom[0].data.shape, bottom[1].data.shape
        if len(scores) != 4 or scores[1] != self.cells:
            raise self.wrong("the scores have a wrong shape", str(tuple(scores)), f"N x {self.cells} x H x W")
        if len(labels) != 4 or tuple(labels[:2]) != (scores[0], 1):
            raise self.wrong("the labels have a wrong shape", str(tuple(labels)), f"{scores[0]} x 1 x h x w")
        top[0].reshape(1)

    cells = 1
    """Channels of the scores."""

    def wrong(self, what: str, found: str, expected: str) -> LayerError:
        return LayerError(what, layer=self.title, found=found, expected=expected,
                          help="correct param_str or the bottoms")
