"""DataError, the one error of this folder: the engine's where it has one, else a stand-in of the same shape."""

from __future__ import annotations

from data.errors import DataError as DataError

__all__ = ["DataError"]
