"""Writing and reading a caffemodel of FCN-32s for PASCAL VOC (519 MiB): seconds, and peak memory beside its size.

    python benchmarks/files.py [--rounds 5] [--folder FOLDER] [--json FILE]

Each round writes it, writes the same bytes plainly (one write and fsync: what the disk can do) and reads it, each in a
process of its own. Memory is what the process takes at its peak beyond what it had before: when writing, beyond the
net; when reading, beyond the imported package, so the net's own parameters count once.
"""
from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

STEPS = ("write", "plain write", "read")


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def step(name: str, folder: Path) -> dict[str, float]:
    """One step in this fresh process: its seconds and the bytes that its peak lies above the start."""
    import torch

    import caffe

    torch.ones(1).add_(1)
    prototxt, model = folder / "net.prototxt", folder / "w.caffemodel"
    if name == "plain write":
        content = model.read_bytes()
        before, begun = peak(), time.perf_counter()
        with open(folder / "plain", "wb") as file:
            file.write(content)
            os.fsync(file.fileno())
    elif name == "write":
        net = caffe.Net(str(prototxt), caffe.TEST)
        for blobs in net.params.values():
            for blob in blobs:
                blob.data[...] = 1   # memory that is really there
        before, begun = peak(), time.perf_counter()
        net.save(str(model))
    else:
        before = peak()
        net = caffe.Net(str(prototxt), caffe.TEST)
        begun = time.perf_counter()
        net.copy_from(str(model))
    return {"seconds": time.perf_counter() - begun, "peak": peak() - before}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where to write (default: the system's folder for temporary files)")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.step:
        os.environ["GLOG_minloglevel"] = "2"
        print(json.dumps(step(args.step, args.folder)))
        return 0

    from prototxt import registry

    found: dict[str, list[dict[str, float]]] = {name: [] for name in STEPS}
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        Path(folder, "net.prototxt").write_text(str(registry.build("fcn32s", "deploy", classes=21)))
        for _ in range(args.rounds):
            for name in STEPS:
                done = subprocess.run([sys.executable, __file__, "--step", name, "--folder", folder], check=True,
                                      stdout=subprocess.PIPE, text=True)
                found[name].append(json.loads(done.stdout))
        size = Path(folder, "w.caffemodel").stat().st_size
    result: dict[str, object] = {"what": "caffemodel of FCN-32s, written and read", "bytes": size,
                                 "rounds": args.rounds, "cpus": os.cpu_count(), "python": platform.python_version()}
    print(f"{size / 2**20:.0f} MiB, {args.rounds} rounds")
    for name, runs in found.items():
        seconds = [run["seconds"] for run in runs]
        times = max(run["peak"] for run in runs) / size
        result[name.replace(" ", "_")] = {"median_s": statistics.median(seconds), "seconds": seconds,
                                          "peak_multiple": times}
        print(f"  {name:12} median {statistics.median(seconds):6.2f} s, least {min(seconds):.2f} s, most "
              f"{max(seconds):.2f} s, peak {times:.2f} x the file")
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
