"""The pairwise transpose (halide_kernels), forward and backward, beside a plain copy and a gather in PyTorch.

    python benchmarks/pairwise_transpose.py [--rounds 15] [--threads 1] [--gpu 0] [--json FILE]

Interleaved; times are medians, ratios medians of the rounds' ratios; with one thread they are the processor's seconds,
else the clock's. "of a copy" is the bandwidth relative to copying an array of the result's size, by the faster of
NumPy's and PyTorch's copy: 100 % is the time of that copy. "gather" is PyTorch's, with the index of each value and a
mask made beforehand: torch.gather and a product forward, a product and scatter_add_ backward. Forward leads for even R
to the dual grid, backward back.
"""
from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import gpu  # noqa: E402
from halide_kernels import pairwise_transpose  # noqa: E402

# R, height, width: conv3_3's regions on 640 x 480 (thesis, Table 4.1), the same on a finer grid, conv4_3's, and odd R
SIZES = ((14, 120, 160), (14, 240, 320), (18, 60, 80), (13, 120, 160))


def peers(r: int, height: int, width: int, cupy: Any) -> dict[str, dict[str, Any]]:
    """For each direction the functions that are timed; all write the same result."""
    import torch

    more = 1 - r % 2
    p = np.random.default_rng(0).standard_normal((1, r * r, height, width), np.float32)
    q = np.random.default_rng(1).standard_normal((1, r * r, height + more, width + more), np.float32)
    # where each value of q comes from in p; 0 is no place
    numbered = np.arange(1.0, p.size + 1).reshape(p.shape)
    places = np.empty(q.shape)
    pairwise_transpose.with_numpy(numbered, places)
    device = "cpu" if cupy is None else "cuda"
    index = torch.from_numpy(np.maximum(places.astype(np.int64) - 1, 0)).flatten().to(device)
    known = torch.from_numpy((places > 0).astype(np.float32)).flatten().to(device)
    result = {}
    for name, given, goal in (("forward", p, q), ("backward", q, p)):
        source, target = torch.from_numpy(given).to(device), torch.empty(goal.shape, device=device)
        like = torch.from_numpy(goal.copy()).to(device)   # what a plain copy reads: as large as the result

        def gather(name: str = name, source: Any = source, target: Any = target) -> None:
            if name == "forward":
                torch.gather(source.flatten(), 0, index, out=target.view(-1)).mul_(known)
            else:
                target.zero_()
                target.view(-1).scatter_add_(0, index, source.flatten() * known)

        def on(run: Any, array: Any = np.asarray if cupy is None else cupy.asarray, one: Any = source,
               two: Any = target) -> Any:
            arrays = array(one), array(two)
            return lambda: run(*arrays)

        result[name] = {"kernel": on(pairwise_transpose.with_halide if cupy is None else pairwise_transpose.with_cuda),
                        "gather": gather, "copy, PyTorch": lambda t=target, o=like: t.copy_(o)}
        if cupy is None:
            result[name] |= {"copy, NumPy": on(lambda one, two: np.copyto(two, one), one=like),
                             "NumPy": on(pairwise_transpose.with_numpy)}
        expected = np.empty_like(goal)
        pairwise_transpose.with_numpy(given, expected)
        for each in ("kernel", "gather"):
            target.fill_(np.nan)
            result[name][each]()
            if not np.array_equal(target.cpu().numpy(), expected):
                raise SystemExit(f"{each} is wrong, {name}, R {r}")
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    gpu.add_option(parser)
    args = parser.parse_args()
    os.environ["HL_NUM_THREADS"] = str(args.threads)
    import torch

    torch.set_num_threads(args.threads)
    cupy = gpu.choose(args.gpu)
    found = []
    for size in SIZES:
        for direction, run in peers(*size, cupy).items():
            times = gpu.interleaved(run, args.rounds, args.threads, cupy)
            median = {name: statistics.median(t) for name, t in times.items()}
            copy = min((name for name in times if name.startswith("copy")), key=median.__getitem__)
            found.append({"R": size[0], "grid": size[1:], "direction": direction, "median_s": median,
                          "of_a_copy": gpu.ratio(times, copy, "kernel"),
                          "to_kernel": {name: gpu.ratio(times, name, "kernel") for name in times if name != "kernel"}})
            each: Any = found[-1]
            print(f"R {size[0]} on {size[1]} x {size[2]}, {direction}: {median['kernel'] * 1e3:.2f} ms, "
                  f"{each['of_a_copy']:.0%} of a copy; " + ", ".join(
                      f"{name} {median[name] * 1e3:.2f} ms ({x:.1f}x)" for name, x in each["to_kernel"].items()),
                  flush=True)
    if args.json:
        args.json.write_text(json.dumps({
            "what": "pairwise transpose", "rounds": args.rounds, "threads": args.threads, "cpus": os.cpu_count(),
            "gpu": gpu.name(args.gpu), "halide": importlib.metadata.version("halide"), "torch": torch.__version__,
            "numpy": np.__version__, "python": platform.python_version(), "sizes": found}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
