"""The back ends that each kernel's tests run; CUDA sources also without a GPU, compiled as C++, thread after thread."""

import ctypes
import re
import shutil
import subprocess
import sys
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings

from halide_kernels import backend

# a busy machine is no failure
settings.register_profile("patient", deadline=None, suppress_health_check=[
    HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
settings.load_profile("patient")

SHIM = """
#include <algorithm>
#include <cmath>
#define __global__
#define __device__ static
#define __popcll __builtin_popcountll
using std::min;
using std::max;
struct { int x, y, z; } blockIdx, blockDim, threadIdx;
"""
RUN = """
extern "C" void all(int gx, int gy, int gz, int threads, %s) {
    blockDim.x = threads;
    for (blockIdx.z = 0; blockIdx.z < gz; blockIdx.z++)
    for (blockIdx.y = 0; blockIdx.y < gy; blockIdx.y++)
    for (blockIdx.x = 0; blockIdx.x < gx; blockIdx.x++)
    for (threadIdx.x = 0; threadIdx.x < threads; threadIdx.x++) %s(%s);
}
"""
NUMBERS = {np.int32: ctypes.c_int, np.uint32: ctypes.c_uint, np.float32: ctypes.c_float, np.float64: ctypes.c_double}


@pytest.fixture(scope="session")
def cuda_as_cpp(tmp_path_factory):
    """compile(source, name) is a function of (grid, block, arguments) as cupy.RawKernel(source, name) is."""
    if shutil.which("g++") is None:
        pytest.skip("there is no g++")

    @cache
    def compile(source, name):
        folder = tmp_path_factory.mktemp(name)
        declared = re.search(rf"\b{name}\((.*?)\)", source, re.S)[1]
        names = ", ".join(re.split(r"[\s*]+", one.strip())[-1] for one in declared.split(","))
        (folder / "kernel.cpp").write_text(SHIM + source + RUN % (declared, name, names))
        library = folder / "kernel.so"
        subprocess.run(["g++", "-O1", "-shared", "-fPIC", folder / "kernel.cpp", "-o", library], check=True)
        function = ctypes.CDLL(str(library)).all

        def launch(grid, block, arguments):
            function(*(*grid, 1, 1)[:3], block[0], *(
                ctypes.c_void_p(a.ctypes.data) if isinstance(a, np.ndarray) else NUMBERS[type(a)](a)
                for a in arguments))

        return launch

    return compile


def on_device(run):
    """A CUDA kernel's function on NumPy arrays: they are copied to the device, and what it wrote comes back."""
    import cupy

    def on_host(*arguments):
        devices = [cupy.asarray(a) if isinstance(a, np.ndarray) else a for a in arguments]
        run(*devices)
        for array, device in zip(arguments, devices, strict=True):
            if isinstance(array, np.ndarray) and array.flags.writeable:
                array[...] = device.get()

    return on_host


@pytest.fixture(params=[
    pytest.param("halide", marks=pytest.mark.skipif(backend.find("halide")[0] is None, reason="Halide is missing")),
    "cuda source",
    pytest.param("cuda", marks=[
        pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
        pytest.mark.skipif(backend.find("cupy")[0] is None, reason=str(backend.find("cupy")[1]))]),
])
def back_end(request, monkeypatch):
    """of(BACKENDS) is what a kernel's table has for the back end (a function, or a tuple of them), on NumPy arrays."""
    if request.param == "cuda source":
        monkeypatch.setattr(backend, "cuda_kernel", request.getfixturevalue("cuda_as_cpp"))
        monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(
            asarray=np.asarray, asnumpy=np.asarray, empty=np.empty))

    def of(table):
        found = table[of.name]
        if request.param != "cuda":
            return found
        return on_device(found) if callable(found) else tuple(map(on_device, found))

    of.name = "halide" if request.param == "halide" else "cuda"   # in the table
    return of
