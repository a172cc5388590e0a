"""The page of a run, report.html: plot, score tables and pictures, with no script and no outside file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tools import markup
from tools.metrics import METRICS, TITLES
from tools.run_folder import RunFolder, write
from tools.score_files import by_head, each_head, percent


def write_report(folder: RunFolder, config: Mapping[str, Any], records: Mapping[str, Mapping[str, Any]],
                 pictures: Sequence[tuple[str, str]]) -> None:
    """Write the page.

    `config` is the run's config.json, `records` the scores of each finished stage in order, `pictures` pairs
    of (file relative to the run folder, caption).
    """
    settings = config["settings"]
    title = f"{settings['net']} on {settings['data']}"
    parts = []
    if records:
        parts += ["<h2>Scores</h2>", _comparison(records)]
    if folder.plot.exists():
        parts += ["<h2>Training</h2>", markup.figure(folder.plot.name, "training loss, and mean IU on val")]
    if pictures:
        parts += ["<h2>Pictures</h2>", *(markup.figure(file, caption) for file, caption in pictures)]
    if records:
        parts += ["<h2>Classes</h2>", *map(_classes, by_head(records).values())]
    parts += ["<h2>Settings</h2>", markup.definitions({**settings, **config["made_with"]})]
    write(folder.report, markup.page(title, parts))


def _comparison(records: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [[name, *(percent(r[m]) for m in METRICS), str(r.get("images", ""))] for name, r in each_head(records)]
    return markup.table(["stage", *(TITLES[m] for m in METRICS), "images"], rows)


def _classes(records: Mapping[str, Mapping[str, Any]]) -> str:
    first = next(iter(records.values()))
    rows = []
    for i, c in enumerate(first["classes"]):
        share = percent(c["pixels"] / first["pixels"] if first["pixels"] else None)
        rows.append([c["name"], share, *(percent(r["classes"][i]["iu"]) for r in records.values())])
    return markup.table(["IU of class", "% pixels", *records], rows)
