"""Every CUDA source compiles for every architecture from sm_75 on, with NVRTC and without a GPU or a driver."""

import ctypes
import importlib.util
from functools import cache
from pathlib import Path

import pytest

from halide_kernels import (
    bilinear_loss,
    loss_sampling,
    min_sum_cuda,
    nms_cuda,
    pairwise_matmul_cuda,
    pairwise_transpose,
    rle,
)

SOURCES = {module.__name__.rsplit(".")[-1]: module.CUDA for module in (
    bilinear_loss, loss_sampling, min_sum_cuda, nms_cuda, pairwise_matmul_cuda, pairwise_transpose, rle)}


@cache
def nvrtc():
    """NVIDIA's compiler from the package nvidia-cuda-nvrtc-cu12; the test is skipped where it is not installed."""
    if importlib.util.find_spec("nvidia") is None or importlib.util.find_spec("nvidia.cuda_nvrtc") is None:
        return None
    folder, = importlib.util.find_spec("nvidia.cuda_nvrtc").submodule_search_locations
    return ctypes.CDLL(str(next(Path(folder, "lib").glob("libnvrtc.so.*"))))


def compiled(source, architecture):
    """PTX of a source; AssertionError with the compiler's message."""
    library, program, size = nvrtc(), ctypes.c_void_p(), ctypes.c_size_t()
    assert library.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"kernel.cu", 0, None, None) == 0
    option = ctypes.c_char_p(f"--gpu-architecture=compute_{architecture}".encode())
    failed = library.nvrtcCompileProgram(program, 1, ctypes.byref(option))
    what = "ProgramLog" if failed else "PTX"
    getattr(library, f"nvrtcGet{what}Size")(program, ctypes.byref(size))
    text = ctypes.create_string_buffer(size.value)
    getattr(library, f"nvrtcGet{what}")(program, text)
    library.nvrtcDestroyProgram(ctypes.byref(program))
    assert not failed, text.value.decode()
    return text.value.decode()


@pytest.mark.unit
@pytest.mark.parametrize("architecture", [75, 80, 86, 89, 90])
@pytest.mark.parametrize("source", SOURCES)
def test_compiles(source, architecture):
    if nvrtc() is None:
        pytest.skip("nvidia-cuda-nvrtc-cu12 is not installed")
    ptx = compiled(SOURCES[source], architecture)
    assert f".target sm_{architecture}" in ptx
    names = [line.split("(")[0].split()[-1] for line in SOURCES[source].splitlines() if '__global__' in line]
    assert names and all(f".visible .entry {name}" in ptx for name in names)


@pytest.mark.unit
def test_every_cuda_source_is_here():
    package = Path(bilinear_loss.__file__).parent
    assert {path.stem for path in package.glob("*.py") if 'CUDA = r"""' in path.read_text()} == set(SOURCES)


@pytest.mark.unit
def test_an_error_is_told():
    if nvrtc() is None:
        pytest.skip("nvidia-cuda-nvrtc-cu12 is not installed")
    with pytest.raises(AssertionError, match="wrong"):
        compiled('extern "C" __global__ void f() { wrong(); }', 75)
