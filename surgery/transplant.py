"""Weights of one net into another: copied by name, coerced between fully connected and convolutional."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np

from .files import read_weights

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Entry:
    """What became of one parameter: `layer` and `blob` in the new net (in the old one when dropped)."""

    layer: str
    blob: int
    found: Shape | None
    expected: Shape | None
    why: str = ""


@dataclass
class Report:
    """What `transplant` did.

    `copied`: the shapes are equal.  `coerced`: the numbers are equal, in another shape.  `dropped`:
    parameters of the old net without a place in the new one.  `left_at_filler`: parameters of the new net
    that got nothing. `str(report)` is a table.
    """

    copied: list[Entry] = field(default_factory=list)
    coerced: list[Entry] = field(default_factory=list)
    dropped: list[Entry] = field(default_factory=list)
    left_at_filler: list[Entry] = field(default_factory=list)

    def merge(self, other: Report) -> None:
        """Add what a second `transplant` into the same net did; what either filled is not left at its filler."""
        first = not (self.copied or self.coerced or self.dropped)
        self.copied += other.copied
        self.coerced += other.coerced
        self.dropped += other.dropped
        here = set() if first else {(entry.layer, entry.blob) for entry in self.left_at_filler}
        self.left_at_filler = [entry for entry in other.left_at_filler if first or (entry.layer, entry.blob) in here]

    def __str__(self) -> str:
        groups = {"copied": self.copied, "coerced": self.coerced, "dropped": self.dropped,
                  "left at filler": self.left_at_filler}
        rows = [("", "layer", "from", "to", "")]
        for word, entries in groups.items():
            for layer, of_layer in groupby(entries, key=lambda entry: entry.layer):
                parts = list(of_layer)
                rows.append((
                    word, layer, ", ".join(_show(part.found) for part in parts),
                    ", ".join(_show(part.expected) for part in parts),
                    ", ".join(dict.fromkeys(part.why for part in parts)),
                ))
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
                 for row in rows]
        counts = ", ".join(f"{len(entries)} {word}" for word, entries in groups.items())
        return "\n".join([*lines, f"parameters: {counts}"])


def transplant(new_net: Any, net: Any, suffix: str = "", print_report: bool = True) -> Report:
    """Copy the parameters of `net` into the layers of `new_net` with the same name followed by `suffix`.

    Both are `caffe.Net`s.  A fully connected layer's weights (outputs x inputs) go into a convolution's
    (outputs x channels x height x width) and back when the counts agree: the numbers are the same (thesis
    3.2.1).  What does not fit is dropped, never cut or repeated.  Returns the report, printed as a table on
    request.
    """
    source = {name: [blob.data for blob in blobs] for name, blobs in net.params.items()}
    return _transplant(new_net, source, suffix, print_report)


def transplant_weights(
    new_net: Any, caffemodel: str | os.PathLike[str], suffix: str = "", print_report: bool = True
) -> Report:
    """`transplant` from a caffemodel file, without building the net that it belongs to.

    Raises `WeightsError` when the file is missing or no caffemodel.
    """
    return _transplant(new_net, read_weights(caffemodel), suffix, print_report)


def _transplant(
    new_net: Any, source: Mapping[str, Sequence[np.ndarray]], suffix: str, print_report: bool
) -> Report:
    report = Report()
    filled = set()
    for name, arrays in source.items():
        target = new_net.params[name + suffix] if name + suffix in new_net.params else None
        for index, array in enumerate(arrays):
            if target is None or index >= len(target):
                why = "no such layer" if target is None else "no such parameter"
                report.dropped.append(Entry(name, index, array.shape, None, why))
                continue
            data = target[index].data
            entry = Entry(name + suffix, index, array.shape, data.shape)
            if array.shape == data.shape:
                data[...] = array
                report.copied.append(entry)
            elif _coercible(array.shape, data.shape):
                data[...] = array.reshape(data.shape)
                report.coerced.append(entry)
            else:
                report.dropped.append(Entry(name, index, array.shape, data.shape, "another shape"))
                continue
            filled.add((name + suffix, index))
    for name, blobs in new_net.params.items():
        for index in range(len(blobs)):
            if (name, index) not in filled:
                report.left_at_filler.append(Entry(name, index, None, blobs[index].data.shape))
    if print_report:
        print(report)
    return report


def _coercible(a: Shape, b: Shape) -> bool:
    """Whether both hold as many numbers for as many outputs, and one of them has a flat row per output."""
    return int(np.prod(a)) == int(np.prod(b)) and any(
        x[:1] == y[:1] and min(len(x), len(y)) <= 2 for x in _views(a) for y in _views(b)
    )


def _views(shape: Shape) -> list[Shape]:
    """The shape, and what it may stand for: old files write OxI as 1x1xOxI, and O as 1x1x1xO."""
    legacy = [shape[drop:] for drop in (2, 3) if len(shape) == 4 and shape[:drop] == (1,) * drop]
    return [shape, *legacy]


def _show(shape: Shape | None) -> str:
    return "-" if shape is None else "x".join(map(str, shape)) or "scalar"
