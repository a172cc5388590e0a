"""Caffe's own globals: mode, device, seed, and the solver's place among several. Importing this loads nothing."""
from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING

from .errors import DeviceError

if TYPE_CHECKING:
    import torch

_gpu = False
_device_id = 0
_seed: int | None = None
_generators: dict[str, torch.Generator] = {}
_solver_count = 1
_solver_rank = 0
_multiprocess = False


def set_mode_cpu() -> None:
    """Compute on the host from now on. Blobs move when they are next used."""
    global _gpu
    _gpu = False


def set_mode_gpu() -> None:
    """Compute on the CUDA device chosen by `set_device` (0 by default).

    Switches TF32 off, unless the environment has CAFFE_TF32=1, and has cuDNN choose deterministic algorithms.
    Raises DeviceError where this PyTorch has no CUDA device.
    """
    global _gpu
    _require_cuda(_device_id)
    set_precision()
    _gpu = True


def set_precision() -> None:
    """Convolutions and products in float32, or in TF32 where CAFFE_TF32=1; the same numbers in every run."""
    import torch

    tf32 = os.environ.get("CAFFE_TF32") == "1"
    with warnings.catch_warnings():   # PyTorch has two sets of names; only these keep both readable, some releases warn
        warnings.simplefilter("ignore", UserWarning)
        torch.backends.cudnn.allow_tf32 = tf32
        torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.deterministic = True   # a resumed run repeats the unbroken one bit by bit


def set_device(device_id: int) -> None:
    """Choose the CUDA device of GPU mode; the mode itself is left as it is."""
    global _device_id
    _require_cuda(device_id)
    _device_id = int(device_id)
    import torch

    torch.cuda.set_device(_device_id)   # for Python layers that compute with torch or CuPy


def _require_cuda(device_id: int) -> None:
    import torch

    if not torch.cuda.is_available():
        raise DeviceError("GPU mode needs a CUDA device", found=f"torch {torch.__version__} that sees none",
                          help="call caffe.set_mode_cpu(), or install a CUDA build of PyTorch on a machine with a GPU")
    count = torch.cuda.device_count()
    if not 0 <= device_id < count:
        raise DeviceError(f"there is no GPU {device_id}", found=f"{count} device(s), numbered from 0",
                          help="`caffe device_query -gpu all` lists them")


def mode() -> str:
    """"GPU" or "CPU"."""
    return "GPU" if _gpu else "CPU"


def device() -> torch.device:
    """The torch device that layers compute on now."""
    import torch

    return torch.device("cuda", _device_id) if _gpu else torch.device("cpu")


def set_random_seed(seed: int) -> None:
    """Seed every random choice of the engine: fillers, Dropout, shuffles of built-in data layers."""
    global _seed
    _seed = int(seed) % (1 << 63)   # torch accepts any 64-bit number; Caffe's random_seed is an int64, maybe negative
    for generator in _generators.values():
        generator.manual_seed(_seed)


def generator(where: torch.device | None = None) -> torch.Generator:
    """The engine's random generator on a device (the host's when none is given)."""
    global _seed
    import torch

    key = str(where or "cpu")
    if key not in _generators:
        if _seed is None:  # as Caffe: unseeded runs differ from each other
            _seed = int.from_bytes(os.urandom(7), "little")
        _generators[key] = torch.Generator(device=key).manual_seed(_seed)
    return _generators[key]


def random_states() -> dict[str, bytes]:
    """The state of every generator in use, for a snapshot."""
    return {k: bytes(g.get_state().numpy().tobytes()) for k, g in _generators.items()}


def restore_random_states(states: dict[str, bytes]) -> None:
    """Put generators back to what `random_states` said; a device's goes to the device that is used now, if any."""
    import torch

    for key, raw in states.items():
        if key == "cpu" or _gpu:   # -gpu 0,1 may be resumed as -gpu 2,3
            where = torch.device("cpu") if key == "cpu" else device()
            generator(where).set_state(torch.frombuffer(bytearray(raw), dtype=torch.uint8))


def solver_count() -> int:
    return _solver_count


def set_solver_count(count: int) -> None:
    global _solver_count
    _solver_count = int(count)


def solver_rank() -> int:
    return _solver_rank


def set_solver_rank(rank: int) -> None:
    global _solver_rank
    _solver_rank = int(rank)


def set_multiprocess(flag: bool) -> None:
    global _multiprocess
    _multiprocess = bool(flag)


def multiprocess() -> bool:
    return _multiprocess


def has_nccl() -> bool:
    """Whether this PyTorch can train over several GPUs with NCCL."""
    import torch

    return bool(torch.cuda.is_available() and torch.distributed.is_available()
                and torch.distributed.is_nccl_available())
