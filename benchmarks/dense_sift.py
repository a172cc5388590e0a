"""Dense SIFT beside OpenCV's: the same upright descriptors at 10^5 points of a 500 x 500 image, one thread each.

    python benchmarks/dense_sift.py [--rounds 3] [--points 100489] [--json FILE]

Ours (correspondence/sift.py) takes all points at once; OpenCV's SIFT_create().compute goes from keypoint to keypoint,
so it gets 2000 of them and its time is multiplied (its pyramid, made once, is left out: the time of one keypoint).
Times are of the process's CPU.  Ours takes OpenCV's smoothing, so that the descriptors agree.
"""
from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from pathlib import Path
from typing import Any

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):   # read when NumPy loads
    os.environ.setdefault(name, "1")

import cv2  # noqa: E402
import numpy as np  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from correspondence.sift import dense_sift  # noqa: E402

SIZE = 500
SAMPLE = 2000   # of the points, for OpenCV


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--points", type=int, default=100489, help="a square number is a grid")
    parser.add_argument("--radii", type=float, nargs="*", default=[10, 20, 40, 80, 160])
    parser.add_argument("--json", metavar="FILE")
    given = parser.parse_args()
    opencv: Any = cv2   # whose type hints lack SIFT
    opencv.setNumThreads(1)
    noise = np.random.default_rng(0).integers(0, 256, (SIZE // 4, SIZE // 4), dtype=np.uint8)
    image = opencv.resize(noise, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
    axis = np.linspace(0, SIZE - 1, round(given.points**0.5)).round().astype(int)
    points = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    sift = opencv.SIFT_create()
    rows = []
    print(f"{len(points)} points, {SIZE} x {SIZE} pixels, {platform.processor() or platform.machine()}")
    print(f"{'radius':>7} {'ours (s)':>9} {'OpenCV (s)':>11} {'largest difference of 255':>26}")
    for radius in given.radii:
        every = max(1, len(points) // SAMPLE)
        keypoints = [cv2.KeyPoint(float(x), float(y), radius / 3, 0.0, 1.0, 0) for x, y in points[::every]]
        ours, theirs = [], []
        for _ in range(given.rounds):
            at = [time.process_time()]
            found = dense_sift(image, points, radius, smoothing=1.6)
            at.append(time.process_time())
            sift.compute(image, keypoints[:1])
            at.append(time.process_time())
            _, expected = sift.compute(image, keypoints)
            at.append(time.process_time())
            first, pyramid, all_ = np.diff(at)
            ours.append(float(first))
            theirs.append(float((all_ - pyramid) * len(points) / max(1, len(keypoints) - 1)))
        apart = float(np.abs(np.minimum(512 * found[::every], 255) - expected).max())
        rows.append({"radius": radius, "ours_s": statistics.median(ours), "opencv_s": statistics.median(theirs),
                     "difference": apart})
        print(f"{radius:7g} {rows[-1]['ours_s']:9.2f} {rows[-1]['opencv_s']:11.2f} {apart:26.2f}", flush=True)
    if given.json:
        Path(given.json).write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
