"""What the kernels' benchmarks share: the option --gpu, and timing on a device."""
from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from halide_kernels import backend  # noqa: E402


def add_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--gpu", type=int, metavar="DEVICE", help="CUDA through CuPy, and the peers on that device")


def choose(number: int | None) -> Any:
    """Makes a CUDA device the current one of torch and CuPy, and returns CuPy; for None checks that Halide is there.
    SystemExit with one sentence where what is asked for is missing."""
    if number is None:
        if backend.find("halide")[0] is None:
            raise SystemExit(f"Halide is needed to measure on the CPU: {backend.find('halide')[1]}")
        return None
    import torch

    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not 0 <= number < found:
        raise SystemExit(f"--gpu {number}: there is no such CUDA device; PyTorch {torch.__version__} sees {found}")
    cupy, why = backend.find("cupy")
    if cupy is None:
        raise SystemExit(f"--gpu {number} needs CuPy (pip install cupy-cuda12x): {why}")
    torch.cuda.set_device(number)
    cupy.cuda.Device(number).use()
    return cupy


def name(number: int | None) -> str | None:
    import torch

    return None if number is None else torch.cuda.get_device_name(number)


def interleaved(peers: Mapping[str, Callable[[], Any]], rounds: int, threads: int, cupy: Any = None
                ) -> dict[str, list[float]]:
    """Seconds of each peer in each round, one after another; a round before the first warms up and compiles. With one
    thread they are the processor's, which other programs on the machine disturb less, else the clock's. On a device
    the clock stops when it has finished; torch and CuPy both work on its default stream."""
    clock = time.process_time if threads == 1 and cupy is None else time.perf_counter
    times: dict[str, list[float]] = {peer: [] for peer in peers}
    for turn in range(rounds + 1):
        for peer, run in peers.items():
            begun = clock()
            run()
            if cupy is not None:
                cupy.cuda.runtime.deviceSynchronize()
            if turn:
                times[peer].append(clock() - begun)
    return times


def ratio(times: Mapping[str, list[float]], over: str, under: str) -> float:
    """The median of the rounds' ratios."""
    return statistics.median(a / b for a, b in zip(times[over], times[under], strict=True))
