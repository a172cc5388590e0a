"""The plot of a run: training loss and validation mean IU over the iterations of all stages."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from tools.errors import RunError


def pyplot() -> Any:
    """matplotlib.pyplot on the file backend.  Raises RunError where matplotlib is not installed."""
    try:
        import matplotlib
    except ImportError as problem:
        raise RunError("plots need matplotlib, which is not installed",
                       help="pip install 'caffe-lungo[tools]', or: pip install matplotlib") from problem
    matplotlib.use("Agg")
    import matplotlib.pyplot

    return matplotlib.pyplot


def stage_starts(rows: Sequence[dict[str, Any]], stages: Sequence[str]) -> dict[str, int]:
    """The iteration, counted over the whole run, at which each stage that has rows begins."""
    starts, at = {}, 0
    for stage in stages:
        own = [row["iter"] for row in rows if row["stage"] == stage]
        if own:
            starts[stage] = at
            at += max(own)
    return starts


def plot_run(
    rows: Sequence[dict[str, Any]], stages: Sequence[str], path: str | os.PathLike[str], title: str
) -> None:
    """Draw the rows of a Curve as PNG: loss above (logarithmic), val mean IU below, stage after stage."""
    plt = pyplot()
    from matplotlib.ticker import LogLocator, NullFormatter

    starts = stage_starts(rows, stages)
    figure, (above, below) = plt.subplots(2, 1, sharex=True, figsize=(9, 6), height_ratios=(3, 2))
    colours = plt.get_cmap("viridis")([i / max(len(stages), 1) for i in range(len(stages))])
    for stage, colour in zip(stages, colours, strict=True):
        if stage not in starts:
            continue
        own = [row for row in rows if row["stage"] == stage]
        train = [row for row in own if row["kind"] == "train"]
        val = [row for row in own if row["kind"] == "val"]
        at = [starts[stage] + row["iter"] for row in train]
        dot = "." if len(train) < 2 else ""  # a line needs two points to be seen
        style = {"marker": dot, "color": colour}
        above.plot(at, [row["loss"] for row in train], alpha=0.3, linewidth=0.8, **style)
        above.plot(at, [row["smoothed_loss"] for row in train], linewidth=1.8, label=stage, **style)
        at = [starts[stage] + row["iter"] for row in val]
        below.plot(at, [100 * row["mean_iu"] for row in val], "o-", color=colour, markersize=4)
        if val:
            below.annotate(f"{100 * val[-1]['mean_iu']:.1f}", (at[-1], 100 * val[-1]["mean_iu"]),
                           textcoords="offset points", xytext=(0, -13), ha="center", fontsize=9)
        for axes in (above, below):
            axes.axvline(starts[stage], color="0.7", linewidth=0.8, linestyle="--")
    if any(row["kind"] == "train" and (row["loss"] or 0) > 0 for row in rows):
        above.set_yscale("log")
        above.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        above.yaxis.set_major_formatter("{x:g}")  # 0.5, not 5 x 10^-1
        above.yaxis.set_minor_formatter(NullFormatter())
    above.set_ylabel("training loss")
    above.set_title(title)
    if starts:
        above.legend(title="stage")
    below.set_ylabel("val mean IU (%)")
    below.set_xlabel("iteration, all stages")
    for axes in (above, below):
        axes.grid(alpha=0.25)
        axes.margins(x=0.02)
    below.margins(y=0.2)
    figure.subplots_adjust(left=0.1, right=0.97, top=0.94, bottom=0.09, hspace=0.08)
    figure.savefig(path, dpi=110)
    plt.close(figure)
