"""Runs of region nets: planned, trained, and loaded again, in the folders of tools/run_folder.py (thesis 4.4)."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import caffe
from data import open_dataset
from data.coco import COCO
from halide_kernels.nms import Pathway as Place
from proposals.baseline import grid_of
from proposals.plane import Plane
from prototxt.files import FOLDER, text
from prototxt.regions import Pathway, build_regions, pathways, region_net, region_solver
from surgery import check_weights, identity, transplant_weights
from tools.curve import Curve
from tools.errors import RunError
from tools.plan import digest, made_with
from tools.run_folder import RunFolder, sha256
from tools.run_log import logged_to, say
from tools.score_files import to_json
from tools.session import choose_device
from tools.stopping import StopRequest
from tools.train_loop import TrainLoop
from tools.weights import find_weights

NEW_LAYERS = ("pairs_*", "regions_*", "hidden_*", "score_*", "conv10_regions")
"""Layers that no classifier has."""


@dataclass(frozen=True)
class RegionPlan:
    """What a run will do.  `options`: of `prototxt.regions.region_solver` (fields of SolverParameter)."""

    net: str
    dataset: COCO
    data: str
    splits: dict[str, str]
    iterations: int
    weights: Path | None
    seed: int = 1337
    gpu: int | None = None

    def settings(self) -> dict[str, Any]:
        """What decides the result, as plain JSON values: a resumed run must agree in all of it."""
        return {
            "kind": "regions", "net": self.net, "data": self.data, "splits": self.splits,
            "train": digest(self.dataset.ids(self.splits["train"])), "iters": self.iterations, "seed": self.seed,
            "weights": {"file": self.weights.name, "sha256": sha256(self.weights)} if self.weights else None,
        }


def region_plan(net: str, data: str | None = None, iters: int | None = None, weights: str | None = None,
                seed: int = 1337, gpu: int | None = None) -> RegionPlan:
    """The plan of what was typed.  Raises the errors of `data` and of the registry, and RunError for the others."""
    entry = region_net(net)
    named = data or entry.data
    dataset = open_dataset(named)
    if not isinstance(dataset, COCO):
        raise RunError("region nets learn from object instances", found=named,
                       expected="a folder in COCO's layout", help="docs/data.md says what that is")
    if dataset.name != named:
        named = str(Path(named).expanduser().resolve())   # the nets must find the folder from anywhere
    splits = {kind: next((s for s in dataset.splits() if s.startswith(kind)), dataset.splits()[0])
              for kind in ("train", "val")}
    if iters is not None and iters < 1:
        raise RunError("--iters must be at least 1", found=iters)
    count = iters or region_solver(net, "", "").max_iter
    return RegionPlan(net, dataset, named, splits, count, find_weights(weights, entry.weights, net), seed, gpu)


def train_regions(plan: RegionPlan, folder: RunFolder, resume: bool = False, command: str = "") -> dict[str, Any]:
    """Train a plan in a folder, or go on with it; returns and keeps (scores.json) the record of the training.

    Raises RunError (folder or settings), Stopped after Ctrl-C, and what the engine and the data set raise.
    """
    choose_device(plan.gpu)
    if resume:
        folder.resume(plan.settings(), made_with(plan.gpu))
    else:
        folder.begin(plan.settings(), made_with(plan.gpu), [], command)
    record: dict[str, Any] | None = folder.read_json(folder.scores("json"))
    if record is not None:
        return record
    with logged_to(folder.log), StopRequest() as stop:
        curve = Curve(folder.curve)
        solver = _solver(plan, folder)
        states = folder.states(plan.net)
        if states:
            say(f"{plan.net}: going on from iteration {states[-1][0]}")
            solver.restore(str(states[-1][1]))
        else:
            say(f"{plan.net}: {plan.iterations} iterations")
            _initialise(solver.net, plan)
        begun = solver.iter
        curve.keep(lambda row: row["iter"] <= begun)
        loop = TrainLoop(solver, plan.net, plan.iterations, folder, curve, stop, 20, 100)
        loop.run(0, lambda at: None)
        if not folder.weights(plan.net, plan.iterations).exists():
            solver.snapshot()
        folder.prune(plan.net, keep=1)
    record = {"net": plan.net, "iterations": plan.iterations, "train_seconds": round(loop.seconds, 1),
              "loss": loop.mean_loss(),
              "weights": folder.weights(plan.net, plan.iterations).relative_to(folder.root).as_posix()}
    folder.scores("json").write_text(to_json(record), encoding="utf-8")
    return record


def _solver(plan: RegionPlan, folder: RunFolder) -> Any:
    source = dict(module="layers.instances", layer="InstanceDataLayer",
                  param_str=dict(data=plan.data, split=plan.splits["train"], seed=plan.seed))
    for kind in ("train", "deploy"):
        net = build_regions(plan.net, kind, source if kind == "train" else None)
        folder.net(plan.net, kind).write_text(text(net), encoding="utf-8")
    settings = region_solver(plan.net, str(folder.net(plan.net, "train")), str(folder.prefix(plan.net)),
                             max_iter=plan.iterations, random_seed=plan.seed)
    folder.net(plan.net, "solver").write_text(text(settings), encoding="utf-8")
    solver = caffe.get_solver(str(folder.net(plan.net, "solver")))
    if hasattr(solver.net, "release_blobs"):
        solver.net.release_blobs = True   # activations go as backward passes them
    return solver


def _initialise(net: Any, plan: RegionPlan) -> None:
    """The classifier's weights, and the matrices as identities."""
    report = None
    if plan.weights is not None:
        say(f"weights from {plan.weights}")
        report = transplant_weights(net, plan.weights, print_report=False)
        say(str(report))
    identity(net, region_net(plan.net).matrices)
    for sentence in check_weights(net, report, NEW_LAYERS):
        say(f"warning: {sentence}")


