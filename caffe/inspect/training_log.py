"""Caffe's training log as tables and as a plot: what parse_log and plot_log do."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from ..errors import DataError
from ..files import atomic_path, atomic_write, package

Row = dict[str, float]

_STAMP = re.compile(r"[IWEF](\d\d)(\d\d) (\d\d):(\d\d):(\d\d)\.(\d{6}) ")
_ITERATION = re.compile(r"Iteration (\d+)")
_OUTPUT = re.compile(r"(Train|Test) net output #(\d+): (\S+) = (\S+)")
_RATE = re.compile(r"lr = (\S+)")
_CREATED = re.compile(r"Log file created at: (\d{4})/")
_FIXED = ("NumIters", "Seconds", "LearningRate")


def parse_log(path: str | os.PathLike[str]) -> tuple[list[Row], list[Row]]:
    """The rows of training and of testing in a log of Caffe's or of ours.

    Each row has NumIters, Seconds (since the line "Solving", or the first line where there is none), LearningRate
    (the last one logged before; the first row takes the second's) and the net's outputs by name; of an output with
    several values the later ones are called `name[1]`, `name[2]`, ... Rows of several test nets follow one another.
    Raises DataError when the file cannot be read or is no log.
    """
    rows: dict[str, list[Row]] = {"Train": [], "Test": []}
    iteration, rate = None, float("nan")
    for seconds, line in _timed(path):
        if match := _ITERATION.search(line):
            iteration = float(match[1])
        if iteration is None:
            continue
        if match := _RATE.search(line):
            rate = _number(match[1], rate)
        if not (match := _OUTPUT.search(line)):
            continue
        table, name, value = rows[match[1]], match[3], _number(match[4], float("nan"))
        if not table or table[-1]["NumIters"] != iteration or match[2] == "0":
            table.append({"NumIters": iteration, "Seconds": seconds, "LearningRate": rate})
        row, column, index = table[-1], name, 0
        while column in row:
            index += 1
            column = f"{name}[{index}]"
        row[column] = value
    for table in rows.values():
        if len(table) > 1:
            table[0]["LearningRate"] = table[1]["LearningRate"]
    return rows["Train"], rows["Test"]


def _number(text: str, otherwise: float) -> float:
    try:
        return float(text.rstrip(","))
    except ValueError:
        return otherwise


def _timed(path: str | os.PathLike[str]) -> Iterator[tuple[float, str]]:
    """The log's dated lines from "Solving" on, with the seconds since then."""
    try:
        lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
        year = datetime.fromtimestamp(os.path.getmtime(path)).year
    except OSError as problem:
        raise DataError(f"cannot read the log: {problem.strerror}", file=path, help="check the path") from problem
    # glog's lines have no year: it is in the head of its files, else the file was written in the year it ends in
    created = next((int(match[1]) for line in lines[:5] if (match := _CREATED.search(line))), None)
    dated = [(match, line) for line in lines if (match := _STAMP.match(line))]
    if not dated:
        raise DataError("is no log of Caffe", file=path, found=f"{len(lines)} lines without glog's date",
                        expected="I0210 13:39:22.381027 ...", help="give what `caffe train` wrote to stderr")
    months = [int(match[1]) for match, _ in dated]
    if created is None:
        created = year - sum(b < a for a, b in zip(months, months[1:], strict=False))
    solving = next((i for i, (_, line) in enumerate(dated) if "Solving" in line), 0)
    start, month = None, months[0]
    for i, (match, line) in enumerate(dated):
        created += months[i] < month   # past New Year
        month = months[i]
        try:
            time = datetime(created, *(int(part) for part in match.groups()))   # type: ignore[arg-type]
        except ValueError:
            continue   # a damaged line
        if i >= solving:
            start = start or time
            yield (time - start).total_seconds(), line


def columns(rows: Sequence[Row]) -> list[str]:
    """The names in all rows, in the order in which they first appear."""
    return list(dict.fromkeys(name for row in rows for name in row))


def write_csv(path: str | os.PathLike[str], rows: Sequence[Row], delimiter: str = ",") -> None:
    """Write rows with a head line; a value that a row does not have stays empty. Raises DataError."""
    text = io.StringIO()
    try:
        writer = csv.DictWriter(text, columns(rows), delimiter=delimiter, lineterminator="\n")
    except (TypeError, ValueError) as problem:
        raise DataError(f"this is no delimiter: {problem}", found=repr(delimiter), help="give one character") from None
    writer.writeheader()
    writer.writerows(rows)
    atomic_write(path, text.getvalue(), error=DataError)


def save_csv_files(log: str | os.PathLike[str], folder: str | os.PathLike[str], delimiter: str = ",") -> list[Path]:
    """Write LOG.train and LOG.test into `folder`, as far as they have rows; returns the paths. Raises DataError."""
    written = []
    for rows, suffix in zip(parse_log(log), (".train", ".test"), strict=True):
        if rows:
            path = Path(folder) / (Path(log).name + suffix)
            write_csv(path, rows, delimiter)
            written.append(path)
    return written


def plot_log(logs: Sequence[str | os.PathLike[str]], path: str | os.PathLike[str], x: str = "NumIters",
             y: Sequence[str] = ()) -> None:
    """Draw the outputs of one or more logs, one panel for each name in `y` (by default all), to a PNG, SVG or PDF.

    Training is a thin line, testing one with dots; `x` is NumIters or Seconds. Raises DataError when there is nothing
    to draw, `y` names no output, or the file cannot be written.
    """
    if x not in ("NumIters", "Seconds"):
        raise DataError("the horizontal axis is NumIters or Seconds", found=x, help="-x NumIters is the default")
    form = Path(path).suffix.lower().removeprefix(".")
    if form not in ("png", "svg", "pdf"):
        raise DataError("a plot is a .png, .svg or .pdf file", file=path, found=f"'.{form}'", help="name it plot.png")
    tables = {str(log): parse_log(log) for log in logs}
    known = columns([row for pair in tables.values() for rows in pair for row in rows])
    names = list(y) or [name for name in known if name not in _FIXED]
    for name in names:
        if name not in known:
            raise DataError(f"no log has an output '{name}'", file=", ".join(tables), expected=" or ".join(known),
                            help="choose one of them")
    if not names:
        raise DataError("no output of a net is logged here", file=", ".join(tables),
                        help="set display or test_interval in the solver")
    figure = _draw(tables, names, x)
    with atomic_path(path, error=DataError) as temporary:
        figure.savefig(temporary, format=form)


def _draw(tables: dict[str, tuple[list[Row], list[Row]]], names: Sequence[str], x: str) -> Any:
    package("matplotlib", DataError)
    from matplotlib.figure import Figure  # not through pyplot, which keeps figures and may want a screen

    figure = Figure(figsize=(8, 3 * len(names)), layout="constrained")
    for axes, name in zip(figure.subplots(len(names), squeeze=False)[:, 0], names, strict=True):
        for i, (log, pair) in enumerate(tables.items()):
            for phase, rows, style in (("train", pair[0], {"linewidth": 0.8}), ("test", pair[1], {"marker": "."})):
                points = [(row[x], row[name]) for row in rows if name in row]
                if points:
                    axes.plot(*zip(*points, strict=True), label=f"{Path(log).stem} {phase}", color=f"C{i}",
                              alpha=0.6 if phase == "train" else 1, **style)
        axes.set(xlabel=x, ylabel=name)
        axes.grid(alpha=0.3)
        axes.legend()
    return figure
