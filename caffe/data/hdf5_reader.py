"""Reading HDF5 files that may be damaged or lie about their sizes: one error, before anything is allocated."""
from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from .. import memory
from ..errors import CaffeError
from ..files import package

_ALWAYS = 64 << 20       # a dataset of so many bytes may be compressed as well as it likes
_BEST_RATIO = 2000       # beyond what gzip reaches (1032): such a dataset was never written


@contextmanager
def reading(path: str | os.PathLike[str], error: type[CaffeError]) -> Iterator[Any]:
    """The open h5py file; whatever h5py raises in the body, over damage of any kind, becomes `error`."""
    h5py = package("h5py", error, file=path)
    try:
        with h5py.File(path, "r") as file:
            yield file
    except CaffeError:
        raise
    except MemoryError as problem:
        raise error("claims more than this machine's memory", file=path,
                    help="the file is damaged, or made for a larger machine") from problem
    except Exception as problem:   # OSError, KeyError, RuntimeError, ValueError, TypeError, ...: all of damage
        reason = str(problem.args[0] if problem.args else problem).splitlines() or [type(problem).__name__]
        raise error(f"cannot be read as HDF5: {reason[0]}", file=path,
                    help="check that the path is right and the file complete; copy it again") from problem


def array(group: Any, name: str, error: type[CaffeError], shape: tuple[int, ...] | None = None) -> np.ndarray:
    """The dataset `name` of numbers as an array; with `shape`, only one of that shape.

    Raises `error`, naming the file, when it is no such dataset, or when it claims more than memory, or than the
    file can hold.
    """
    import h5py

    def refuse(message: str, found: object = None, expected: object = None) -> CaffeError:
        return error(f"dataset '{name}' {message}", file=group.file.filename, found=found, expected=expected,
                     help="check that the file is complete and the one you mean")

    data = group[name]
    if not isinstance(data, h5py.Dataset) or data.dtype.kind not in "fiu":
        raise refuse("holds no numbers", found=data, expected="a dataset of numbers")
    if data.shape is None or shape is not None and data.shape != shape:
        raise refuse("has another shape", found=data.shape, expected=shape)
    size, stored = data.size * data.dtype.itemsize, data.id.get_storage_size()
    if size > memory.available():
        raise refuse("claims more than this machine's memory", found=f"{size} bytes for shape {data.shape}")
    if not data.is_virtual and size > max(_ALWAYS, _BEST_RATIO * stored):
        raise refuse("claims more than the file can hold", found=f"{size} bytes in {stored} stored ones")
    return data[()]
