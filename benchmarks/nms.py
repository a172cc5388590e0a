"""Non-max suppression (halide_kernels): Halide and NumPy, linear, beside a quadratic NumPy and the definition.

    python benchmarks/nms.py [--rounds 3] [--largest 1000000] [--gpu 0] [--json FILE]

Interleaved, one thread, the processor's seconds (with --gpu the clock's, where CUDA takes the place of Halide); medians
of the rounds, packing into bits and sorting included. A square grid of windows of 14 x 14 cells,
a centre in every cell, threshold 0.5. "objects": the picture is blocks of 10 x 10 cells, a region is the block at its
centre with 2 % of its cells wrong, so that a few in a hundred are kept. "noise": each cell at random, so that all are
kept, the worst case.
"Quadratic" compares each kept region with all that are left, on the same bits.
"""
from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import gpu  # noqa: E402
from halide_kernels import nms  # noqa: E402
from halide_kernels.nms import _shared  # noqa: E402
from halide_kernels.nms_grids import Meeting  # noqa: E402

R, THRESHOLD = 14, 0.5
FAST, REPEATED = ("Halide", "CUDA"), 20000   # the call is repeated until it has seen so many regions
# the grid's side, other peers that are not too slow there
SIZES = ((24, ("NumPy", "quadratic", "definition")), (32, ("NumPy", "quadratic")), (100, ("NumPy", "quadratic")),
         (316, ()), (1000, ()))


def case(side: int, kind: str) -> tuple[list[Any], list[Any], list[Any]]:
    draw = np.random.default_rng(0)
    masks = np.empty((R * R, side, side), bool)
    centres = np.arange(side) // 10
    for k in range(R * R):
        wrong = draw.random((side, side), np.float32) < (0.02 if kind == "objects" else 0.4)
        row, column = ((np.arange(side) + offset - R // 2) // 10 == centres for offset in divmod(k, R))
        masks[k] = (row[:, None] & column if kind == "objects" else True) ^ wrong
    return [nms.Pathway(0, 0, 4, 4, R)], [masks], [draw.random((side, side), np.float32)]


def quadratic(pathways: Any, masks: Any, scores: Any, threshold: float) -> Any:
    packed = nms.pack(pathways, masks, scores)
    left, kept = packed.order.astype(np.int64), np.zeros(len(packed.rank), bool)
    own = packed.paths[0]
    while len(left):
        first, left = left[0], left[1:]
        kept[first] = True
        parts = []
        for start in range(0, len(left), 4096):
            others = left[start:start + 4096]
            both = _shared(packed, Meeting(own, own, packed.unit), np.full(len(others), first), others)
            parts.append(others[~(both > threshold * (packed.area[first] + packed.area[others] - both))])
        left = np.concatenate(parts) if parts else left
    return kept


def linear(name: str) -> Any:
    kernels = nms.BACKENDS[name]
    return lambda pathways, masks, scores, threshold: nms.suppress(
        nms.pack(pathways, masks, scores, kernels), threshold, kernels)[0]


PEERS = {"Halide": linear("halide"), "CUDA": linear("cuda"), "NumPy": linear("numpy"), "quadratic": quadratic,
         "definition": nms.with_pixels}


def measure(side: int, peers: tuple[str, ...], kind: str, rounds: int, cupy: Any) -> dict[str, Any]:
    given = case(side, kind)
    kept: dict[str, Any] = {}

    def run(name: str, calls: int) -> None:
        for _ in range(calls):
            kept[name] = PEERS[name](*given, THRESHOLD)

    calls = {name: max(1, REPEATED // side**2) if name in FAST else 1 for name in peers}
    times = gpu.interleaved({name: partial(run, name, calls[name]) for name in peers}, rounds, 1, cupy)
    median = {name: statistics.median(t) / calls[name] for name, t in times.items()}
    if any((mask != kept[peers[0]]).any() for mask in kept.values()):
        raise SystemExit("the back ends differ")
    return {"kind": kind, "regions": side**2, "kept": int(kept[peers[0]].sum()), "median_s": median,
            "us_per_region": {name: t / side**2 * 1e6 for name, t in median.items()}}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--largest", type=int, default=10**6, help="skip more regions than that")
    parser.add_argument("--json", type=Path)
    gpu.add_option(parser)
    args = parser.parse_args()
    os.environ["HL_NUM_THREADS"] = "1"
    cupy, found = gpu.choose(args.gpu), []
    fast = "Halide" if cupy is None else "CUDA"
    for kind in ("objects", "noise"):
        for side, peers in SIZES:
            if side**2 > args.largest:
                continue
            slow = kind == "noise" and side > 32
            found.append(measure(side, (fast, *(() if slow else peers)), kind, args.rounds, cupy))
            each = found[-1]
            print(f"{kind}, {side**2} regions, {each['kept']} kept: " + ", ".join(
                f"{name} {t:.3f} s ({each['us_per_region'][name]:.1f} us per region)"
                for name, t in each["median_s"].items()), flush=True)
    if args.json:
        args.json.write_text(json.dumps({
            "what": "non-max suppression", "gpu": gpu.name(args.gpu), "rounds": args.rounds, "cpus": os.cpu_count(),
            "halide": importlib.metadata.version("halide"), "numpy": np.__version__,
            "python": platform.python_version(), "sizes": found}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
