"""NetError, the error of this folder: the engine's where it has one, else a stand-in for BVLC Caffe 1.0."""

from __future__ import annotations

try:
    from caffe import NetError
except ImportError:

    class NetError(Exception):  # type: ignore[no-redef]
        """A net cannot be built or measured as asked."""

        def __init__(self, message: str = "", **details: object) -> None:
            super().__init__(" ".join([message, *(f"[{key}: {value}]" for key, value in details.items())]))


__all__ = ["NetError"]
