"""Loss sampling (halide_kernels): Halide beside the NumPy definition and beside NumPy that hashes each cell once.

    python benchmarks/loss_sampling.py [--rounds 15] [--gpu 0] [--json FILE]

Interleaved, one thread each, the processor's seconds (with --gpu the clock's); times are medians, ratios medians of the
rounds' ratios to Halide's time: above 1 Halide is faster. With --gpu CUDA takes the place of Halide. "per cell" draws
for the cells and spreads the draws over their pixels, as one would write it by hand.
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
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import gpu  # noqa: E402
from halide_kernels import loss_sampling  # noqa: E402

# pictures, height, width, side of a cell
SIZES = ((1, 16, 16, 1), (1, 96, 96, 32), (1, 500, 500, 1), (1, 500, 500, 32), (20, 500, 500, 32), (1, 1080, 1920, 32))


def per_cell(labels: Any, rows: Any, cols: Any, keep: Any, key: int, out: Any) -> None:
    """NumPy again, hashing as often as there are cells; the draws go to the pixels by index."""
    mix, (n, y, x) = loss_sampling._mix, (
        np.arange(count, dtype=np.uint32) for count in (len(labels), rows[-1] + 1, cols[-1] + 1))
    cells = mix(mix(mix(np.array([key], np.uint32), n)[:, None, None], y[:, None]), x) >> 8
    u = cells[:, rows][:, :, cols]
    out[...] = np.where(u < keep[labels.astype(np.uint8)], labels, np.float32(255))


PEERS = {"NumPy": loss_sampling.with_numpy, "NumPy per cell": per_cell}


def measure(size: tuple[int, int, int, int], rounds: int, cupy: Any) -> dict[str, Any]:
    n, height, width, cell = size
    labels = np.random.default_rng(0).integers(0, 21, (n, height, width)).astype(np.float32)
    rows, cols = ((np.arange(side) // cell).astype(np.uint32) for side in (height, width))
    keep, calls = loss_sampling.probabilities(0.5, {}), 1 if labels.size > 10**6 else 10
    if cupy is None:
        fast, run, copy = "Halide", loss_sampling.with_halide, np.copy
    else:
        fast, run, copy = "CUDA", loss_sampling.with_cuda, cupy.array
    peers = {fast: (run, copy(labels), copy(labels))}
    peers |= {name: (each, labels, np.empty_like(labels)) for name, each in PEERS.items()}

    def repeated(run: Any, given: Any, out: Any) -> None:
        for key in range(calls):
            run(given, rows, cols, keep, key, out)

    times = {name: [t / calls for t in each] for name, each in gpu.interleaved(
        {name: partial(repeated, *peer) for name, peer in peers.items()}, rounds, 1, cupy).items()}
    outs = [out if isinstance(out, np.ndarray) else out.get() for _, _, out in peers.values()]
    if any((out != outs[0]).any() for out in outs):
        raise SystemExit("the back ends differ")
    return {"size": size, "median_s": {name: statistics.median(t) for name, t in times.items()},
            f"to_{fast}": {name: gpu.ratio(times, name, fast) for name in PEERS}}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path)
    gpu.add_option(parser)
    args = parser.parse_args()
    cupy, compiling, found = gpu.choose(args.gpu), None, []
    if cupy is None:
        begun = time.process_time()
        loss_sampling._compiled()
        compiling = time.process_time() - begun
        print(f"compiling takes {compiling:.2f} s, once in a process")
    for size in SIZES:
        result = measure(size, args.rounds, cupy)
        found.append(result)
        fast = "Halide" if cupy is None else "CUDA"
        print("{} x {} x {}, cells of {}: ".format(*size) + ", ".join(
            f"{name} {seconds * 1e3:.3f} ms" + (f" ({result[f'to_{fast}'][name]:.1f}x)" if name in PEERS else "")
            for name, seconds in result["median_s"].items()))
    if args.json:
        args.json.write_text(json.dumps({
            "what": "loss sampling", "gpu": gpu.name(args.gpu), "rounds": args.rounds, "cpus": os.cpu_count(),
            "halide": importlib.metadata.version("halide"), "numpy": np.__version__,
            "python": platform.python_version(), "compile_s": compiling, "sizes": found}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
