"""Reading nets and weights from files: with the engine's own readers, or protobuf's on BVLC Caffe 1.0."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import text_format

from caffe.proto import caffe_pb2

from .errors import CaffeError, WeightsError

try:  # reads half a gigabyte without work per number, upgrades old formats, and says what a wrong file is
    from caffe.proto import blobs as _blobs
    from caffe.proto.text import load_net as _load_net
    from caffe.proto.text import read_caffemodel as _read_caffemodel
except ImportError:
    _blobs = _load_net = _read_caffemodel = None  # type: ignore[assignment]


def read_net(prototxt: str | os.PathLike[str]) -> Any:
    """The `NetParameter` in a prototxt file, in the current format."""
    if _load_net is not None:
        return _load_net(Path(prototxt)).param
    net = text_format.Parse(Path(prototxt).read_text(), caffe_pb2.NetParameter())
    if net.layers:
        raise CaffeError("the net is in an old format", file=prototxt,
                         help="convert it with Caffe's upgrade_net_proto_text")
    return net


def read_weights(caffemodel: str | os.PathLike[str]) -> dict[str, list[np.ndarray]]:
    """The parameters in a caffemodel: layer name -> float32 arrays, read-only.  Layers without are left out.

    Raises `WeightsError` when the file is missing or no caffemodel.
    """
    if _read_caffemodel is not None:
        net, array = _read_caffemodel(caffemodel), _blobs.blob_array
    else:
        net, array = caffe_pb2.NetParameter(), _array
        try:
            net.ParseFromString(Path(caffemodel).read_bytes())
        except Exception as problem:
            raise WeightsError(
                f"cannot be read: {problem}", file=caffemodel, help="give a .caffemodel"
            ) from problem
    layers = [*net.layer, *net.layers]
    return {layer.name: [array(blob) for blob in layer.blobs] for layer in layers if layer.blobs}


def _array(blob: Any) -> np.ndarray:
    shape = blob.shape.dim or (blob.num, blob.channels, blob.height, blob.width)
    return np.array(blob.data, np.float32).reshape(tuple(shape))
