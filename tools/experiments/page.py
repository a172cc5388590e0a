"""The page of all experiments that were run: the thesis's numbers, ours, the differences, pictures, conclusions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from tools import markup
from tools.errors import RunError
from tools.run_folder import write
from tools.score_files import layout


def write_page(root: Path) -> Path:
    """Write <root>/report.html from every result.json below `root`; returns its path.  Raises RunError without any."""
    records = [(path.parent.name, json.loads(path.read_text(encoding="utf-8")))
               for path in sorted(root.glob("*/result.json"))]
    if not records:
        raise RunError("nothing has been run", file=root, help="python tools/reproduce.py run fig1.1 table3.1")
    records.sort(key=lambda item: (item[1]["section"].split("."), item[1]["name"]))
    parts = [_overview(records)]
    for folder, record in records:
        parts += _section(folder, record)
    write(root / "report.html", markup.page("The thesis's tables and figures, computed again", parts))
    return root / "report.html"


def _overview(records: list[tuple[str, dict[str, Any]]]) -> str:
    rows = [[r["name"], r["title"], r["variant"] or "as in the thesis",
             f"{sum(c[2] for c in r['claims'])} of {len(r['claims'])}" if r["claims"] else "-"] for _, r in records]
    return markup.table(["", "what", "variant", "conclusions that agree"], rows)


def _section(folder: str, record: dict[str, Any]) -> list[str]:
    parts = [f"<h2>{escape(record['name'])} ({escape(record['section'])}): {escape(record['title'])}</h2>"]
    if record["variant"]:
        parts.append(f"<p>Small variant: {escape(record['variant'])}</p>")
    parts += [_table(table) for table in record["tables"]]
    if record["claims"]:
        rows = [[thesis, ours, "agrees" if holds else "does not agree"] for thesis, ours, holds in record["claims"]]
        parts.append(markup.table(["the thesis", "here", ""], rows))
    parts += [f"<p>{escape(note)}</p>" for note in record["notes"]]
    parts += [markup.figure(f"{folder}/{file}", caption) for file, caption in record["pictures"]]
    made = {**record["config"], **{f"weights {k}": v[:16] for k, v in record["weights"].items()}}
    parts.append(markup.definitions({**made, **record["made_with"]}))
    return parts


def _table(table: dict[str, Any]) -> str:
    """For each column the thesis's number, ours and the difference; the columns that have no number are left out."""
    digits, header = table["digits"], [""]
    cells: list[list[str]] = [[label] for label in table["rows"]]
    for i, column in enumerate(table["columns"]):
        pairs = [values[i] for values in table["rows"].values()]
        kinds = [name for k, name in enumerate(("thesis", "ours")) if any(pair[k] is not None for pair in pairs)]
        for k, name in enumerate(("thesis", "ours")):
            if name in kinds:
                header.append(f"{column} ({name})" if len(kinds) == 2 else column)
                for row, pair in zip(cells, pairs, strict=True):
                    row.append(_number(pair[k], digits))
        if len(kinds) == 2:
            header.append("difference")
            for row, (thesis, ours) in zip(cells, pairs, strict=True):
                row.append(_number(ours - thesis, digits, sign=True) if None not in (thesis, ours) else "-")
    return markup.table(header, cells, table["title"])


def as_text(record: Mapping[str, Any]) -> str:
    """The tables, conclusions and notes of a result, for a terminal: numbers as "thesis / ours (difference)"."""
    parts = []
    for table in record["tables"]:
        columns = [_column([values[i] for values in table["rows"].values()], table["digits"])
                   for i in range(len(table["columns"]))]
        rows = [list(row) for row in zip(table["rows"], *columns, strict=True)]
        parts.append(f"{table['title']}\n{layout(['', *table['columns']], rows)}")
    parts += [f"{'agrees' if holds else 'does not agree'}: {thesis}\n  here: {ours}"
              for thesis, ours, holds in record["claims"]]
    return "\n".join([*parts, *record["notes"]])


def _column(pairs: Sequence[tuple[float | None, float | None]], digits: int) -> list[str]:
    """The cells of a column; where all lack the thesis's number, or all ours, the others alone."""
    kinds = [k for k in (0, 1) if any(pair[k] is not None for pair in pairs)]
    if len(kinds) < 2:
        return [_number(pair[kinds[0]] if kinds else None, digits) for pair in pairs]
    return [f"{_number(thesis, digits)} / {_number(ours, digits)}"
            + ("" if thesis is None or ours is None else f" ({_number(ours - thesis, digits, sign=True)})")
            for thesis, ours in pairs]


def _number(value: float | None, digits: int, sign: bool = False) -> str:
    return "-" if value is None else f"{value:{'+' if sign else ''},.{digits}f}"
