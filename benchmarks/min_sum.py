"""Min-sum belief propagation (halide_kernels): Halide beside NumPy, and the two ways to send a message.

    python benchmarks/min_sum.py [--rounds 5] [--json FILE]

Interleaved; medians of the rounds, copies to Halide's layout and back included. `HL_NUM_THREADS` says how many threads
Halide has; NumPy has one. First square grids with square windows of labels: seconds for 100 sweeps, of which NumPy does
few and is scaled up; on a busy machine the seconds of CPU tell more. Then rows of labels, by trying all and by the
lower envelope of parabolas, which is linear: both in NumPy; and Halide's whole sweep, which tries all, beside the lower
envelope alone in C, if there is a C compiler.
"""
from __future__ import annotations

import argparse
import ctypes
import importlib.metadata
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from halide_kernels import backend, min_sum  # noqa: E402

BETA = 3e-3
CASES = ((14, 9), (30, 11), (30, 21), (60, 21))   # side of the grid, side of the window of labels
ROWS = (11, 21, 41, 81, 161, 321)                      # labels in a row

ENVELOPE = r"""
/* The lower envelope of parabolas, a row after another, for finite values */
void envelope(const float* rows, float* out, long count, long size, float beta) {
    static int place[4096];
    static float start[4097];
    for (long i = 0; i < count; i++, rows += size, out += size) {
        long k = 0;
        place[0] = 0, start[0] = -1e30f, start[1] = 1e30f;
        for (int q = 1; q < size; q++) {
            float meet;
            for (;; k--) {
                int p = place[k];
                meet = 0.5f * (q + p) + (rows[q] - rows[p]) / (2.0f * beta * (q - p));
                if (meet > start[k]) break;
            }
            place[++k] = q, start[k] = meet, start[k + 1] = 1e30f;
        }
        k = 0;
        for (int q = 0; q < size; q++) {
            while (start[k + 1] < q) k++;
            float way = q - place[k];
            out[q] = rows[place[k]] + beta * way * way;
        }
    }
}
"""


def median(run: Callable[[], Any], rounds: int) -> float:
    times = []
    for _ in range(rounds):
        begun = time.perf_counter()
        run()
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def grid(side: int, window: int, rounds: int) -> dict[str, Any]:
    """100 sweeps by Halide, and by NumPy scaled up from two, in turn."""
    draw = np.random.default_rng(0)
    data = draw.random((side, side, window, window), np.float32)
    centres = np.zeros((side, side, 2), np.float32)
    wall: dict[str, list[float]] = {"Halide": [], "NumPy": []}
    cpu: dict[str, list[float]] = {"Halide": [], "NumPy": []}
    for _ in range(rounds):
        for name, run, sweeps in (("Halide", min_sum.with_halide, 100), ("NumPy", min_sum.with_numpy, 2)):
            messages = np.zeros((4, *data.shape), np.float32)
            begun, used = time.perf_counter(), time.process_time()
            run(data, centres, BETA, messages, sweeps)
            wall[name].append((time.perf_counter() - begun) * 100 / sweeps)
            cpu[name].append((time.process_time() - used) * 100 / sweeps)
    return {"grid": side, "labels": window, "median_s_100_sweeps": {n: statistics.median(t) for n, t in wall.items()},
            "median_cpu_s_100_sweeps": {n: statistics.median(t) for n, t in cpu.items()},
            "ratio": statistics.median(b / a for a, b in zip(wall["Halide"], wall["NumPy"], strict=True))}


def transforms(size: int, rounds: int, envelope: Any) -> dict[str, Any]:
    """Nanoseconds for each label of a distance transform of rows of `size` labels."""
    draw = np.random.default_rng(0)
    count = max(64, 200_000 // size)
    rows, out = draw.random((count, size), np.float32), np.empty((count, size), np.float32)
    offset = np.zeros(count)
    # a grid with as many rows: windows of 1 row by `size`, so that a message is one transform and one row's copy
    data = draw.random((16, 16, 1, size), np.float32)
    centres, messages = np.zeros((16, 16, 2), np.float32), np.zeros((4, *data.shape), np.float32)
    sent = 2 * (16 * 15 * 2) * size
    ways = {"NumPy, all": (lambda: min_sum.try_all(rows, BETA, offset), rows.size),
            "NumPy, envelope": (lambda: min_sum.lower_envelope(rows, BETA, offset), rows.size),
            "Halide, all (whole sweep)": (lambda: min_sum.with_halide(data, centres, BETA, messages, 20), 20 * sent)}
    if envelope:
        at = [ctypes.c_void_p(array.ctypes.data) for array in (rows, out)]
        ways["C, envelope"] = (lambda: envelope(*at, ctypes.c_long(count), ctypes.c_long(size), ctypes.c_float(BETA)),
                               rows.size)
    return {"labels_in_a_row": size, "ns_per_label": {
        name: 1e9 * median(run, rounds) / labels for name, (run, labels) in ways.items()}}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if backend.find("halide")[0] is None:
        raise SystemExit(backend.find("halide")[1])
    min_sum.with_halide(np.zeros((2, 2, 2, 2), np.float32), np.zeros((2, 2, 2), np.float32), BETA,
                        np.zeros((4, 2, 2, 2, 2), np.float32), 1)   # compiles
    threads = os.environ.get("HL_NUM_THREADS") or os.cpu_count()
    grids, rows = [], []
    for side, window in CASES:
        grids.append(grid(side, window, args.rounds))
        times, cpu = grids[-1]["median_s_100_sweeps"], grids[-1]["median_cpu_s_100_sweeps"]
        print(f"{side} x {side} nodes, {window} x {window} labels, 100 sweeps: Halide {times['Halide']:.2f} s "
              f"({cpu['Halide']:.2f} s of CPU), NumPy {times['NumPy']:.1f} s ({cpu['NumPy']:.1f}), "
              f"{grids[-1]['ratio']:.0f} times", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        envelope = None
        if shutil.which("cc"):
            source, library = Path(folder, "envelope.c"), Path(folder, "envelope.so")
            source.write_text(ENVELOPE)
            subprocess.run(["cc", "-O3", "-march=native", "-ffast-math", "-shared", "-fPIC", source, "-o", library],
                           check=True)
            envelope = ctypes.CDLL(str(library)).envelope
        for size in ROWS:
            rows.append(transforms(size, args.rounds, envelope))
            print(f"{size} labels in a row, ns per label: " + ", ".join(
                f"{name} {ns:.1f}" for name, ns in rows[-1]["ns_per_label"].items()), flush=True)
    if args.json:
        args.json.write_text(json.dumps({
            "what": "min-sum belief propagation on the CPU", "rounds": args.rounds, "cpus": os.cpu_count(),
            "halide_threads": int(threads or 1), "halide": importlib.metadata.version("halide"),
            "numpy": np.__version__, "python": platform.python_version(), "grids": grids, "transforms": rows},
            indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
