"""Loss sampling (halide_kernels): Halide beside the NumPy definition and beside NumPy that hashes each cell once.

    python benchmarks/loss_sampling.py [--rounds 15] [--json FILE]

Interleaved, one thread each; times are medians, ratios medians of the rounds' ratios to Halide's time: above 1 Halide
is faster. "per cell" draws for the cells and spreads the draws over their pixels, as one would write it by hand.
"""
from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from halide_kernels import backend, loss_sampling  # noqa: E402

# pictures, height, width, side of a cell
SIZES = ((1, 16, 16, 1), (1, 96, 96, 32), (1, 500, 500, 1), (1, 500, 500, 32), (20, 500, 500, 32), (1, 1080, 1920, 32))


def per_cell(labels: Any, rows: Any, cols: Any, keep: Any, key: int, out: Any) -> None:
    """NumPy again, hashing as often as there are cells; the draws go to the pixels by index."""
    mix, (n, y, x) = loss_sampling._mix, (
        np.arange(count, dtype=np.uint32) for count in (len(labels), rows[-1] + 1, cols[-1] + 1))
    cells = mix(mix(mix(np.array([key], np.uint32), n)[:, None, None], y[:, None]), x) >> 8
    u = cells[:, rows][:, :, cols]
    out[...] = np.where(u < keep[labels.astype(np.uint8)], labels, np.float32(255))


PEERS = {"Halide": loss_sampling.with_halide, "NumPy": loss_sampling.with_numpy, "NumPy per cell": per_cell}


def measure(size: tuple[int, int, int, int], rounds: int) -> dict[str, Any]:
    n, height, width, cell = size
    labels = np.random.default_rng(0).integers(0, 21, (n, height, width)).astype(np.float32)
    rows, cols = ((np.arange(side) // cell).astype(np.uint32) for side in (height, width))
    keep = loss_sampling.probabilities(0.5, {})
    outs = {name: np.empty_like(labels) for name in PEERS}
    times: dict[str, list[float]] = {name: [] for name in PEERS}
    for turn in range(rounds + 1):   # the first warms up, and compiles
        for name, run in PEERS.items():
            calls = 1 if labels.size > 10**6 else 10
            begun = time.perf_counter()
            for _ in range(calls):
                run(labels, rows, cols, keep, turn, outs[name])
            if turn:
                times[name].append((time.perf_counter() - begun) / calls)
        if any((out != outs["NumPy"]).any() for out in outs.values()):
            raise SystemExit("the back ends differ")
    ratios = {name: statistics.median(t / h for t, h in zip(times[name], times["Halide"], strict=True))
              for name in PEERS if name != "Halide"}
    return {"size": size, "median_s": {name: statistics.median(t) for name, t in times.items()}, "to_halide": ratios}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if backend.find("halide")[0] is None:
        raise SystemExit(backend.find("halide")[1])
    begun = time.perf_counter()
    loss_sampling._compiled()
    compiling = time.perf_counter() - begun
    print(f"compiling takes {compiling:.2f} s, once in a process")
    found = []
    for size in SIZES:
        result = measure(size, args.rounds)
        found.append(result)
        print("{} x {} x {}, cells of {}: ".format(*size) + ", ".join(
            f"{name} {seconds * 1e3:.3f} ms" + (f" ({result['to_halide'][name]:.1f}x)" if name != "Halide" else "")
            for name, seconds in result["median_s"].items()))
    if args.json:
        args.json.write_text(json.dumps({
            "what": "loss sampling on the CPU, one thread", "rounds": args.rounds, "cpus": os.cpu_count(),
            "halide": importlib.metadata.version("halide"), "numpy": np.__version__,
            "python": platform.python_version(), "compile_s": compiling, "sizes": found}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
