"""FCN-32s at 500x500, forward + backward: this engine beside the same arithmetic written directly in PyTorch.

    python benchmarks/fcn32s.py [--size 500] [--rounds 11] [--gpu N] [--json FILE]

Time: both in one process, interleaved; the median of the rounds' ratios counts. Peak memory: each alone in a process
of its own (the process's peak on the CPU, torch's peak of allocated bytes on a GPU). The engine runs as
`caffe train` runs it (`release_blobs`); the figure for pycaffe's way, every blob kept, stands beside it.
"""
from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

CLASSES = 21
Step = Callable[[], float]


def caffe_step(size: int, gpu: int | None, release: bool) -> Step:
    """One clear + forward + backward of the thesis's FCN-32s train net, its data layer replaced by inputs."""
    import caffe
    from prototxt import registry

    if gpu is not None:
        caffe.set_device(gpu)
        caffe.set_mode_gpu()
    caffe.set_random_seed(1)
    net_param = registry.build("fcn32s", "train", classes=CLASSES)
    data = next(layer for layer in net_param.layer if layer.type == "Python")
    data.Clear()
    data.name, data.type = "data", "Input"
    data.top.extend(["data", "label"])
    data.input_param.shape.add().dim.extend([1, 3, size, size])
    data.input_param.shape.add().dim.extend([1, 1, size, size])
    for layer in net_param.layer:   # weights as after transplanting: not all zero
        if layer.type == "Convolution":
            layer.convolution_param.weight_filler.type = "msra"
    with tempfile.NamedTemporaryFile("w", suffix=".prototxt") as f:
        f.write(str(net_param))
        f.flush()
        net = caffe.Net(f.name, caffe.TRAIN)
    net.release_blobs = release
    images, labels = make_input(size)
    net.blobs["data"].data[...] = images
    net.blobs["label"].data[...] = labels

    def step() -> float:
        net.clear_param_diffs()
        loss = net.forward_loss()
        net.backward_loss()
        return loss

    return step


def torch_step(size: int, gpu: int | None) -> Step:
    """The peer: the same layers as plain PyTorch calls with its own autograd."""
    import torch
    import torch.nn.functional as F

    from caffe import state

    device = torch.device("cpu" if gpu is None else f"cuda:{gpu}")
    state.set_precision()   # the arithmetic of the engine: no TF32, deterministic convolutions
    torch.manual_seed(1)

    def conv(cin: int, cout: int, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        weight = torch.empty(cout, cin, k, k).normal_(0, (2 / (cin * k * k)) ** 0.5)
        return weight.to(device).requires_grad_(), torch.zeros(cout, device=device, requires_grad=True)

    blocks, cin = [], 3
    for width, depth in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        block = []
        for _ in range(depth):
            block.append(conv(cin, width, 3))
            cin = width
        blocks.append(block)
    fc6, fc7, score = conv(512, 4096, 7), conv(4096, 4096, 1), conv(4096, CLASSES, 1)
    line = 1 - (torch.arange(64) / 32 - (2 * 32 - 1) / 64).abs()
    up = torch.zeros(CLASSES, CLASSES, 64, 64)
    for c in range(CLASSES):
        up[c, c] = torch.outer(line, line)
    up = up.to(device)
    params = [p for block in blocks for wb in block for p in wb] + [*fc6, *fc7, *score]
    images, labels = (torch.from_numpy(a).to(device) for a in make_input(size))
    target = labels[:, 0].long()

    def step() -> float:
        for p in params:
            p.grad = None
        x, pad = images, 100
        for block in blocks:
            for w, b in block:
                x = F.relu_(F.conv2d(x, w, b, padding=pad))
                pad = 1
            x = F.max_pool2d(x, 2, 2, ceil_mode=True)
        x = F.dropout(F.relu_(F.conv2d(x, *fc6)), 0.5)   # autograd refuses dropout in place here
        x = F.dropout(F.relu_(F.conv2d(x, *fc7)), 0.5)
        x = F.conv_transpose2d(F.conv2d(x, *score), up, stride=32)[:, :, 19:19 + size, 19:19 + size]
        loss = F.cross_entropy(x, target, ignore_index=255)
        loss.backward()
        return float(loss.detach())

    return step


def make_input(size: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, (1, 1, size, size))
    labels[rng.random(labels.shape) < 0.05] = 255
    return rng.normal(0, 50, (1, 3, size, size)).astype("float32"), labels.astype("float32")


def make(what: str, size: int, gpu: int | None) -> Step:
    return torch_step(size, gpu) if what == "torch" else caffe_step(size, gpu, what == "caffe")


def synchronise(gpu: int | None) -> None:
    if gpu is not None:
        import torch

        torch.cuda.synchronize(gpu)


def timed(step: Step, gpu: int | None) -> float:
    synchronise(gpu)
    start = time.perf_counter()
    step()
    synchronise(gpu)
    return time.perf_counter() - start


def peak(what: str, size: int, gpu: int | None) -> float:
    """Peak memory in MiB over three steps; meant for a fresh process."""
    step = make(what, size, gpu)
    for _ in range(3):
        step()
    if gpu is not None:
        import torch

        return torch.cuda.max_memory_allocated(gpu) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--gpu", type=int)
    parser.add_argument("--json")
    parser.add_argument("--peak", choices=("torch", "caffe", "caffe-keep"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peak:
        print(peak(args.peak, args.size, args.gpu))
        return 0

    memory = {}
    for what in ("torch", "caffe", "caffe-keep"):
        command = [sys.executable, __file__, "--peak", what, "--size", str(args.size)]
        command += ["--gpu", str(args.gpu)] if args.gpu is not None else []
        memory[what] = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])

    steps = {what: make(what, args.size, args.gpu) for what in ("torch", "caffe")}
    for step in steps.values():
        step()
    gc.collect()
    times: dict[str, list[float]] = {what: [] for what in steps}
    for i in range(args.rounds):
        for what in sorted(steps, reverse=bool(i % 2)):   # who goes first alternates
            times[what].append(timed(steps[what], args.gpu))
    ratios = [c / t for c, t in zip(times["caffe"], times["torch"], strict=True)]
    import torch

    result = {
        "what": f"FCN-32s forward+backward, {args.size}x{args.size}", "rounds": args.rounds,
        "torch_s": statistics.median(times["torch"]), "caffe_s": statistics.median(times["caffe"]),
        "time_ratio": statistics.median(ratios), "time_ratios": ratios,
        "peak_mib": memory, "memory_ratio": memory["caffe"] / memory["torch"],
        "memory_ratio_all_blobs_kept": memory["caffe-keep"] / memory["torch"],
        "device": torch.cuda.get_device_name(args.gpu) if args.gpu is not None else f"{os.cpu_count()} CPU cores",
        "torch": torch.__version__, "python": platform.python_version(), "threads": torch.get_num_threads(),
    }
    print(f"{result['what']} on {result['device']}, torch {result['torch']}")
    print(f"  PyTorch directly    {result['torch_s']:8.3f} s   {memory['torch']:8.0f} MiB")
    print(f"  this engine         {result['caffe_s']:8.3f} s   {memory['caffe']:8.0f} MiB")
    print(f"  ... all blobs kept  {'':8}     {memory['caffe-keep']:8.0f} MiB")
    print(f"  ratio: time {result['time_ratio']:.3f} (rounds {', '.join(f'{r:.3f}' for r in ratios)}), "
          f"memory {result['memory_ratio']:.3f} (all blobs kept {result['memory_ratio_all_blobs_kept']:.3f})")
    if args.json:
        Path(args.json).write_text(json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