class RegionPredictor:
    """A trained region net, picture by picture.  `seconds`: of the forward passes so far, `pictures`: how many."""

    def __init__(self, name: str, weights: str | os.PathLike[str], deploy: Path | None = None) -> None:
        """`name`: of the net whose geometry it has; `deploy`: its prototxt (None: the committed one)."""
        self.entry, self.paths = region_net(name), pathways(name)
        self.net = caffe.Net(str(deploy or FOLDER / name / "deploy.prototxt"), caffe.TEST)
        report = transplant_weights(self.net, weights, print_report=False)
        if report.left_at_filler:
            missing = [entry.layer for entry in report.left_at_filler]
            raise RunError("these are not the weights of this net", file=weights,
                           found=f"nothing that fits {missing[0]!r}", help="give the weights of " + name)
        self.mean = np.array(self.entry.mean, np.float32)
        self.seconds, self.pictures = 0.0, 0

    def __call__(self, image: Any) -> list[Plane]:
        """The planes of an image, H x W x 3 uint8 RGB."""
        data = (image[:, :, ::-1].astype(np.float32) - self.mean).transpose(2, 0, 1)
        self.net.blobs["data"].reshape(1, *data.shape)
        self.net.reshape()
        self.net.blobs["data"].data[0] = data
        begun = time.perf_counter()
        self.net.forward()
        planes = [self._plane(path) for path in self.paths]
        self.seconds += time.perf_counter() - begun
        self.pictures += 1
        return planes

    def geometry(self, height: int, width: int) -> list[Plane]:
        """The planes of an image of this size without content: where its regions lie."""
        self.net.blobs["data"].reshape(1, 3, height, width)
        self.net.reshape()
        shapes = {path.regions: tuple(self.net.blobs[path.regions].data.shape) for path in self.paths}
        return [grid_of(path.level.name, _place(path), (shapes[path.regions][2], shapes[path.regions][3]))
                for path in self.paths]

    def _plane(self, path: Pathway) -> Plane:
        cells = np.array(self.net.blobs[path.regions].data[0], np.float32)
        score = self.net.blobs[path.score].data[0, 0] if path.score else np.zeros(cells.shape[1:], np.float32)
        return Plane(path.level.name, _place(path), cells, np.array(score, np.float32))


def _place(path: Pathway) -> Place:
    return Place(path.first, path.first, path.stride, path.level.factor, path.level.side)


def of_region_run(root: str | os.PathLike[str], net: str | None = None) -> tuple[RegionPredictor, dict[str, Any]]:
    """The predictor of a finished run, and the run's settings; `net`: another net that takes the same weights, for
    instance of lower density.  Raises RunError where there is no finished run of a region net."""
    folder = RunFolder(root)
    settings = folder.read_config()["settings"]
    record = folder.read_json(folder.scores("json"))
    if settings.get("kind") != "regions" or record is None:
        raise RunError("this is no finished run of a region net", file=root, help="tools/regions.py train makes one")
    name = net or settings["net"]
    deploy = folder.net(name, "deploy")
    if not deploy.exists():
        deploy.write_text(text(build_regions(name)), encoding="utf-8")
    return RegionPredictor(name, folder.root / record["weights"], deploy), settings


def opened(settings: dict[str, Any], data: str | None, split: str | None, count: int | None) -> tuple[COCO, list[str]]:
    """The data set and the first `count` (None: all) pictures of a split; by default the run's, of its val split."""
    dataset = open_dataset(data or settings["data"])
    if not isinstance(dataset, COCO):
        raise RunError("regions are scored on object instances", found=data, expected="a folder in COCO's layout")
    wanted = split or (settings["splits"]["val"] if data is None else
                       next((name for name in dataset.splits() if name.startswith("val")), dataset.splits()[0]))
    return dataset, dataset.ids(wanted)[:count]
