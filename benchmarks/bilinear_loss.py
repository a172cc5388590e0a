"""On-the-fly bilinear loss (halide_kernels) beside PyTorch that upsamples first, forward and backward together.

    python benchmarks/bilinear_loss.py [--rounds 7] [--threads 1] [--gpu 0] [--json FILE]

The size is that of VGG-16's conv3_3 on a 640x480 image (thesis, Table 4.1): 120x160 centres, R 14, windows of 56
pixels. All centres count. PyTorch upsamples by `F.interpolate` (edges of windows repeat, which is cheaper than fading
them out) and takes `binary_cross_entropy_with_logits`, all regions at once and in chunks of 256.
Interleaved; times are medians, the processor's seconds with one thread, else the clock's; ratios are medians of the
rounds' ratios to our kernel's time: above 1 ours is faster. Memory is the peak of resident memory (on a GPU, of what
PyTorch and CuPy took of it) beyond scores, labels and the scores' gradient, each peer in a process of its own after a
small warm-up. With --gpu CUDA takes the place of Halide, and PyTorch computes on the same device.
"""
from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import gpu  # noqa: E402
from halide_kernels import bilinear_loss  # noqa: E402

HEIGHT, WIDTH, R, S = 120, 160, 14, 4
FIRST = S // 2 - R * S // 2   # pixel at which the first window begins
VOID = 255


