"""Table 3.3, Figures 3.4 and 3.6 from the run of Table 3.2, and what the text compares skips with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.dataset import read_indices
from tools.experiments.datasets import SMALL_RUN
from tools.experiments.registry import Context, Result, Table, experiment
from tools.experiments.skips import NEEDS, SMALL, SMALL_NEEDS, THESIS
from tools.experiments.training import Row, hashes, score_table, train
from tools.metrics import METRICS
from tools.pictures import save_labels
from tools.plan import Plan, short
from tools.run_folder import RunFolder

BAND = 5   # pixels on either side of an edge between classes
FROM_TABLE_3_2 = "SqueezeNet on CamVid, from the run of table3.2, which is made where it is not there"
# what the thesis says, without numbers, and of what the skip gains the part below which we call it that; pool5 at
# stride 1 has no small version: the small nets have no classifier
OTHERS = {"fcn16s-pool4": ("learning from pool4 alone: poor performance", 0.0),
          "fcn32s-lower-rate": ("a lower rate without the skip: insignificant improvement", 1 / 3),
          "fcn16s-max": ("max fusion: learning made difficult", 0.5),
          "fcn16s-pool5": ("pool5 at stride 1 with a 14 x 14 fc6: no comparable performance", 1.0)}


def skip_run(context: Context) -> tuple[list[str], Plan, RunFolder, dict]:
    """The nets of Table 3.2 that are learned end to end, coarsest first, and their run."""
    nets = list(SMALL if context.small else THESIS)[1:]
    return nets, *train(context.of("table3.2"), nets[-1])


@experiment("table3.3", "Skip FCNs again: the rows of Table 3.2 that are learned end to end", "3.3.2", NEEDS,
            FROM_TABLE_3_2, SMALL_NEEDS)
def repeated(context: Context) -> Result:
    """The thesis prints the same numbers twice; its caption names a row, FCN-32s-fixed, that it does not have."""
    nets, plan, _, records = skip_run(context)
    thesis: dict[str, Row | None] = {net: None if context.small else THESIS[net] for net in nets}
    improved = all(records[a][m] < records[b][m] for a, b in zip(nets, nets[1:], strict=False) for m in METRICS)
    return Result([score_table(f"val of {plan.dataset.name}, in percent", thesis, records)],
                  claims=[("every metric improves with every skip", ", ".join(
                      f"{net} {100 * records[net]['mean_iu']:.1f} mean IU" for net in nets), improved)],
                  notes=["The numbers of the run of table3.2, as in the thesis."], config={"seed": plan.seed},
                  weights=hashes([plan]))


@experiment("fig3.4", "Refinement: the outputs of strides 32, 16 and 8", "3.3.2", NEEDS, FROM_TABLE_3_2, SMALL_NEEDS)
def refinement(context: Context) -> Result:
    """Detail in numbers: pixel accuracy near the edges between classes, on the pictures shown."""
    nets, plan, folder, _ = skip_run(context)
    rows, hits = [], {net: [0, 0] for net in nets}
    for picture in pictured(folder, nets[0]):
        truth = plan.dataset.label(picture)
        predictions = [read_indices(folder.predictions / net / f"{picture}.png") for net in nets]
        rows.append([*predictions, truth, plan.dataset.image(picture)])
        band = near_edges(truth, BAND) & (truth != plan.dataset.ignore)
        for net, prediction in zip(nets, predictions, strict=True):
            hits[net] = [hits[net][0] + int((prediction == truth)[band].sum()), hits[net][1] + int(band.sum())]
    save_labels(context.folder / "refinement.png", rows, [*map(short, nets), "truth", "image"], plan.dataset.palette)
    near = {net: 100 * right / pixels for net, (right, pixels) in hits.items()}
    steps = list(near.values())
    return Result(
        [Table(f"pixel accuracy within {BAND} pixels of an edge, of the pictures shown", ["near edges"],
               {net: [(None, value)] for net, value in near.items()})],
        [("refinement.png", "as Figure 3.4: predictions of the strides, truth, image")],
        [("fusing information from layers with different strides improves segmentation detail",
          ", ".join(f"{short(net)} {value:.1f}" for net, value in near.items()), steps == sorted(steps))],
        config={"pictures": len(rows), "seed": plan.seed}, weights=hashes([plan]),
    )


@experiment("fig3.6", "Results of the best net on PASCAL", "3.4.2", NEEDS, FROM_TABLE_3_2, SMALL_NEEDS)
def results(context: Context) -> Result:
    """FCN-8s, truth and image.  The second column of the thesis's figure, SDS, is another system's output."""
    nets, plan, folder, _ = skip_run(context)
    rows = [[read_indices(folder.predictions / nets[-1] / f"{picture}.png"), plan.dataset.label(picture),
             plan.dataset.image(picture)] for picture in pictured(folder, nets[-1])]
    save_labels(context.folder / "results.png", rows, [nets[-1], "truth", "image"], plan.dataset.palette)
    return Result(pictures=[("results.png", "as Figure 3.6, without the column of SDS")],
                  notes=["The outputs of SDS (Hariharan et al., 2014) are not ours to show. The pictures are spread "
                         "evenly over val; the thesis chose its four."],
                  config={"pictures": len(rows), "seed": plan.seed}, weights=hashes([plan]))


@experiment("skips3.3.2", "What the skips are compared with: pool4 alone, a lower rate, max fusion, finer pool5",
            "3.3.2", NEEDS, "small nets on shapes, from the run of table3.7; without the finer pool5")
def alternatives(context: Context) -> Result:
    """Each starts from the coarse net, as the skip does; pool5 at stride 1 starts from the classifier."""
    family, home = ("small-", "table3.7") if context.small else ("", "table3.2")
    plan, folder, records = train(context.of(home), f"{family}fcn8s", **(SMALL_RUN if context.small else {}))
    coarse, skip = f"{family}fcn32s", f"{family}fcn16s"
    start = str(folder.weights(coarse, dict(plan.stages)[coarse]))
    names = [name for name in OTHERS if not (context.small and name == "fcn16s-pool5")]
    plans = [plan]
    for name in names:
        given = {} if name == "fcn16s-pool5" else {"weights": start}
        other, _, more = train(context, family + name, stages=family + name, **given,
                               **({**SMALL_RUN, "iters": "200"} if context.small else {}))
        plans.append(other)
        records |= more
    iu = {name: 100 * records[name]["mean_iu"] for name in (coarse, skip, *(family + name for name in names))}
    gain = {name: iu[net] - iu[coarse] for name, net in [("skip", skip), *((name, family + name) for name in names)]}
    thesis: dict[str, Row | None] = {net: None if context.small else THESIS.get(net) for net in iu}
    return Result(
        [score_table(f"val of {plan.dataset.name}, in percent", thesis, records)],
        claims=[(words, f"{gain[name]:+.1f} mean IU over the coarse net, the skip {gain['skip']:+.1f}; less than "
                 f"{100 * part:.0f}% of it agrees", gain[name] < part * gain["skip"])
                for name, (words, part) in OTHERS.items() if name in names],
        notes=["The thesis gives no numbers here."],
        config={"seed": plan.seed, "iterations": {net: n for p in plans for net, n in p.stages}},
        weights=hashes([plan]),
    )


def pictured(folder: RunFolder, net: str) -> list[str]:
    """The pictures whose predictions a run kept."""
    return sorted(path.stem for path in Path(folder.predictions / net).glob("*.png"))


def near_edges(label: NDArray, reach: int) -> NDArray[np.bool_]:
    """The pixels of H x W labels that have one of another class at most `reach` rows and columns away."""
    padded = np.pad(label, reach, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (2 * reach + 1, 2 * reach + 1))
    return np.asarray(windows.min(axis=(2, 3)) != windows.max(axis=(2, 3)))
