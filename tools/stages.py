"""One stage of a run: its nets written, its solver built and initialised, trained, scored."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import caffe
from prototxt import build, recipe_of, solver, training
from prototxt.files import text
from prototxt.sampling import sampled, sampled_solver
from surgery import Report, check_weights, grow, interp, read_weights, transplant_weights
from surgery.checks import ZERO_INIT
from tools.curve import Curve
from tools.plan import Plan, feeds_of
from tools.run_folder import RunFolder
from tools.run_log import say
from tools.scoring import Scored, score
from tools.stopping import StopRequest
from tools.train_loop import TrainLoop


def run_stage(plan: Plan, index: int, folder: RunFolder, curve: Curve, stop: StopRequest,
              pictured: list[str]) -> dict[str, Any]:
    """Train stage number `index` to its end and score it on val; returns its score record.

    Goes on from the newest snapshot of the stage where there is one.  The predictions of the `pictured` ids
    are kept in the run folder.
    """
    stage, end = plan.stages[index]
    write_nets(plan, index, folder)
    trained = caffe.get_solver(str(folder.net(stage, "solver")))
    if hasattr(trained.net, "release_blobs"):
        trained.net.release_blobs = True  # activations go as backward passes them
    # built before a snapshot is restored: its fillers draw random numbers too
    deploy = caffe.Net(str(folder.net(stage, "deploy")), caffe.TEST)
    deploy.share_with(trained.net)
    states = folder.states(stage)
    if states:
        iteration, state = states[-1]
        say(f"\n{stage}: going on from iteration {iteration}")
        trained.restore(str(state))
    else:
        iteration = 0
        say(f"\n{stage}: {end} iterations")
        initialise(trained.net, stage, _starts(plan, index, folder))
    curve.keep(lambda row: row["stage"] != stage or row["iter"] <= iteration)

    def scored(at: int, keep: bool = False) -> Scored:
        kept_in = folder.predictions / stage if keep else None
        found = score(deploy, plan.dataset, plan.splits["val"], kept_in, feeds=feeds_of(stage), save=pictured,
                      stop=stop.check)
        curve.append(stage=stage, iter=at, kind="val", **found.metrics.four())
        say(f"{stage} {at}/{end}  val mean IU {100 * found.metrics.mean_iu:.1f}  pixel acc. "
            f"{100 * found.metrics.pixel_acc:.1f}  ({found.seconds:.1f} s)")
        if warning := found.warning(plan.dataset.classes):
            say(f"warning: {warning}")
        return found

    plain = training(stage, plan.recipe)
    loop = TrainLoop(trained, stage, end, folder, curve, stop, plain.display, plain.average_loss)
    every = -(-end // 4) if plan.val_every is None else plan.val_every  # quarters, rounded up
    loop.run(every, scored)
    if not folder.weights(stage, end).exists():
        trained.snapshot()
    folder.prune(stage, keep=1)
    curve.keep(lambda row: (row["stage"], row["iter"], row["kind"]) != (stage, end, "val"))
    record = scored(end, keep=bool(pictured)).record(plan.dataset)
    weights = folder.weights(stage, end).relative_to(folder.root).as_posix()
    return {"iterations": end, "train_seconds": round(loop.seconds, 2), "weights": weights, **record}


def write_nets(plan: Plan, index: int, folder: RunFolder) -> None:
    """The stage's train, val, deploy and solver prototxts, for the classes of the data set."""
    stage, end = plan.stages[index]
    classes = [len(plan.dataset.classes_of(label)) for label in plan.dataset.label_tops]
    for kind in ("train", "val", "deploy"):
        source = dict(module="layers.segdata", layer="SegDataLayer",
                      param_str=dict(data=plan.data, split=plan.splits.get(kind, ""), seed=plan.seed))
        net = build(stage, kind, classes, None if kind == "deploy" else source, plan.recipe)
        if not any(path for path, _ in _starts(plan, index, folder)):
            fill(net)
        if kind == "train" and plan.sampling != 1:
            net = sampled(net, plan.sampling, recipe_of(stage).strides[0], plan.seed)
        folder.net(stage, kind).write_text(text(net), encoding="utf-8")
    settings = solver(
        stage, plan.recipe, str(folder.net(stage, "train")), "", str(folder.prefix(stage)), max_iter=end,
        random_seed=plan.seed, test_net=[], test_iter=[],  # scored through the deploy net instead
    )
    folder.net(stage, "solver").write_text(text(sampled_solver(settings, plan.sampling)), encoding="utf-8")


def fill(net: Any) -> None:
    """Give random weights (filler "msra") to convolutions that have none and are not meant to start at 0.

    The nets on a classifier have no fillers, so that a layer which got no weights is noticed.
    """
    scores = recipe_of(net.name).parts.scores
    for layer in net.layer:
        blank = layer.type == "Convolution" and not layer.convolution_param.HasField("weight_filler")
        if blank and layer.name not in scores:
            layer.convolution_param.weight_filler.type = "msra"


def initialise(net: Any, stage: str, starts: Sequence[tuple[Path | None, str]]) -> None:
    """Weights for a new stage: those of the files, by name, and bilinear upsampling where nothing was copied.

    `starts`: each file, and the suffix of the layers that it is for.  Upsampling that an earlier stage learned
    is kept.  Prints what was copied, coerced, dropped and left at its filler, and warns of layers that should
    have got weights.  Raises WeightsError for weights of another net.
    """
    entry = recipe_of(stage)
    report = Report()
    for path, suffix in starts:
        if path is None:
            continue
        say(f"weights from {path}")
        found = transplant_weights(net, path, suffix, print_report=False)
        for layer, source in entry.grown.items():
            grow(net, layer, read_weights(path)[source], found)
        say(str(found))
        report.merge(found)
    left = {item.layer for item in report.left_at_filler}
    files = any(path for path, _ in starts)
    upscores = [name for name in entry.parts.upscores if name in left or not files]
    interp(net, upscores)
    if upscores:
        say(f"bilinear: {', '.join(upscores)}")
    keep = (*ZERO_INIT, "scale_*")   # the fixed factors of the skips learned at once
    for sentence in check_weights(net, report if files else None, keep):
        say(f"warning: {sentence}")


def free_memory() -> None:
    """Let go of a stage's nets before the next is built: they refer to each other in circles."""
    gc.collect()


def _starts(plan: Plan, index: int, folder: RunFolder) -> list[tuple[Path | None, str]]:
    """The files that a stage starts from, with the suffix of the layers each is for."""
    iterations = dict(plan.stages)
    return [(plan.weights[start.net] if start.net in plan.weights
             else folder.weights(str(start.net), iterations[str(start.net)]), start.suffix)
            for start in recipe_of(plan.names[index]).starts]
