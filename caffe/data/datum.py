"""The values in a database: a serialized `Datum` to its array and label."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from ..errors import DataError
from ..proto import caffe_pb2
from .images import decode_image

_REWRITE = "write the database again; convert_imageset writes Datum messages"


def parse(data: bytes) -> Any:
    """The `Datum` message in a database value. Raises DataError."""
    try:
        return caffe_pb2.Datum.FromString(data)
    except DecodeError as problem:
        raise DataError("a value is no Datum message", found=f"{len(data)} bytes", help=_REWRITE) from problem


@contextmanager
def record(number: int, database: str | os.PathLike[str]) -> Iterator[None]:
    """Context for reading one record of a database: DataErrors name both."""
    try:
        yield
    except DataError as problem:
        problem.message, problem.file = f"record {number}: {problem.message}", str(database)
        raise


def array(datum: Any, color: bool | None = None) -> np.ndarray:
    """The channels x height x width array in a `Datum`: uint8 from bytes or an encoded image, else float32.

    An encoded image is decoded to BGR; `color` True or False makes it 3 channels or 1, None leaves that to the
    image (an image that is not encoded is never changed). Raises DataError when it does not decode, or holds
    another number of values than it says.
    """
    if datum.encoded:
        return decode_image(datum.data, color).transpose(2, 0, 1)
    shape = (datum.channels, datum.height, datum.width)
    stored = np.frombuffer(datum.data, np.uint8) if datum.data else np.array(datum.float_data, np.float32)
    if min(shape) < 1 or stored.size != math.prod(shape):
        raise DataError("a Datum does not hold what it says", found=f"{stored.size} values",
                        expected=f"channels x height x width = {' x '.join(map(str, shape))}", help=_REWRITE)
    return stored.reshape(shape)
