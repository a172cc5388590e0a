"""The best overlap of each object over all regions (proposals.overlap) beside pycocotools, which compares all masks.

    python benchmarks/best_overlap.py [--rounds 3] [--json FILE]

CPU time of one thread; medians of the rounds, interleaved. A picture of 640 x 480 with 8 ellipses, radii 5 to 200, and
the windows of Table 4.1. "trained": a region is the object at its centre, each logit with noise; "noise": logits are
noise alone. Peers see all regions, or every 8th centre of each pathway; pycocotools only the latter, since it needs
all masks as RLE, which `halide_kernels.rle` encodes: that time is given apart from its I/U.
"""
from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from data.coco import Instance  # noqa: E402
from halide_kernels import rle  # noqa: E402
from halide_kernels.nms import Pathway  # noqa: E402
from proposals.overlap import best_overlaps  # noqa: E402
from proposals.plane import Plane, thinned  # noqa: E402

HEIGHT, WIDTH = 480, 640
LEVELS = (("conv2_2", 2, 14), ("conv3_3", 4, 14), ("conv4_3", 8, 18), ("conv5_3", 16, 18), ("fc6", 32, 18))


def objects() -> list[Instance]:
    draw, (y, x) = np.random.default_rng(1), np.mgrid[:HEIGHT, :WIDTH]
    masks = [np.hypot((y - draw.uniform(0, HEIGHT)) / r, (x - draw.uniform(0, WIDTH)) / (1.3 * r)) < 1
             for r in np.geomspace(200, 5, 8)]   # the larger ones below
    return [Instance(mask, float(mask.sum()), False, n, 1) for n, mask in enumerate(masks, 1)]


def planes(instances: list[Instance], kind: str) -> list[Plane]:
    draw, labels, found = np.random.default_rng(0), np.zeros((HEIGHT, WIDTH), int), []
    for one in instances:
        labels[one.mask] = one.id
    for name, step, side in LEVELS:
        window, grid = side * step, (HEIGHT // step + 1, WIDTH // step + 1)
        cells = draw.standard_normal((side**2, *grid), np.float32)
        if kind == "trained":
            around = np.pad(labels, window)

            def at(dy: int, dx: int, window: int = window, step: int = step, around: Any = around) -> Any:
                return around[window + dy:window + dy + HEIGHT + 1:step, window + dx:window + dx + WIDTH + 1:step]

            centre = at(0, 0)
            for k in range(side**2):
                dy, dx = (int((i - (side - 1) / 2) * step) for i in divmod(k, side))
                cells[k] = 0.5 * cells[k] + np.where((at(dy, dx) == centre) & (centre > 0), 1, -1)
        found.append(Plane(name, Pathway(-window // 2, -window // 2, step, step, side), cells,
                           np.zeros(grid, np.float32)))
    return found


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    begun = time.process_time()
    result = work()
    return time.process_time() - begun, result


def with_pycocotools(given: list[Plane], instances: list[Instance]) -> tuple[dict[str, float], Any]:
    encode, masks = timed(lambda: [
        mask for plane in given for mask in rle.encode_all(
            plane.cells.reshape(plane.place.side, plane.place.side, -1),
            *plane.corner(*np.divmod(np.arange(plane.scores.size), plane.grid[1])), plane.place.cell, HEIGHT, WIDTH)])
    truth = [coco.encode(np.asfortranarray(one.mask, np.uint8)) for one in instances]
    pairs, overlap = timed(lambda: np.asarray(coco.iou(masks, truth, [0] * len(truth))).max(0))
    return {"pycocotools: masks": encode, "pycocotools: I/U": pairs}, overlap


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    instances, rows = objects(), []
    for kind in ("trained", "noise"):
        full = planes(instances, kind)
        for step in (1, 8):
            given = [thinned(plane, step) for plane in full]
            times: dict[str, list[float]] = {}
            for _ in range(args.rounds):
                seconds, best = timed(lambda given=given: best_overlaps(given, instances))   # type: ignore[misc]
                found = {"ours": seconds}
                if step > 1:
                    theirs, overlap = with_pycocotools(given, instances)
                    found |= theirs
                    if abs(best.overlap - overlap).max() > 1e-3:   # a pixel at 0 but for float32's rounding
                        raise SystemExit(f"they differ: {best.overlap}, {overlap}")
                for name, value in found.items():
                    times.setdefault(name, []).append(value)
            row = {"logits": kind, "regions": int(sum(plane.scores.size for plane in given)),
                   "ABO": float(best.overlap.mean()), **{name: statistics.median(v) for name, v in times.items()}}
            rows.append(row)
            print("  ".join(f"{name} {value:.3f}" if isinstance(value, float) else f"{name} {value}"
                            for name, value in row.items()), flush=True)
    if args.json:
        args.json.write_text(json.dumps({
            "what": "best overlaps of 8 objects, CPU seconds of one thread", "rounds": args.rounds,
            "cpus": os.cpu_count(), "numpy": np.__version__, "python": platform.python_version(),
            "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
