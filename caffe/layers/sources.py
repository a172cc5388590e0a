"""Layers without bottoms: Input, DummyData, MemoryData."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch

from .. import fillers
from ..blob import Blob
from ..errors import DataError, ShapeError
from ..function import FunctionLayer, Shape
from ..layer import Count, register
from ..proto import caffe_pb2


class Source(FunctionLayer):
    """A layer that makes blobs: no bottoms, any number of tops, nothing to do backward."""

    bottoms = 0
    tops: Count = (1, None)

    def reshape(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        """Nothing: the tops keep the shapes that setup, or whoever feeds them, gave."""

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        """Nothing unless a subclass fills its tops."""

    def backward(self, top: Sequence[Blob], propagate_down: Sequence[bool], bottom: Sequence[Blob]) -> None:
        """Nothing: there are no bottoms."""

    def shape_tops(self, top: Sequence[Blob], shapes: Sequence[Shape], field: str) -> None:
        """One shape for all tops, or one each; LayerError otherwise."""
        for blob, shape in zip(top, self.once_or_each(field, shapes, len(top), "top"), strict=True):
            blob.reshape(*shape)

    @contextmanager
    def named(self) -> Iterator[None]:
        """Context in which a DataError gets this layer's name if it has none."""
        try:
            yield
        except DataError as problem:
            problem.layer = problem.layer or self.name
            raise

    def give(self, top: Sequence[Blob], arrays: Iterable[np.ndarray], borrowed: bool = False) -> None:
        """Make arrays the tops' content, shapes included; in-place layers must not write into `borrowed` ones."""
        for blob, array in zip(top, arrays, strict=False):
            if blob.shape != array.shape:
                blob.reshape(*array.shape)
            blob.put(torch.from_numpy(array))
            blob.held_by_graph = borrowed


@register("Input")
class Input(Source):
    """Blobs that the program fills: `net.blobs[name].data[...] = x`. Without a shape they start empty."""

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        if self.p.shape:
            self.shape_tops(top, [tuple(s.dim) for s in self.p.shape], "shape")


@register("DummyData")
class DummyData(Source):
    """Blobs from fillers (default zeros). A constant is filled once, anything else anew in every forward."""

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        self.fillers = self.once_or_each("data_filler", self.p.data_filler or [caffe_pb2.FillerParameter()],
                                         len(top), "top")
        self.shape_tops(top, self._shapes(len(top)), "shape")
        self._fill(top, constant=True)

    def _shapes(self, n_top: int) -> list[Shape]:
        old = {field: list(getattr(self.p, field)) for field in ("num", "channels", "height", "width")}
        if not any(old.values()):
            return [tuple(s.dim) for s in self.p.shape]
        if self.p.shape:
            self.fail("has shape and the old num, channels, height, width", help="give shape alone")
        return list(zip(*(self.once_or_each(field, values, n_top, "top") for field, values in old.items()),
                        strict=True))

    def _fill(self, top: Sequence[Blob], constant: bool) -> None:
        for blob, filler in zip(top, self.fillers, strict=True):
            if (filler.type == "constant") == constant:
                fillers.fill(blob, filler, layer=self.name, where=self.defined_at)

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        self._fill(top, constant=False)


@register("MemoryData")
class MemoryData(Source):
    """Batches in turn from arrays that `Net.set_input_arrays` gave; wraps around at their end.

    On the CPU the tops are views of these arrays, as in Caffe. `transform_param` is not applied to them.
    """

    tops = 2

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p = self.p
        self.shape: Shape = (p.batch_size, p.channels, p.height, p.width)
        if 0 in self.shape:
            self.fail("batch_size, channels, height and width must be given and positive", found=self.shape,
                      help="complete memory_data_param")
        if self.layer_param.HasField("transform_param"):
            logging.getLogger("caffe").warning("layer '%s': MemoryData does not transform arrays", self.name)
        self._arrays: tuple[np.ndarray, np.ndarray] | None = None
        self._at = 0
        top[0].reshape(*self.shape)
        top[1].reshape(p.batch_size)

    def reset(self, data: np.ndarray, labels: np.ndarray) -> None:
        """Read from `data` (n, channels, height, width) and `labels` (n, or n x 1 x 1 x 1) from now on.

        Both become float32; n must be a multiple of batch_size. Raises ShapeError.
        """
        data, labels = (np.require(a, np.float32, ("C", "W")) for a in (data, labels))
        if data.ndim != 4 or data.shape[1:] != self.shape[1:]:
            self._misfit("data does not fit the layer", data.shape, ("n", *self.shape[1:]))
        if not len(data) or len(data) % self.shape[0]:
            self._misfit("n must be a multiple of batch_size", len(data), f"a multiple of {self.shape[0]}")
        if labels.size != len(data):
            self._misfit("one label per image", labels.shape, (len(data),))
        self._arrays, self._at = (data, labels.reshape(-1, 1, 1, 1)), 0

    def get_state(self) -> dict[str, int]:
        """Where the next batch begins, for a snapshot."""
        return {"at": self._at}

    def set_state(self, value: dict[str, int]) -> None:
        """Go on where `get_state` was asked (with arrays given before that)."""
        self._at = value["at"]

    def _misfit(self, message: str, found: object, expected: object) -> None:
        self.fail(message, found=found, expected=expected, error=ShapeError,
                  help="correct the arrays given to net.set_input_arrays, or memory_data_param")

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        if self._arrays is None:
            self.fail("has no data yet", help="call net.set_input_arrays(data, labels) before forward")
        n = self.shape[0]
        self.give(top, [array[self._at : self._at + n] for array in self._arrays], borrowed=True)
        self._at = (self._at + n) % len(self._arrays[0])
