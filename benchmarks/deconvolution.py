"""Fixed bilinear Deconvolution at the sizes of FCNs: this engine, the dense product, and torch's own upsampling.

    python benchmarks/deconvolution.py [--rounds 9] [--json FILE]

A Deconvolution layer with Caffe's bilinear kernels, forward, and forward + backward to its bottom, interleaved with the
dense product that Caffe computes (a bare `conv_transpose2d`, which the engine runs for other weights) and with
F.interpolate, which upsamples by the same factor but treats the edges otherwise: a yardstick, not an equal.
CPU only: on a GPU the engine takes the dense product. Its time includes the net's call and the look at the weights.
"""
from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import caffe  # noqa: E402
from surgery import bilinear  # noqa: E402

# what, channels, kernel, stride, side of the bottom for an image of 500 x 500 with pad 100
SIZES = (("FCN-32s upscore", 21, 64, 32, 16), ("FCN-16s upscore16", 21, 32, 16, 34), ("FCN-8s upscore8", 21, 16, 8, 70),
         ("FCN-8s upscore2", 21, 4, 2, 16), ("PASCAL-Context FCN-32s upscore", 60, 64, 32, 16))
NET = """
layer {{ name: "x" type: "Parameter" top: "x" parameter_param {{ shape {{ dim: 1 dim: {c} dim: {n} dim: {n} }} }} }}
layer {{ name: "up" type: "Deconvolution" bottom: "x" top: "y" param {{ lr_mult: 0 }} convolution_param {{
  num_output: {c} kernel_size: {k} stride: {s} bias_term: false }} }}
layer {{ name: "loss" type: "Reduction" bottom: "y" top: "loss" loss_weight: 1 }}
"""
Run = Callable[[bool], object]


def engine(c: int, k: int, s: int, n: int) -> tuple[Run, np.ndarray]:
    """The layer alone, called as the net calls it; and its weight."""
    with tempfile.NamedTemporaryFile("w", suffix=".prototxt") as f:
        f.write(NET.format(c=c, k=k, s=s, n=n))
        f.flush()
        net = caffe.Net(f.name, caffe.TRAIN)
    weight = net.params["up"][0].data
    weight[range(c), range(c)] = bilinear.upsample_filt(k)
    net.params["x"][0].data[...] = np.random.default_rng(1).normal(size=(1, c, n, n))
    net.forward()
    net.backward()   # fills the diff of y

    def run(backward: bool) -> None:
        net.forward(start="up", end="up")
        if backward:
            net.backward(start="up", end="up")

    return run, weight


def peer(call: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> Run:
    diff = torch.ones_like(call(x))

    def run(backward: bool) -> None:
        if backward:
            torch.autograd.grad(call(x), x, diff)
        else:
            with torch.no_grad():
                call(x)

    return run


def measure(c: int, k: int, s: int, n: int, rounds: int) -> dict[str, float]:
    """Median milliseconds, interleaved: `caffe`, `dense`, `interpolate`, forward and (`_both`) with backward."""
    ours, array = engine(c, k, s, n)
    weight = torch.from_numpy(array.copy())
    x = torch.randn(1, c, n, n, requires_grad=True)
    runs = {"caffe": ours, "dense": peer(lambda t: F.conv_transpose2d(t, weight, stride=s), x),
            "interpolate": peer(lambda t: F.interpolate(t, scale_factor=s, mode="bilinear", align_corners=False), x)}
    times: dict[str, list[float]] = {}
    for i in range(rounds + 1):
        for name, run in runs.items():
            for backward in (False, True):
                start = time.perf_counter()
                run(backward)
                if i:   # the first round warms up
                    times.setdefault(name + "_both" * backward, []).append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", metavar="FILE", help="also write the figures")
    options = parser.parse_args()
    print(f"{'ms, forward / forward + backward':34}{'caffe':>16}{'dense':>18}{'interpolate':>16}   against dense")
    rows = []
    for what, c, k, s, n in SIZES:
        row = measure(c, k, s, n, options.rounds)
        cells = [f"{row[name]:.1f} / {row[name + '_both']:.1f}" for name in ("caffe", "dense", "interpolate")]
        gain = [row[name] / row[name.replace("dense", "caffe")] for name in ("dense", "dense_both")]
        print(f"{what:34}{cells[0]:>16}{cells[1]:>18}{cells[2]:>16}   {gain[0]:.2f}x / {gain[1]:.2f}x"
              + (" SLOWER" if min(gain) < 1 else ""))
        rows.append({"what": what, "channels": c, "kernel": k, "stride": s, "bottom": n, **row,
                     "speedup": gain[0], "speedup_both": gain[1]})
    if options.json:
        about = {"rounds": options.rounds, "unit": "ms, median", "torch": torch.__version__,
                 "python": platform.python_version(), "machine": platform.machine(), "threads": torch.get_num_threads()}
        Path(options.json).write_text(json.dumps({**about, "sizes": rows}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
