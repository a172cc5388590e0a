"""A layer on its own blobs, without a net, and its gradient by finite differences."""
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from google.protobuf import text_format

import caffe
from caffe.blob import Blob
from caffe.layer import layer_class
from caffe.proto import caffe_pb2


class Bench:
    """One layer with its bottoms and tops; a top named like a bottom is in place, as a net would wire it."""

    def __init__(self, prototxt: str, *bottoms, phase: int = caffe.TRAIN, records: bool = True) -> None:
        param = text_format.Parse(f'name: "it" {prototxt}', caffe_pb2.LayerParameter())
        param.phase = phase
        if not param.bottom:
            param.bottom.extend(f"b{i}" for i in range(len(bottoms)))
        if not param.top and param.type not in ("Silence", "HDF5Output"):
            param.top.append("t0")
        self.bottom = [Blob(b if isinstance(b, tuple) else np.shape(b), name=n)
                       for b, n in zip(bottoms, param.bottom, strict=True)]
        named = dict(zip(param.bottom, self.bottom, strict=True))
        self.top = [named.get(n) or Blob((), name=n) for n in param.top]
        for blob, value in zip(self.bottom, bottoms, strict=True):
            if not isinstance(value, tuple):
                blob.data[...] = value
        self.layer = layer_class(param.type, param.name, "net.prototxt:7").create(param, "net.prototxt:7")
        self.layer.setup(self.bottom, self.top)
        self.layer.reshape(self.bottom, self.top)
        self.layer.records_graph = records
        self.layer.param_propagate_down = [True] * len(self.layer.blobs)

    def forward(self) -> list[np.ndarray]:
        self.layer.reshape(self.bottom, self.top)
        self.layer.forward(self.bottom, self.top)
        return [t.tensor().cpu().numpy().copy() for t in self.top]

    def backward(self, *diffs, down: Sequence[bool] | None = None) -> list[np.ndarray]:
        for top, diff in zip(self.top, diffs, strict=True):
            top.put_diff(torch.tensor(np.asarray(diff, np.float32)))
        self.layer.backward(self.top, down or [True] * len(self.bottom), self.bottom)
        return [b.diff_tensor().cpu().numpy().copy() for b in self.bottom]


@pytest.fixture
def bench():
    """bench(prototxt, bottom arrays or shapes...) -> Bench."""
    caffe.set_random_seed(7)
    return Bench


@pytest.fixture
def rng():
    return np.random.default_rng(5)
