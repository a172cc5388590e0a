"""Non-max suppression (halide_kernels): Halide and NumPy, linear, beside a quadratic NumPy and the definition.

    python benchmarks/nms.py [--rounds 3] [--largest 100000] [--json FILE]

Interleaved, one thread; medians of the rounds, packing into bits included. A square grid of windows of 14 x 14 cells,
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
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from halide_kernels import backend, nms  # noqa: E402
from halide_kernels.nms import _shared  # noqa: E402
from halide_kernels.nms_grids import Meeting  # noqa: E402

R, THRESHOLD = 14, 0.5
# the grid's side, peers that are not too slow there
SIZES = ((24, ("Halide", "NumPy", "quadratic", "definition")), (32, ("Halide", "NumPy", "quadratic")),
         (100, ("Halide", "NumPy", "quadratic")), (316, ("Halide",)), (1000, ("Halide",)))


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


def linear(conflicts: Any) -> Any:
    return lambda *case: nms.suppress(nms.pack(*case[:3]), case[3], conflicts)[0]


PEERS = {"Halide": linear(nms.with_halide), "NumPy": linear(nms.with_numpy), "quadratic": quadratic,
         "definition": nms.with_pixels}


def measure(side: int, peers: tuple[str, ...], kind: str, rounds: int) -> dict[str, Any]:
    given, times, kept = case(side, kind), {name: [] for name in peers}, {}   # type: ignore[var-annotated]
    for _ in range(rounds):
        for name in peers:
            begun = time.perf_counter()
            kept[name] = PEERS[name](*given, THRESHOLD)
            times[name].append(time.perf_counter() - begun)
    if any((mask != kept["Halide"]).any() for mask in kept.values()):
        raise SystemExit("the back ends differ")
    median = {name: statistics.median(t) for name, t in times.items()}
    return {"kind": kind, "regions": side**2, "kept": int(kept["Halide"].sum()), "median_s": median,
            "us_per_region": {name: t / side**2 * 1e6 for name, t in median.items()}}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--largest", type=int, default=100000, help="skip more regions than that")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if backend.find("halide")[0] is None:
        raise SystemExit(backend.find("halide")[1])
    PEERS["Halide"](*case(4, "noise"), THRESHOLD)   # compiles
    found = []
    for kind in ("objects", "noise"):
        for side, peers in SIZES:
            if side**2 > args.largest:
                continue
            slow = kind == "noise" and side > 32
            found.append(measure(side, ("Halide",) if slow else peers, kind, args.rounds))
            each = found[-1]
            print(f"{kind}, {side**2} regions, {each['kept']} kept: " + ", ".join(
                f"{name} {t:.3f} s ({each['us_per_region'][name]:.1f} us per region)"
                for name, t in each["median_s"].items()), flush=True)
    if args.json:
        args.json.write_text(json.dumps({
            "what": "non-max suppression on the CPU, one thread", "rounds": args.rounds, "cpus": os.cpu_count(),
            "halide": importlib.metadata.version("halide"), "numpy": np.__version__,
            "python": platform.python_version(), "sizes": found}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
