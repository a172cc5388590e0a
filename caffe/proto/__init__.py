"""Caffe's file formats: the schema (`caffe.proto`), its messages (`caffe_pb2`), and arrays in them
(`blobs`)."""

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    # pycaffe programs write `caffe.proto.caffe_pb2` after a bare `import caffe`.
    if name in ("caffe_pb2", "schema", "blobs"):
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
