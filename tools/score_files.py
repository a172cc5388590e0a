"""Scores as files and text: JSON, CSV, and readable tables in percent, as the thesis prints them."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from tools.metrics import METRICS, TITLES, Metrics


def as_record(metrics: Metrics, class_names: Sequence[str], **more: Any) -> dict[str, Any]:
    """Metrics as plain JSON values: fractions in 0..1, null where undefined; `more` (loss, ...) leads."""
    per_class = [
        {"class": i, "name": name, "pixels": int(pixels), "acc": _plain(acc), "iu": _plain(iu)}
        for i, (name, pixels, acc, iu) in enumerate(
            zip(class_names, metrics.class_pixels, metrics.class_acc, metrics.class_iu, strict=True)
        )
    ]
    four = {name: _plain(value) for name, value in metrics.four().items()}
    return {**{k: _plain(v) for k, v in more.items()}, **four, "pixels": metrics.pixels, "classes": per_class}


def to_json(value: Any) -> str:
    """Strict JSON (no NaN), two spaces, a newline at the end."""
    return json.dumps(value, indent=2, allow_nan=False) + "\n"


def to_csv(records: Mapping[str, Mapping[str, Any]]) -> str:
    """One line per record, task and class: name, class, pixels, acc, iu; class "all" carries the four metrics."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["run", "class", "name", "pixels", "acc", "iu", *METRICS, "loss"])
    for run, record in each_head(records):
        writer.writerow([run, "all", "", record["pixels"], "", "", *(_cell(record[m]) for m in METRICS),
                         _cell(record.get("loss"))])
        for c in record["classes"]:
            writer.writerow([run, c["class"], c["name"], c["pixels"], _cell(c["acc"]), _cell(c["iu"])]
                            + [""] * (len(METRICS) + 1))
    return out.getvalue()


def by_head(records: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The records of each task: under "" those of the first, under its label top those of each further head."""
    heads = next(iter(records.values())).get("heads", {})
    return {"": dict(records), **{head: {name: r["heads"][head] for name, r in records.items()} for head in heads}}


def each_head(records: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(name, record) of every task: a further head's are named "NAME, HEAD"."""
    for head, own in by_head(records).items():
        for name, record in own.items():
            yield f"{name}, {head}" if head else name, record


def comparison_table(records: Mapping[str, Mapping[str, Any]]) -> str:
    """The four metrics in percent, one line per record and task, as in Table 3.2."""
    rows = [[name, *(percent(record[m]) for m in METRICS)] for name, record in each_head(records)]
    return layout(["", *(TITLES[m] for m in METRICS)], rows)


def class_table(records: Mapping[str, Mapping[str, Any]]) -> str:
    """IU per class in percent, one column per record, with each class's share of the labelled pixels."""
    first = next(iter(records.values()))
    rows = []
    for i, c in enumerate(first["classes"]):
        share = c["pixels"] / first["pixels"] if first["pixels"] else math.nan
        rows.append([c["name"], percent(share), *(percent(r["classes"][i]["iu"]) for r in records.values())])
    return layout(["IU of class", "% pixels", *records], rows)


def full_text(records: Mapping[str, Mapping[str, Any]], title: str) -> str:
    """The report of `scores.txt`: a title, the comparison and the classes."""
    parts = [title, "", comparison_table(records), ""]
    for own in by_head(records).values():
        parts += [class_table(own), ""]
        undefined = [c["name"] for c in next(iter(own.values()))["classes"] if c["iu"] is None]
        if undefined:
            parts += [f"-: in neither truth nor prediction, left out of the means ({', '.join(undefined)})", ""]
    return "\n".join(parts)


def layout(header: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """Text columns, the first `left` to the left, the others to the right, with a rule under the header."""
    lines = [list(header), *(list(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]

    def join(line: Sequence[str]) -> str:
        cells = [cell.ljust(width) if i < left else cell.rjust(width)
                 for i, (cell, width) in enumerate(zip(line, widths, strict=True))]
        return "  ".join(cells).rstrip()

    return "\n".join([join(lines[0]), "-" * (sum(widths) + 2 * len(widths) - 2), *map(join, lines[1:])])


def percent(value: float | None) -> str:
    """0.62736 as "62.7"; "-" for what is undefined."""
    return "-" if value is None or math.isnan(value) else f"{100 * value:.1f}"


def _plain(value: Any) -> Any:
    """NumPy scalars as Python's; NaN as null, which is what strict JSON has for it."""
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.6f}"
