"""Which back end computes a kernel, and why: CUDA through CuPy on a GPU, else Halide, else NumPy."""

from __future__ import annotations

import importlib
import importlib.metadata
from functools import cache
from typing import Any

import caffe

# BVLC Caffe's blobs have no device array; ours refuse one in CPU mode
_NO_DEVICE_ARRAY = (AttributeError, getattr(caffe, "CaffeError", AttributeError))


@cache
def find(module: str) -> tuple[Any, str]:
    """An optional module and "", or None and why it cannot be imported."""
    try:
        return importlib.import_module(module), ""
    except (ImportError, OSError) as error:   # OSError: a library that the module loads is missing
        return None, f"{module} cannot be imported: {error}"


def arrays(*blobs: Any, of: str = "data") -> list[Any]:
    """The data of the blobs where the net computes: CuPy arrays in GPU mode, if CuPy is there, else NumPy arrays.

    With `of`="diff" the blobs' diffs. They are the blobs' own memory: writing into them writes into the blobs.
    """
    cupy, _ = find("cupy")
    if cupy is not None:
        try:
            return [cupy.asarray(getattr(blob, "gpu_" + of)) for blob in blobs]
        except _NO_DEVICE_ARRAY:
            pass
    return [getattr(blob, of) for blob in blobs]


def choose(array: Any) -> tuple[str, str]:
    """The back end for an array, "cuda", "halide" or "numpy", and a sentence that says so."""
    if hasattr(array, "__cuda_array_interface__"):
        return "cuda", "CUDA, for arrays on the GPU"
    host = "arrays on the host" + (f" ({find('cupy')[1]})" if find("cupy")[0] is None else "")
    module, why = find("halide")
    if module is None:
        return "numpy", f"NumPy, for {host}; {why}"
    return "halide", f"Halide {_version()}, for {host}"


THREADS = 256   # of a block


def launch(source: str, name: str, blocks: tuple[int, ...], *arguments: Any) -> None:
    """Run a function of a CUDA source in so many blocks; arguments are CuPy arrays, and numbers of NumPy's types."""
    cuda_kernel(source, name)(blocks, (THREADS,), arguments)


@cache
def cuda_kernel(source: str, name: str) -> Any:
    """A function of a CUDA source; CuPy compiles it when it first runs."""
    import cupy

    return cupy.RawKernel(source, name)


@cache
def _version() -> str:   # reading it takes more than a millisecond, longer than small kernels
    return importlib.metadata.version("halide")
