"""How long `import caffe` and `caffe -help` take, beside an empty Python: python benchmarks/startup.py [--rounds 10]

Each round starts one fresh process of each, interleaved; `import` is measured inside its process.
"""
from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
IMPORT = "import time; t = time.perf_counter(); import caffe; print(time.perf_counter() - t)"


def process(*args: str) -> tuple[float, str]:
    start = time.perf_counter()
    done = subprocess.run([sys.executable, *args], cwd=ROOT, check=True, capture_output=True, text=True)
    return time.perf_counter() - start, done.stdout


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    rounds = parser.parse_args().rounds
    times: dict[str, list[float]] = {"python -c pass": [], "import caffe": [], "caffe -help": []}
    for _ in range(rounds):
        times["python -c pass"].append(process("-c", "pass")[0])
        times["import caffe"].append(float(process("-c", IMPORT)[1]))
        times["caffe -help"].append(process("-m", "caffe", "-help")[0])
    for name, values in times.items():
        middle = statistics.median(values)
        print(f"{name:15} median {middle:.3f} s, least {min(values):.3f} s, most {max(values):.3f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
