"""Blobs of a net over many batches, written to LMDB, .npz or HDF5: what extract_features does."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import chain
from typing import Any

import numpy as np

from ..errors import DataError, NetError, ShapeError, nearest
from ..files import atomic_path, package
from ..net import Net
from ..proto import caffe_pb2
from .lmdb_writer import LmdbWriter

Append = Callable[[np.ndarray], None]


def extract(net: Net, blobs: Sequence[str], batches: int) -> Iterator[dict[str, np.ndarray]]:
    """Run `batches` batches of the net's own data; yields a copy of each named blob. Raises NetError."""
    for name in blobs:
        if name not in net.blobs:
            close = nearest(name, net.blobs)
            raise NetError(f"unknown feature blob '{name}'", file=net.file,
                           help=f"did you mean {' or '.join(close)}?" if close
                           else f"the blobs are {', '.join(net.blobs)}")
    for _ in range(batches):
        net.forward_loss()
        yield {name: net.blobs[name].data.copy() for name in blobs}


def extract_features(net: Net, targets: Mapping[str, str | os.PathLike[str]], batches: int,
                     form: str = "lmdb") -> dict[str, int]:
    """Write each blob of `targets` (name -> file) over `batches` batches; returns the number of items of each.

    "lmdb": one `Datum` with float data for each item, under keys of ten digits, as Caffe's; "npz" and "h5": one
    array, all batches on its first axis, under the blob's name. A file appears when all of it is written. Raises
    NetError for unknown blobs, ShapeError when items differ in shape, DataError when a file cannot be written.
    """
    if form not in _WRITERS:
        raise DataError("features are not written in this form", found=form, expected=" or ".join(_WRITERS),
                        help="lmdb is what Caffe's own nets read back")
    if batches < 1:
        raise DataError("the number of batches must be at least 1", found=batches, help="one batch is one forward")
    counts = dict.fromkeys(targets, 0)
    shapes: dict[str, tuple[int, ...]] = {}
    with ExitStack() as stack:
        results = extract(net, list(targets), batches)
        first = next(results)   # unknown names and wrong nets show before a file is made
        appends = {name: stack.enter_context(_WRITERS[form](target, name)) for name, target in targets.items()}
        for arrays in chain([first], results):
            for name, array in arrays.items():
                array = array if array.ndim else array[np.newaxis]
                expected = shapes.setdefault(name, array.shape[1:])
                if array.shape[1:] != expected:
                    raise ShapeError(f"blob '{name}' changes its shape from batch to batch", file=net.file,
                                     found=array.shape[1:], expected=expected, help="give the data layer a crop_size")
                appends[name](array)
                counts[name] += len(array)
    return counts


@contextmanager
def _lmdb(target: str | os.PathLike[str], name: str) -> Iterator[Append]:
    count = 0
    with LmdbWriter(target) as out:
        def append(array: np.ndarray) -> None:
            nonlocal count
            if array.ndim > 4:
                raise ShapeError(f"blob '{name}' has too many axes for a Datum", found=array.ndim, expected="at most 4",
                                 help="write npz or h5")
            for item in array:
                channels, height, width = (*item.shape, 1, 1, 1)[:3]
                message: Any = caffe_pb2.Datum(channels=channels, height=height, width=width)
                message.float_data.extend(item.ravel().tolist())
                out.put(b"%010d" % count, message.SerializeToString())
                count += 1
        yield append


@contextmanager
def _npz(target: str | os.PathLike[str], name: str) -> Iterator[Append]:
    parts: list[np.ndarray] = []
    yield parts.append
    # by hand: numpy.savez takes no array of the name `file`
    with atomic_path(target, error=DataError) as path, zipfile.ZipFile(path, "w") as archive:
        with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
            np.save(file, np.concatenate(parts))


@contextmanager
def _h5(target: str | os.PathLike[str], name: str) -> Iterator[Append]:
    h5py = package("h5py", DataError, file=target)
    with atomic_path(target, error=DataError) as path, h5py.File(path, "w") as file:
        def append(array: np.ndarray) -> None:
            if name not in file:
                file.create_dataset(name, data=array, maxshape=(None, *array.shape[1:]), chunks=True)
                return
            file[name].resize(len(file[name]) + len(array), axis=0)
            file[name][-len(array):] = array
        yield append


_WRITERS = {"lmdb": _lmdb, "npz": _npz, "h5": _h5}
