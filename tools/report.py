"""The page of a run, report.html: plot, score tables and pictures, with no script and no outside file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from tools.metrics import METRICS, TITLES
from tools.run_folder import RunFolder, write
from tools.score_files import percent

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
table { border-collapse: collapse; } td, th { padding: .2rem .8rem; text-align: right; }
td:first-child, th:first-child { text-align: left; }
thead th { border-bottom: 2px solid #444; } tbody tr:nth-child(even) { background: #f4f4f4; }
img { max-width: 100%; } figure { margin: 1rem 0; } figcaption, .small { color: #666; font-size: .9rem; }
dl { display: grid; grid-template-columns: max-content auto; gap: .1rem 1rem; } dd { margin: 0; }
"""


def write_report(folder: RunFolder, config: Mapping[str, Any], records: Mapping[str, Mapping[str, Any]],
                 pictures: Sequence[tuple[str, str]]) -> None:
    """Write the page.

    `config` is the run's config.json, `records` the scores of each finished stage in order, `pictures` pairs
    of (file relative to the run folder, caption).
    """
    settings = config["settings"]
    title = f"{settings['net']} on {settings['data']}"
    parts = [f"<h1>{escape(title)}</h1>"]
    if records:
        parts += ["<h2>Scores</h2>", _comparison(records)]
    if folder.plot.exists():
        parts += ["<h2>Training</h2>", _figure(folder.plot.name, "training loss, and mean IU on val")]
    if pictures:
        parts += ["<h2>Pictures</h2>", *(_figure(file, caption) for file, caption in pictures)]
    if records:
        parts += ["<h2>Classes</h2>", _classes(records)]
    parts += ["<h2>Settings</h2>", _definitions({**settings, **config["made_with"]})]
    head = f'<meta charset="utf-8">\n<title>{escape(title)}</title>\n<style>{_STYLE}</style>'
    body = "\n".join(parts)
    page = f'<!doctype html>\n<html lang="en">\n<head>\n{head}\n</head>\n<body>\n{body}\n</body>\n</html>\n'
    write(folder.report, page)


def _figure(file: str, caption: str) -> str:
    return (f'<figure><img src="{escape(file)}" alt="{escape(caption)}">'
            f"<figcaption>{escape(caption)}</figcaption></figure>")


def _comparison(records: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [[name, *(percent(r[m]) for m in METRICS), str(r["images"])] for name, r in records.items()]
    return _table(["stage", *(TITLES[m] for m in METRICS), "images"], rows)


def _classes(records: Mapping[str, Mapping[str, Any]]) -> str:
    first = next(iter(records.values()))
    rows = []
    for i, c in enumerate(first["classes"]):
        share = percent(c["pixels"] / first["pixels"] if first["pixels"] else None)
        rows.append([c["name"], share, *(percent(r["classes"][i]["iu"]) for r in records.values())])
    return _table(["IU of class", "% pixels", *records], rows)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "\n".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table>"


def _definitions(values: Mapping[str, Any]) -> str:
    items = []
    for name, value in values.items():
        if isinstance(value, dict):
            text = ", ".join(f"{k} {v}" for k, v in value.items())
        elif isinstance(value, list):
            text = ", ".join(map(str, value))
        else:
            text = "-" if value is None else str(value)
        items.append(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>")
    return '<dl class="small">' + "".join(items) + "</dl>"
