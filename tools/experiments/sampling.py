"""Figure 3.5: sampling the loss, as patchwise training does, against training on whole images."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

import caffe
from tools.curve import Curve
from tools.experiments.registry import Context, Need, Result, Table, experiment
from tools.experiments.training import hashes, train
from tools.plots import pyplot
from tools.run_folder import RunFolder
from tools.stages import free_memory

PARTS = (1.0, 0.5, 0.25)   # p: of the cells of the final layer that the loss counts
ALIKE = 0.1                # relative difference of losses that we call no significant effect


@experiment("fig3.5", "Loss sampling: p = 1, 0.5 and 0.25 against iterations and against time", "3.3.8",
            [Need("data", "seg11valid"), Need("weights", "VGG_ILSVRC_16_layers.caffemodel"), Need("gpu")],
            "SqueezeNet at stride 16 on CamVid, 500 iterations for each p",
            [Need("data", "camvid"), Need("weights", "squeezenet_v1.1.caffemodel")])
def sampling(context: Context) -> Result:
    """Each cell of the coarsest stride is counted with probability p, and a step takes 1/p times as many images."""
    net, iterations = ("squeezenet-fcn16s", 500) if context.small else ("fcn32s", 1500)
    curves, mean_iu, plans, folders = {}, {}, [], {}
    for p in PARTS:
        plan, folders[p], records = train(context, net, f"p{p:g}", iters=str(iterations), sampling=p, val_every=0)
        curves[p] = curve_of(Curve(folders[p].curve).rows())
        mean_iu[p] = 100 * records[net]["mean_iu"]
        plans.append(plan)
        free_memory()
    for p, seconds in step_seconds(folders, net).items():
        curves[p]["seconds"] = seconds * curves[p]["iter"]
    whole = curves[1.0]["seconds"][-1]
    draw(context, curves, whole)
    level, reached = times_to_level(curves)
    differences = {p: difference(curves[1.0], curves[p]) for p in PARTS}
    slower = {p: reached[p] / reached[1.0] for p in PARTS}
    rows = {f"{p:g}": [(None, float(curves[p]["loss"][-1])), (None, 100 * differences[p]), (None, mean_iu[p]),
                       (None, 1 / p), (None, curves[p]["seconds"][-1] / whole), (None, slower[p])] for p in PARTS}
    sampled = PARTS[1:]
    return Result(
        [Table("by p", ["last loss", "loss by iterations: difference from p = 1 (%)", "val mean IU", "images per step",
                        "time per step", f"time to a loss of {level:.2f}"], rows, 2)],
        [("sampling.png", "smoothed training loss against iterations and against relative wall time, as Figure 3.5")],
        [("sampling has no significant effect on convergence rate",
          ", ".join(f"p = {p:g}: loss {100 * differences[p]:+.1f}%" for p in sampled)
          + f" over the second half of the iterations; under {100 * ALIKE:.0f}% counts as none",
          all(abs(differences[p]) < ALIKE for p in sampled)),
         ("it takes significantly more time",
          ", ".join(f"p = {p:g}: {slower[p]:.1f} times as long" for p in sampled)
          + f" to the lowest loss that all reach ({level:.2f}); more than 1.25 times counts",
          all(slower[p] > 1.25 for p in sampled))],
        ["A loss is the mean over the cells that were kept, so the curves compare; each point is the mean over the "
         "iterations since the last. The time of a step is the median of several, taken in turn by the solvers of the "
         "three p, so that what else the machine does meets all alike."],
        {"net": net, "iterations": plans[0].stages[0][1], "recipe": plans[0].recipe, "cell": "the coarsest stride",
         "seed": context.seed},
        hashes(plans[:1]),
    )


def curve_of(rows: list[dict[str, Any]]) -> dict[str, NDArray[np.float64]]:
    """`iter` and smoothed `loss` of the training rows of a run's curve."""
    kept = [row for row in rows if row["kind"] == "train"]
    return {name: np.array([row[column] for row in kept], float)
            for name, column in (("iter", "iter"), ("loss", "smoothed_loss"))}


def step_seconds(folders: Mapping[float, RunFolder], net: str, rounds: int = 5) -> dict[float, float]:
    """Median wall time of a solver step for each p, of new solvers that step in turn, after one that does not count."""
    solvers = {p: caffe.get_solver(str(folder.net(net, "solver"))) for p, folder in folders.items()}
    taken: dict[float, list[float]] = {p: [] for p in solvers}
    for _ in range(rounds + 1):
        for p, solver in solvers.items():
            begun = time.perf_counter()
            solver.step(1)
            next(iter(solver.net.params.values()))[0].data.ravel()   # waits for a GPU
            taken[p].append(time.perf_counter() - begun)
    return {p: float(np.median(times[1:])) for p, times in taken.items()}


def difference(base: dict[str, NDArray], other: dict[str, NDArray]) -> float:
    """The mean relative difference of two losses at equal iterations, over the second half of them."""
    half = base["iter"] > base["iter"][-1] / 2
    return float(np.mean(other["loss"][half] / base["loss"][half] - 1))


def times_to_level(curves: dict[float, dict[str, NDArray]]) -> tuple[float, dict[float, float]]:
    """The lowest loss that all curves reach, and the seconds until each does for the first time."""
    level = max(float(curve["loss"].min()) for curve in curves.values())
    return level, {p: float(curve["seconds"][np.argmax(curve["loss"] <= level)]) for p, curve in curves.items()}


def draw(context: Context, curves: dict[float, dict[str, NDArray]], whole: float) -> None:
    """Both plots beside each other, to sampling.png; `whole`: seconds that count as 1."""
    plt = pyplot()
    figure, (left, right) = plt.subplots(1, 2, sharey=True, figsize=(9, 3.5))
    for p, curve in curves.items():
        label = "whole images" if p == 1 else f"{100 * p:g}% sampled"
        left.plot(curve["iter"], curve["loss"], label=label)
        right.plot(curve["seconds"] / whole, curve["loss"], label=label)
    left.set_xlabel("iteration")
    left.set_ylabel("training loss")
    right.set_xlabel("relative wall time")
    right.legend()
    figure.tight_layout()
    figure.savefig(context.folder / "sampling.png", dpi=110)
    plt.close(figure)
