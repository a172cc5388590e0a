"""What experiments that train share: runs of tools/solve.py in an experiment's folder, and their scores as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prototxt import recipe_of
from tools.experiments.registry import Context, Table
from tools.metrics import METRICS, TITLES
from tools.plan import Plan, make_plan
from tools.run_folder import RunFolder, sha256
from tools.solve import solve

Row = tuple[float | None, ...]   # the thesis's numbers, in percent, in the order of METRICS


def train(
    context: Context, net: str, folder_name: str | None = None, **options: Any
) -> tuple[Plan, RunFolder, dict[str, dict[str, Any]]]:
    """Train `net` through its stages in <experiment>/<net>, or go on with that; its plan, folder and scores.

    `options` are those of `make_plan`; the net's data set and classifier are looked for as the context says.
    """
    entry = recipe_of(net)
    options.setdefault("data", context.data_name(entry.data))
    if "weights" not in options and entry.weights:
        options["weights"] = str(context.weights_file(entry.weights))
    if context.iters:
        options["iters"] = str(context.iters)
    plan = make_plan(net, seed=context.seed, gpu=context.gpu, **options)
    folder = RunFolder(context.folder / (folder_name or net))
    return plan, folder, solve(plan, folder, resume=folder.config.exists())


def score_table(title: str, thesis: Mapping[str, Row | None], records: Mapping[str, Mapping[str, Any]]) -> Table:
    """The four metrics of each record in percent beside the thesis's; `thesis`: record name -> its row, or None."""
    rows = {}
    for name, row in thesis.items():
        ours = [100 * records[name][m] if name in records else None for m in METRICS]
        rows[name] = list(zip(row or (None,) * 4, ours, strict=True))
    return Table(title, [TITLES[m] for m in METRICS], rows)


def hashes(plans: Sequence[Plan]) -> dict[str, str]:
    """The weights files that plans start from."""
    return {path.name: sha256(path) for plan in plans for path in plan.weights.values() if path is not None}


def relative(context: Context, path: Path) -> str:
    """A file of a run, as the experiment's folder names it."""
    return path.relative_to(context.folder).as_posix()
