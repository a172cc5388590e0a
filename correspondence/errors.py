"""The errors of this folder: of nets and layers by name, and of images, points and data."""

from __future__ import annotations

from data.errors import DataError as DataError
from prototxt.errors import NetError as NetError

__all__ = ["DataError", "NetError"]
