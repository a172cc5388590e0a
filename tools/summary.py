"""What a run folder shows: score files, plot, pictures and report, made anew from its records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from data.dataset import read_indices
from data.palette import colorize
from tools.curve import Curve
from tools.pictures import class_legend, grid, side_by_side
from tools.plan import Plan, short
from tools.plots import plot_run
from tools.report import write_report
from tools.run_folder import RunFolder, write
from tools.score_files import full_text, to_csv, to_json


def summarise(plan: Plan, folder: RunFolder, curve: Curve, records: Mapping[str, Mapping[str, Any]],
              pictured: Sequence[str]) -> None:
    """Write scores.*, plot.png, pictures/ and report.html from what the finished stages left."""
    title = f"{plan.net} on {plan.dataset.name}"
    if records:
        write(folder.scores("json"), to_json(records))
        write(folder.scores("csv"), to_csv(records))
        write(folder.scores("txt"), full_text(records, f"{title}, val"))
    plot_run(curve.rows(), plan.names, folder.plot, title)
    shown = write_pictures(plan, folder, list(records), pictured) if pictured and records else []
    write_report(folder, folder.read_json(folder.config), records, shown)


def write_pictures(plan: Plan, folder: RunFolder, stages: Sequence[str], pictured: Sequence[str],
                   ) -> list[tuple[str, str]]:
    """pictures/<stage>/<id>.png for each stage, and all stages beside each other in pictures/stages.png.

    A stage that was run without pictures is left out.  Returns what the report shows:
    (file relative to the run folder, caption).
    """
    dataset, rows = plan.dataset, []
    kept = [s for s in stages if all((folder.predictions / s / f"{p}.png").exists() for p in pictured)]
    for picture in pictured:
        image, truth = dataset.image(picture), dataset.label(picture)
        row = [image]
        for stage in kept:
            prediction = read_indices(folder.predictions / stage / f"{picture}.png")
            target = folder.pictures / stage / f"{picture}.png"
            _save(target, side_by_side(image, truth, prediction, dataset.palette))
            row.append(colorize(prediction, dataset.palette))
        rows.append([*row, colorize(truth, dataset.palette)])
    legend = class_legend(dataset.classes, dataset.palette, dataset.ignore)
    stages_file = folder.pictures / "stages.png"
    _save(stages_file, grid(rows, ["image", *map(short, kept), "truth"], legend))
    caption = f"val images, the predictions of {', '.join(map(short, kept))}, and the truth (as Figure 3.4)"
    return [(stages_file.relative_to(folder.root).as_posix(), caption)]


def _save(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)
