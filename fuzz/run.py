"""Reads damaged files and stops at the first that does anything but load or raise a CaffeError, in time and in memory.

    python fuzz/run.py --inputs 100000            all readers, a process each
    python fuzz/run.py --inputs 5000 --target datum --seed 3

Exit status 1: an input broke the rule; it is kept and its path is printed.
"""
from __future__ import annotations

import argparse
import faulthandler
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from types import FrameType

if __name__ == "__main__":   # run from a checkout that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

SECONDS = 1.0        # of processor time, for one input that is refused
HANG = 30.0          # seconds of any input: nothing may wait
MEMORY = 1 << 30     # bytes on top of what the loaded package takes
NAMES = ("net_prototxt", "net_build", "solver_prototxt", "caffemodel", "caffemodel_hdf5", "solverstate",
         "solverstate_hdf5", "sidecar", "mean", "datum", "lmdb_record", "onnx", "safetensors", "hdf5_data",
         "hdf5_list", "image_list")


class TooLong(BaseException):
    """The time for one input is over. No Exception: readers must not be able to swallow it."""


def limit_memory(extra: int = MEMORY) -> None:
    """Let this process allocate `extra` bytes more than it has now (where the system can say how many those are)."""
    status = Path("/proc/self/statm")
    if status.exists():
        size = int(status.read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (size + extra, resource.getrlimit(resource.RLIMIT_AS)[1]))


def check(name: str, path: Path) -> str | None:
    """Let a target read the input at `path`: None when it kept the rule, else what happened instead."""
    import caffe
    from fuzz.targets import TARGETS

    def over(signum: int, frame: FrameType | None) -> None:
        raise TooLong

    earlier = signal.signal(signal.SIGPROF, over)
    faulthandler.dump_traceback_later(HANG, exit=True)
    try:
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        TARGETS[name].read(path)
    except caffe.CaffeError as problem:
        try:
            str(problem)
        except Exception:   # the message must be printable too
            return traceback.format_exc()
    except TooLong:
        return f"took more than {SECONDS} s\n{traceback.format_exc()}"
    except BaseException:
        return traceback.format_exc()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGPROF, earlier)
    return None


def fuzz(name: str, inputs: int, seed: int = 0, keep: Path | None = None) -> str | None:
    """Give `inputs` damaged files to one target, in the working folder. None, or what the first fault was.

    The file lies at `keep`/<name><suffix> while it is read: after a crash it is the last one.
    """
    from fuzz.mutate import Mutator
    from fuzz.targets import TARGETS, forbid_python_layers

    forbid_python_layers()
    target = TARGETS[name]
    mutator = Mutator(target.corpus(), target.words(), seed, target.messages(), target.encode)
    path = (keep or Path.cwd()).resolve() / (name + target.suffix)
    for data in mutator.corpus:   # the sound ones must load, or the rest is worth nothing
        path.write_bytes(data)
        target.read(path)
    limit_memory()
    for i in range(inputs):
        path.write_bytes(mutator.next())
        if fault := check(name, path):
            return f"{name}, input {i} of seed {seed}, kept as {path}:\n{fault}"
    path.unlink(missing_ok=True)
    return None


def _child(names: list[str], inputs: int, seed: int, keep: Path) -> int:
    warnings.simplefilter("ignore")
    os.environ.setdefault("GLOG_minloglevel", "3")
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        faults = [fault for name in names if (fault := fuzz(name, inputs, seed, keep))]
        os.chdir(keep)
    print(*faults, sep="\n", end="\n" if faults else "")
    return 1 if faults else 0


def main() -> int:
    """The command. 0 when every input kept the rule."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=100_000, help="in all, shared by the readers")
    parser.add_argument("--target", choices=NAMES, nargs="+", help="these readers alone, in this process")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path("fuzz-faults"), help="folder for inputs that break the rule")
    arguments = parser.parse_args()
    keep = arguments.keep.resolve()
    keep.mkdir(parents=True, exist_ok=True)
    names = list(arguments.target or NAMES)
    status, each = 0, -(-arguments.inputs // len(names))
    if arguments.target:
        return _child(names, each, arguments.seed, keep)
    for name in NAMES:
        begun = time.monotonic()
        done = subprocess.run([sys.executable, __file__, "--target", name, "--inputs", str(each), "--seed",
                               str(arguments.seed), "--keep", str(keep)], env={**os.environ, "OMP_NUM_THREADS": "1"})
        print(f"{name}: {each} inputs, {time.monotonic() - begun:.0f} s, "
              + ("kept the rule" if done.returncode == 0 else f"BROKEN (exit status {done.returncode}), see {keep}"))
        status |= done.returncode != 0
    if not any(keep.iterdir()):
        keep.rmdir()
    return status


if __name__ == "__main__":
    sys.exit(main())