def inputs(height: int, width: int) -> tuple[Any, Any, Any]:
    """Scores, labels of blocks of 32 pixels, and regions: the instance under each centre."""
    draw = np.random.default_rng(0)
    scores = draw.standard_normal((1, R * R, height, width), np.float32)
    labels = draw.integers(1, 8, (1, height * S // 32 + 1, width * S // 32 + 1)).astype(np.float32)
    labels = labels.repeat(32, 1).repeat(32, 2)[:, : height * S, : width * S]
    labels[:, ::7, ::11] = VOID
    y, x = np.indices((height, width)).reshape(2, -1)
    return scores, labels, np.stack([0 * y, y, x, np.maximum(labels[0, y * S + 2, x * S + 2], 1).astype(int)], 1)


def kernel(scores: Any, labels: Any, regions: Any, diff: Any) -> float:
    loss, grad, _ = bilinear_loss.mean_loss(scores, labels, regions, S, True, VOID, S, FIRST)
    diff[...] = 0
    diff[0].reshape(R * R, -1)[:, regions[:, 1] * scores.shape[3] + regions[:, 2]] = grad
    return loss


def pytorch(scores: Any, labels: Any, regions: Any, diff: Any, chunk: int = 10**9) -> float:
    import torch
    import torch.nn.functional as F

    def tensor(array: Any) -> Any:   # CuPy's too, without a copy
        return torch.from_numpy(array) if isinstance(array, np.ndarray) else torch.from_dlpack(array)

    side, total, count = R * S, 0.0, len(regions)
    image = F.pad(tensor(labels[0]), (side,) * 4, value=VOID)
    views = image.unfold(0, side, 1).unfold(1, side, 1)   # every window, without a copy
    y, x, ids = torch.from_numpy(regions[:, 1:]).T.to(image.device)
    flat, out = tensor(scores[0]).flatten(1), tensor(diff[0]).flatten(1)
    for at in range(0, count, chunk):
        part = slice(at, at + chunk)
        places = y[part] * scores.shape[3] + x[part]
        cells = flat[:, places].T.reshape(-1, 1, R, R).requires_grad_()
        up = F.interpolate(cells, scale_factor=S, mode="bilinear", align_corners=False)[:, 0]
        window = views[y[part] * S + FIRST + side, x[part] * S + FIRST + side]
        counts = (window != VOID).float()
        counts /= counts.sum((1, 2), keepdim=True) * count
        targets = (window == ids[part, None, None]).float()
        loss = F.binary_cross_entropy_with_logits(up, targets, counts, reduction="sum")
        out[:, places] = torch.autograd.grad(loss, cells)[0].reshape(-1, R * R).T
        total += loss.item()
    return total


PEERS: dict[str, Any] = {"kernel": kernel, "PyTorch": pytorch, "PyTorch in chunks": partial(pytorch, chunk=256)}


def on_device(given: tuple[Any, Any, Any], cupy: Any) -> tuple[Any, Any, Any, Any]:
    """Scores, labels and the gradient's memory where the peers compute; the regions stay on the host."""
    scores, labels, regions = given
    scores, labels = (scores, labels) if cupy is None else (cupy.asarray(scores), cupy.asarray(labels))
    return scores, labels, regions, scores * 0 + 1


def memory(name: str, cupy: Any) -> int:
    """Peak bytes of a call beyond its inputs and outputs; in this process (resident memory: Linux)."""
    def status(field: str) -> int:
        return next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines()
                    if line.startswith(field)) * 1024

    PEERS[name](*on_device(inputs(8, 8), cupy))
    given = on_device(inputs(HEIGHT, WIDTH), cupy)
    if cupy is not None:
        import torch

        # both keep what they free, so what they hold afterwards is the peak
        pool = cupy.get_default_memory_pool()
        pool.free_all_blocks()
        torch.cuda.empty_cache()
        before = pool.total_bytes() + torch.cuda.memory_reserved()
        PEERS[name](*given)
        return pool.total_bytes() + torch.cuda.memory_reserved() - before
    Path("/proc/self/clear_refs").write_text("5")   # the peak begins anew
    before = status("VmRSS")
    PEERS[name](*given)
    return status("VmHWM") - before


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--memory-of", choices=PEERS, help="print one peer's memory in bytes, and nothing else")
    gpu.add_option(parser)
    args = parser.parse_args()
    os.environ["HL_NUM_THREADS"] = str(args.threads)
    cupy = gpu.choose(args.gpu)
    import torch

    torch.set_num_threads(args.threads)
    if args.memory_of:
        print(memory(args.memory_of, cupy))
        return 0
    device = [] if cupy is None else ["--gpu", str(args.gpu)]
    extra = {name: int(subprocess.run(
        [sys.executable, __file__, "--threads", str(args.threads), *device, "--memory-of", name],
        check=True, capture_output=True, text=True).stdout) for name in PEERS}
    compiling = None
    if cupy is None:
        begun = time.process_time()
        bilinear_loss._compiled()
        compiling = time.process_time() - begun
        print(f"compiling takes {compiling:.2f} s, once in a process")
    given = on_device(inputs(HEIGHT, WIDTH), cupy)
    losses: dict[str, float] = {}

    def run(name: str) -> None:
        losses[name] = PEERS[name](*given)

    times = gpu.interleaved({name: partial(run, name) for name in PEERS}, args.rounds, args.threads, cupy)
    if max(losses.values()) - min(losses.values()) > 0.05 * min(losses.values()):   # they differ at windows' edges
        raise SystemExit(f"the peers differ: {losses}")
    ratios = {name: sorted(t / h for t, h in zip(times[name], times["kernel"], strict=True)) for name in PEERS}
    for name in PEERS:
        low, middle, high = ratios[name][0], statistics.median(ratios[name]), ratios[name][-1]
        print(f"{name}: {statistics.median(times[name]):.3f} s, {middle:.1f}x ({low:.1f} to {high:.1f}), "
              f"{extra[name] / 2**20:.0f} MiB, {extra[name] / extra['kernel']:.1f}x")
    if args.json:
        args.json.write_text(json.dumps({
            "what": "bilinear loss forward and backward at conv3_3's size", "gpu": gpu.name(args.gpu),
            "rounds": args.rounds, "threads": args.threads, "cpus": os.cpu_count(),
            "halide": importlib.metadata.version("halide"),
            "torch": torch.__version__, "numpy": np.__version__, "python": platform.python_version(),
            "compile_s": compiling, "median_s": {name: statistics.median(t) for name, t in times.items()},
            "to_kernel": ratios, "extra_bytes": extra}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
