"""The CSV curve of a run: a line per displayed training iteration, and one per scoring."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tools.errors import RunError
from tools.metrics import METRICS

COLUMNS = ("stage", "iter", "kind", "lr", "loss", "smoothed_loss", "seconds", *METRICS)


class Curve:
    """`curve.csv` of a run folder, written line by line so that a killed run keeps what it had.

    `kind` is "train" (loss of that iteration, mean loss since the last line, seconds since the stage began)
    or "val" (the four metrics as fractions, and the validation loss where it is known).
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def append(self, **cells: Any) -> None:
        """Add one line; columns without a cell stay empty."""
        unknown = set(cells) - set(COLUMNS)
        if unknown:
            raise ValueError(f"curve.csv has no column {sorted(unknown)}")
        new = not self.path.exists() or self.path.stat().st_size == 0
        with open(self.path, "a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
            if new:
                writer.writeheader()
            writer.writerow({k: _text(v) for k, v in cells.items()})

    def rows(self) -> list[dict[str, Any]]:
        """All lines: `stage` and `kind` as text, `iter` as int, the others as float or None."""
        if not self.path.exists():
            return []
        with open(self.path, newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if reader.fieldnames is not None and tuple(reader.fieldnames) != COLUMNS:
                raise RunError("this is not the curve of a run", file=self.path,
                               found=", ".join(reader.fieldnames), expected=", ".join(COLUMNS),
                               help="move the file away, or train in another folder")
            found = []
            for row in reader:
                # the last line of a killed run may be cut short
                if row["fw_iu"] is not None and row["iter"].isdigit():
                    found.append(_parse(row))
        return found

    def keep(self, wanted: Callable[[dict[str, Any]], bool]) -> None:
        """Rewrite the file with the `wanted` lines: a resumed run repeats those after its snapshot."""
        rows = [row for row in self.rows() if wanted(row)]
        temporary = self.path.with_name(self.path.name + ".tmp")
        with open(temporary, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows({k: _text(v) for k, v in row.items()} for row in rows)
        os.replace(temporary, self.path)


def _parse(row: dict[str, str]) -> dict[str, Any]:
    parsed: dict[str, Any] = {"stage": row["stage"], "kind": row["kind"], "iter": int(row["iter"])}
    for name in COLUMNS:
        if name not in parsed:
            parsed[name] = float(row[name]) if row[name] else None
    return parsed


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
