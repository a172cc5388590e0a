"""Layers without bottoms: Input, DummyData, MemoryData."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from .. import fillers
from ..blob import Blob
from ..errors import ShapeError
from ..function import FunctionLayer, Shape
from ..layer import Count, register


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
        if len(shapes) not in (1, len(top)):
            self.fail(f"{field} must be given once, or once per top", found=len(shapes), expected=f"1 or {len(top)}",
                      help=f"correct the {field} fields")
        for i, blob in enumerate(top):
            blob.reshape(*shapes[i if len(shapes) > 1 else 0])


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
        if len(self.p.data_filler) not in (0, 1, len(top)):
            self.fail("data_filler must be given once, once per top, or not at all", found=len(self.p.data_filler),
                      expected=f"0, 1 or {len(top)}", help="correct the data_filler blocks")
        self.shape_tops(top, self._shapes(len(top)), "shape")
        self._fill(top, constant=True)

    def _shapes(self, n_top: int) -> list[Shape]:
        old = {field: list(getattr(self.p, field)) for field in ("num", "channels", "height", "width")}
        if not any(old.values()):
            return [tuple(s.dim) for s in self.p.shape]
        if self.p.shape:
            self.fail("has shape and the old num, channels, height, width", help="give shape alone")
        for field, values in old.items():
            if len(values) not in (1, n_top):
                self.fail(f"{field} must be given once, or once per top", found=len(values), expected=f"1 or {n_top}",
                          help=f"correct the {field} fields, or give shape instead")
        return [tuple(v[i if len(v) > 1 else 0] for v in old.values()) for i in range(n_top)]

    def _filler(self, i: int) -> Any:
        from ..proto import caffe_pb2

        if not self.p.data_filler:
            return caffe_pb2.FillerParameter(type="constant")
        return self.p.data_filler[i if len(self.p.data_filler) > 1 else 0]

    def _fill(self, top: Sequence[Blob], constant: bool) -> None:
        for i, blob in enumerate(top):
            filler = self._filler(i)
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
        self._arrays: tuple[np.ndarray, np.ndarray] | None = None
        self._at = 0
        top[0].reshape(*self.shape)
        top[1].reshape(p.batch_size)

    def reset(self, data: np.ndarray, labels: np.ndarray) -> None:
        """Read from `data` (n, channels, height, width) and `labels` (n, or n x 1 x 1 x 1) from now on.

        Both become float32; n must be a multiple of batch_size. Raises ShapeError.
        """
        if self.layer_param.HasField("transform_param"):
            logging.getLogger("caffe").warning("layer '%s': MemoryData does not transform arrays", self.name)
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
        for blob, array in zip(top, self._arrays, strict=True):
            batch = array[self._at : self._at + n]
            if blob.shape != batch.shape:
                blob.reshape(*batch.shape)
            blob.put(torch.from_numpy(batch))
            blob.held_by_graph = True  # an in-place layer must not write into the caller's arrays
        self._at = (self._at + n) % len(self._arrays[0])
