"""What a run does, worked out from its arguments before anything is computed: data, stages, weights."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import caffe
from data import open_dataset
from prototxt import DATA, feeds, recipe_of, training
from prototxt.solvers import recipes_of
from tools.errors import RunError
from tools.predict import Feed
from tools.run_folder import sha256
from tools.weights import find_weights

ROOT = Path(__file__).resolve().parent.parent
_PACKAGES = ("torch", "numpy", "pillow", "protobuf")


@dataclass(frozen=True)
class Plan:
    """A run.  `stages` are (net name, iterations) in order; `weights` the files that they start from and the run
    does not make: {net name, or None for the classifier: file, or None to start from fillers}; `splits` the
    splits of the data set that "train" and "val" stand for; `sampling` the probability with which the loss counts a
    cell of the coarsest stride, with as many more images to a step (3.3.8)."""

    net: str
    recipe: str
    dataset: Any
    data: str
    stages: tuple[tuple[str, int], ...]
    weights: dict[str | None, Path | None]
    splits: dict[str, str]
    seed: int
    gpu: int | None = None
    val_every: int | None = None
    pictured: int = 6
    sampling: float = 1.0

    @property
    def names(self) -> list[str]:
        """The net names of the stages."""
        return [name for name, _ in self.stages]

    def ids(self, kind: str) -> list[str]:
        """The pictures to "train" on, or to validate ("val")."""
        ids: list[str] = self.dataset.ids(self.splits[kind])
        return ids

    def settings(self) -> dict[str, Any]:
        """What decides the result, as plain JSON values: a resumed run must agree in all of it."""
        weights = [{"file": path.name, "sha256": sha256(path)} for path in self.weights.values() if path]
        return {
            "net": self.net, "recipe": self.recipe, "data": self.data, "classes": list(self.dataset.classes),
            "train": digest(self.ids("train")), "val": digest(self.ids("val")),
            "stages": self.names, "iters": [n for _, n in self.stages], "seed": self.seed,
            "weights": weights,
            "feeds": {blob: [feed.top, *feed.mean] for blob, feed in feeds_of(self.net).items()},
            **({"sampling": self.sampling} if self.sampling != 1 else {}),
        }

    def palette(self) -> list[list[int]]:
        """The RGB colours of the classes."""
        return [[int(v) for v in colour] for colour in self.dataset.palette[: len(self.dataset.classes)]]

    def made_with(self) -> dict[str, Any]:
        """See `made_with`."""
        return made_with(self.gpu)


def make_plan(net: str, data: str | None = None, recipe: str | None = None, stages: str | None = None,
              iters: str | None = None, weights: str | None = None, seed: int = 1337, gpu: int | None = None,
              val_every: int | None = None, pictures: bool = True, sampling: float = 1.0) -> Plan:
    """The plan of `tools/solve.py`'s arguments, which are given as they were typed; `sampling`: see Plan.

    Raises the errors of the registry (unknown net), of `data` (data set missing) and RunError for the others.
    """
    entry = recipe_of(net)
    recipe = recipe or recipes_of(net)[0]
    chosen = _choose(entry.stages, stages)
    counts = _counts(iters, chosen, [training(name, recipe).max_iter for name in chosen])
    named = data or entry.data
    dataset = open_dataset(named)
    files = _weights(chosen, weights, entry.weights)
    if dataset.name != named:
        named = str(Path(named).expanduser().resolve())  # the nets must find the folder from anywhere
    return Plan(net, recipe, dataset, named, tuple(zip(chosen, counts, strict=True)), files,
                splits_of(net, dataset), seed, gpu, val_every, 6 if pictures else 0, sampling)


def feeds_of(net: str) -> dict[str, Feed]:
    """What the inputs of a net take from its data set."""
    return {blob: Feed(*feed) for blob, feed in feeds(net).items()}


def splits_of(net: str, dataset: Any) -> dict[str, str]:
    """What "train" and "val" are: the splits of the net's own data set where this one has them, else train and val."""
    data = DATA[recipe_of(net).data]
    own = {"train": data.train, "val": data.val}
    return own if set(own.values()) <= set(dataset.splits()) else {"train": "train", "val": "val"}


