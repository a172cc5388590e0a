"""The errors of Python layers: the engine's where it has them, else a stand-in of the same shape."""

from __future__ import annotations

from data.errors import DataError as DataError

try:
    from caffe import LayerError
except ImportError:  # BVLC Caffe 1.0

    class LayerError(DataError):  # type: ignore[no-redef]
        """A layer cannot do what its prototxt asks for."""


__all__ = ["DataError", "LayerError"]
