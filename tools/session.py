"""What score.py and infer.py share: the device, and the net of files or of a run folder."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import caffe
from prototxt import recipe_of
from surgery import transplant_weights
from tools.errors import RunError
from tools.plan import feeds_of, short
from tools.predict import Feed
from tools.run_folder import RunFolder
from tools.scoring import blob_of


@dataclass(frozen=True)
class Trained:
    """A net's files and what goes with it: what its inputs take, the scores it gives, and of a run its stage, class
    names, data set and palette."""

    net: Path
    weights: Path
    feeds: dict[str, Feed]
    outputs: tuple[str, ...] = ("score",)
    stage: str | None = None
    classes: tuple[str, ...] | None = None
    data: str | None = None
    palette: np.ndarray | None = None

    @property
    def mean(self) -> tuple[float, ...]:
        """The mean (BGR) of a net that takes images in `data`."""
        return self.feeds["data"].mean if "data" in self.feeds else (0.0, 0.0, 0.0)

    def load(self) -> Any:
        """The caffe.Net in test phase.

        Raises RunError when the weights leave a layer of the net without its parameters, which Caffe itself
        would not mention, and ParseError, WeightsError, ... for files that are no prototxt or caffemodel.
        """
        net = caffe.Net(str(self.net), caffe.TEST)
        report = transplant_weights(net, self.weights, print_report=False)
        if report.left_at_filler:
            missing = list(dict.fromkeys(entry.layer for entry in report.left_at_filler))
            raise RunError("these are not the weights of this net", file=self.weights,
                           found=f"nothing that fits {len(missing)} layers, for instance {missing[0]!r}",
                           expected=f"all parameters of {self.net}",
                           help="give the weights and the prototxt of one stage; tools/solve.py's snapshots "
                           "and prototxts begin with its name")
        return net


def add_net_arguments(parser: argparse.ArgumentParser) -> None:
    """--net and --weights, or --run; --mean; --gpu."""
    parser.add_argument("--net", metavar="PROTOTXT", help="the net; needs --weights")
    parser.add_argument("--weights", metavar="FILE", help="its caffemodel")
    parser.add_argument("--run", metavar="DIR", help="instead of both: a run folder of tools/solve.py")
    parser.add_argument("--stage", metavar="NAME", help="with --run: which stage (default: the last)")
    parser.add_argument("--mean", metavar="B,G,R", help="mean to subtract (default: the run's, else ILSVRC's "
                        "104.00699,116.66877,122.67892)")
    parser.add_argument("--gpu", type=int, metavar="N", help="compute on this GPU (default: on the CPU)")


def trained_net(given: argparse.Namespace) -> Trained:
    """The net of the arguments of `add_net_arguments`.  Raises RunError when they do not name one."""
    mean = parse_mean(given.mean)
    if given.run is not None:
        if given.net or given.weights:
            raise RunError("--run already says which net and weights", help="leave out --net and --weights")
        return of_run(given.run, given.stage, mean)
    if not (given.net and given.weights):
        raise RunError("which net?", found=f"--net {given.net}, --weights {given.weights}",
                       help="give --net PROTOTXT and --weights FILE, or --run DIR")
    for path in (given.net, given.weights):
        if not Path(path).is_file():
            raise RunError("there is no such file", file=path, help="check the path")
    return Trained(Path(given.net), Path(given.weights),
                   {"data": Feed("data", mean or (104.00699, 116.66877, 122.67892))})


def of_run(
    root: str | os.PathLike[str], stage: str | None = None, mean: Sequence[float] | None = None
) -> Trained:
    """A finished stage of a run folder, the last one by default.  Raises RunError when there is none."""
    folder = RunFolder(root)
    config = folder.read_config()
    records = folder.read_json(folder.scores("json")) or {}
    names = {short(name): name for name in records} | {name: name for name in records}
    if not records or (stage is not None and stage not in names):
        what = f"a stage {stage!r}" if stage else "any stage"
        raise RunError(f"the run has not finished {what}", file=root, found=", ".join(records) or "no scores",
                       help="go on with it: tools/solve.py --resume")
    stage = names[stage] if stage else list(records)[-1]
    settings = config["settings"]
    feeds = feeds_of(stage)
    if mean is not None:
        feeds = {blob: Feed(feed.top, tuple(mean)) for blob, feed in feeds.items()}
    return Trained(folder.net(stage, "deploy"), folder.root / records[stage]["weights"], feeds,
                   tuple(blob_of(head.label) for head in recipe_of(stage).heads), stage, tuple(settings["classes"]),
                   settings["data"], np.array(config["palette"], np.uint8))


def parse_mean(given: str | None) -> tuple[float, ...] | None:
    """"104,117,123" as numbers.  Raises RunError for anything else than three."""
    if given is None:
        return None
    try:
        values = tuple(float(part) for part in given.split(","))
    except ValueError:
        values = ()
    if len(values) != 3:
        raise RunError("--mean wants three numbers: blue, green, red", found=repr(given),
                       help="for instance --mean 104,117,123")
    return values


def choose_device(gpu: int | None) -> None:
    """The GPU of this number, or the CPU.  Raises DeviceError when there is no such GPU."""
    if gpu is None:
        caffe.set_mode_cpu()
    else:
        caffe.set_device(gpu)
        caffe.set_mode_gpu()