def _weights(chosen: Sequence[str], given: str | None, classifier: str | None) -> dict[str | None, Path | None]:
    """The files of `Plan.weights`; `given` names them with commas between, in the order of their use."""
    first: dict[str | None, str] = {}   # what is not made in the run -> the stage that needs it first
    for stage in chosen:
        for start in recipe_of(stage).starts:
            if start.net not in chosen:
                first.setdefault(start.net, stage)
    names = given.split(",") if given else [None] * len(first)
    if len(names) != len(first):
        needs = [name or "the classifier" for name in first]
        raise RunError("--weights names another number of files than there are starts", found=given,
                       expected=f"{len(first)}: of {', '.join(needs)}", help="separate them by ','")
    files: dict[str | None, Path | None] = {}
    for (net, stage), name in zip(first.items(), names, strict=True):
        source = f"a run of {net}: the newest {net}_iter_N.caffemodel in its snapshots/" if net else None
        files[net] = find_weights(name, f"{net}.caffemodel" if net else classifier, stage, source)
    return files


def short(stage: str) -> str:
    """The stride of a net's name, for captions: "32s" of "small-fcn32s"."""
    match = re.search(r"\d+s.*$", stage)
    return match.group(0) if match else stage


def _choose(stages: Sequence[str], given: str | None) -> list[str]:
    """Stages by full or short name, in the order of training."""
    if given is None:
        return list(stages)
    wanted = [part.strip() for part in given.split(",") if part.strip()]
    by_name = {short(name): name for name in stages} | {name: name for name in stages}
    unknown = [name for name in wanted if name not in by_name]
    if unknown or not wanted:
        raise RunError("no such stage", found=", ".join(unknown) or "an empty list",
                       expected=" or ".join(stages),
                       help="for instance --stages " + ",".join(map(short, stages)))
    chosen = [by_name[name] for name in wanted]
    if chosen != sorted(set(chosen), key=list(stages).index):
        raise RunError("stages must come in order, each once", found=", ".join(wanted),
                       expected=", ".join(stages), help="each stage starts from the coarser one before it")
    return chosen


def _counts(given: str | None, stages: Sequence[str], usual: Sequence[int]) -> list[int]:
    """Iterations of each stage."""
    if given is None:
        return list(usual)
    try:
        counts = [int(part) for part in given.split(",")]
    except ValueError:
        counts = []
    if len(counts) == 1:
        counts *= len(stages)
    if len(counts) != len(stages) or min(counts) < 1:
        raise RunError("--iters wants one number, or one for each stage", found=repr(given),
                       expected=f"{len(stages)} for {', '.join(stages)}", help="for instance --iters "
                       + ",".join(map(str, usual)))
    return counts


def digest(ids: Sequence[str]) -> dict[str, Any]:
    """A list of pictures as its length and SHA-256, so that a resumed run notices another list."""
    return {"images": len(ids), "sha256": hashlib.sha256("\n".join(ids).encode()).hexdigest()[:16]}


def made_with(gpu: int | None) -> dict[str, Any]:
    """Programs and machine: results are bit for bit the same only where these are."""
    return {
        "caffe": getattr(caffe, "__version__", "unknown"), "commit": commit(), **versions(),
        "platform": platform.platform(), "threads": _threads(), "device": "CPU" if gpu is None else f"GPU {gpu}",
    }


def versions() -> dict[str, Any]:
    """The releases of Python and of the packages that decide numbers."""
    return {**{name: _version(name) for name in _PACKAGES}, "python": platform.python_version()}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def commit() -> str | None:
    """The commit of the checkout, where it is one and git is there."""
    try:
        done = subprocess.run(["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"],
                              capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _threads() -> int:
    """How many threads the arithmetic may use: sums in another order are other sums."""
    return int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
