"""CUDA sources without a GPU: compiled as C++ and run a thread after another, called as CuPy's kernels are."""

import ctypes
import re
import shutil
import subprocess
from functools import cache

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

# a busy machine is no failure
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

SHIM = """
#include <cmath>
#define __global__
#define __device__ static
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


@pytest.fixture(scope="session")
def cuda_as_cpp(tmp_path_factory):
    """compile(source, name) is a function of (grid, block, arguments) as cupy.RawKernel(source, name) is."""
    if shutil.which("g++") is None:
        pytest.skip("there is no g++")

    @cache
    def compile(source, name):
        folder = tmp_path_factory.mktemp(name)
        declared = re.search(rf"{name}\((.*?)\)", source, re.S)[1]
        names = ", ".join(re.split(r"[\s*]+", one.strip())[-1] for one in declared.split(","))
        (folder / "kernel.cpp").write_text(SHIM + source + RUN % (declared, name, names))
        library = folder / "kernel.so"
        subprocess.run(["g++", "-O1", "-shared", "-fPIC", folder / "kernel.cpp", "-o", library], check=True)
        function = ctypes.CDLL(str(library)).all

        def launch(grid, block, arguments):
            function(*(*grid, 1, 1)[:3], block[0], *(
                ctypes.c_void_p(a.ctypes.data) if isinstance(a, np.ndarray) else
                ctypes.c_float(a) if isinstance(a, np.floating) else ctypes.c_int(a) for a in arguments))

        return launch

    return compile
