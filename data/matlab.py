"""MATLAB files: label maps of version 5, and the version 7.3 of large files, which is HDF5."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.errors import DataError

_DAMAGED = "the file is damaged, or of another data set: unpack the archive again"


def read_mat(path: str | os.PathLike, *names: str) -> NDArray:
    """The variable names[0] of a MATLAB 5 file, or with further names a field of that struct; DataError without."""
    import scipy.io  # here, because it takes longer to import than everything else in this folder

    what = ".".join(names)
    if not Path(path).is_file():
        raise DataError(f"no file with {what}", file=path,
                        help="`python tools/check_data.py DIR` lists every missing file")
    try:
        found: Any = scipy.io.loadmat(path, variable_names=names[:1])[names[0]]
        for field in names[1:]:
            found = found[field][0, 0]
        return np.asarray(found)
    except Exception as error:  # SciPy raises a dozen kinds for a damaged file; each means the same here
        raise DataError(f"the labels cannot be read ({type(error).__name__}: {error})", file=path,
                        expected=f"a MATLAB 5 file with {what}", help=_DAMAGED) from error


def read_map(path: str | os.PathLike, *names: str, low: int = 0, high: int = 255) -> NDArray[np.int64]:
    """A variable (see `read_mat`) as H x W whole numbers in low..high; DataError where it is anything else."""
    found = read_mat(path, *names)
    whole = found.ndim == 2 and found.dtype.kind in "uif" and np.array_equal(found, np.rint(found))
    if not whole or (found.size and not low <= found.min() <= found.max() <= high):
        raise DataError(f"{'.'.join(names)} is not one class index per pixel", file=path,
                        found=f"{found.dtype} of shape {found.shape}",
                        expected=f"H x W whole numbers in {low}..{high}", help=_DAMAGED)
    return found.astype(np.int64)


def from_one(numbers: NDArray) -> NDArray[np.uint8]:
    """Classes 1..n as 0..n-1; void, which is 0 (or -1), as 255."""
    return np.where(numbers > 0, numbers - 1, 255).astype(np.uint8)


def open_mat73(path: str | os.PathLike) -> Any:
    """A MATLAB 7.3 file as an h5py.File, to be used with `with`; its arrays have MATLAB's axes in reverse order."""
    try:
        import h5py
    except ImportError as error:
        raise DataError("MATLAB 7.3 files need the package h5py", file=path, help="pip install h5py") from error
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise DataError(f"not a readable MATLAB 7.3 file ({error})", file=path,
                        help="compare its size with the one on the server and download again") from error
