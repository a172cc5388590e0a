"""The errors of this folder: the engine's where it has them, else stand-ins for BVLC Caffe 1.0."""

from __future__ import annotations

try:
    from caffe import CaffeError, LayerError, ShapeError, WeightsError
except ImportError:

    class CaffeError(Exception):  # type: ignore[no-redef]
        """A net or its weights are not what they should be."""

        def __init__(self, message: str = "", **details: object) -> None:
            super().__init__(" ".join([message, *(f"[{key}: {value}]" for key, value in details.items())]))

    class LayerError(CaffeError):  # type: ignore[no-redef]
        """A layer is missing, or cannot be changed as asked."""

    class ShapeError(LayerError):  # type: ignore[no-redef]
        """A parameter has a shape that cannot be used as asked."""

    class WeightsError(CaffeError):  # type: ignore[no-redef]
        """Weights do not belong to the net, or cannot be read."""


__all__ = ["CaffeError", "LayerError", "ShapeError", "WeightsError"]
