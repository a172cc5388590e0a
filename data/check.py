"""Look at every picture of a data set before training on it: label histogram, and all that is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from data.dataset import Dataset, image_mode
from data.errors import DataError


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: `kind` (a fixed word to count by), the file or split it is in, and words."""

    kind: str
    where: str
    message: str


@dataclass
class SplitReport:
    """What one split contains.

    `pixels[c]` and `images[c]` count labelled pixels of class c, and the images in which it occurs; `void`
    counts pixels of the ignore index, `void_images` the images that have some. Files with a problem that
    leaves their labels unreadable, and labels out of range, are in no count.
    """

    split: str
    pictures: int = 0
    pixels: list[int] = field(default_factory=list)
    images: list[int] = field(default_factory=list)
    void: int = 0
    void_images: int = 0
    problems: list[Problem] = field(default_factory=list)

    @property
    def percent(self) -> list[float]:
        """Per class, the percentage of the labelled pixels (void left out); 0 where nothing is labelled."""
        total = sum(self.pixels)
        return [100.0 * n / total if total else 0.0 for n in self.pixels]

    @property
    def void_percent(self) -> float:
        """The percentage of void among all pixels."""
        total = sum(self.pixels) + self.void
        return 100.0 * self.void / total if total else 0.0


@dataclass
class Report:
    """The checked splits of one data set."""

    name: str
    root: str
    classes: tuple[str, ...]
    splits: list[SplitReport]

    @property
    def problems(self) -> list[Problem]:
        return [problem for split in self.splits for problem in split.problems]

    def to_dict(self) -> dict[str, Any]:
        """For JSON: all counts, percentages and problems."""
        out = asdict(self)
        for given, split in zip(out["splits"], self.splits, strict=True):
            given["percent"], given["void_percent"] = split.percent, split.void_percent
        return out

    def table(self) -> str:
        """The histograms as plain text, one table per split."""
        return "\n\n".join(self._table(split) for split in self.splits)

    def _table(self, split: SplitReport) -> str:
        width = max([len(name) for name in self.classes] + [4])
        head = f"{self.name} {split.split}: {split.pictures} pictures"
        rows = [head, f"{'id':>4}  {'class':<{width}}  {'pixels':>13}  {'percent':>8}  {'images':>7}"]
        columns = [
            (c, n, split.pixels[c], split.percent[c], split.images[c]) for c, n in enumerate(self.classes)
        ]
        columns.append((255, "void", split.void, split.void_percent, split.void_images))
        for c, name, pixels, percent, images in columns:
            rows.append(f"{c:>4}  {name:<{width}}  {pixels:>13}  {percent:>8.3f}  {images:>7}")
        return "\n".join(rows)


Progress = Callable[[Iterable[str], int, str], Iterable[str]]


def _plain(ids: Iterable[str], total: int, split: str) -> Iterable[str]:
    return ids


def check(dataset: Dataset, splits: Iterable[str] | None = None, progress: Progress = _plain) -> Report:
    """Read every image and label of `splits` and report.

    By default all splits except those whose pictures others list already (trainval) and a `test` split
    without any labels, as VOC's is. `progress(ids, total, split)` wraps the loop (for a progress bar).
    Problems are collected, never raised; only a split that does not exist raises DataError.
    """
    chosen = list(splits) if splits is not None else default_splits(dataset)
    reports = [_check_split(dataset, split, progress) for split in chosen]
    report = Report(dataset.name, str(dataset.root), dataset.classes, reports)
    if not reports:
        empty = SplitReport("(none)", 0, [0] * len(dataset.classes), [0] * len(dataset.classes))
        empty.problems.append(Problem("empty split", str(dataset.root), "the data set has no split list"))
        report.splits.append(empty)
    return report


def default_splits(dataset: Dataset) -> list[str]:
    """The splits that `check` reads when none is named."""
    chosen = []
    for split in dataset.splits():
        if split == "trainval" and {"train", "val"} <= set(dataset.splits()):
            continue
        if split == "test" and not any(
            dataset.label_path(picture).is_file() for picture in dataset.ids(split)
        ):
            continue
        chosen.append(split)
    return chosen


def _check_split(dataset: Dataset, split: str, progress: Progress) -> SplitReport:
    classes = len(dataset.classes)
    report = SplitReport(split, 0, [0] * classes, [0] * classes)
    ids = dataset.ids(split)
    report.pictures = len(ids)
    if not ids:
        report.problems.append(Problem("empty split", split, f"the list of '{split}' has no id"))
    twice = sorted(picture for picture, n in _count(ids).items() if n > 1)
    for picture in twice:
        report.problems.append(Problem("listed twice", split, f"'{picture}' is in the list more than once"))
    for picture in progress(ids, len(ids), split):
        _check_picture(dataset, picture, report)
    return report


def _count(ids: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for picture in ids:
        counts[picture] = counts.get(picture, 0) + 1
    return counts


def _check_picture(dataset: Dataset, picture: str, report: SplitReport) -> None:
    """Add one picture's counts and problems to `report`."""

    def problem(kind: str, where: object, message: str) -> None:
        report.problems.append(Problem(kind, str(where), message))

    image_path, label_path = dataset.image_path(picture), dataset.label_path(picture)
    size = None
    if not image_path.is_file():
        problem("missing image", image_path, f"'{picture}' has no image")
    else:
        try:
            mode, _ = image_mode(image_path)
            if mode in ("L", "1", "LA", "I;16"):
                problem("grayscale image", image_path, f"the image has mode {mode}, not RGB")
            size = dataset.image(picture).shape[:2]  # decoded whole: a cut file has a good header
        except DataError as error:
            problem("unreadable image", image_path, error.message)
    if not label_path.is_file():
        problem("missing label", label_path, f"'{picture}' has no labels")
        return
    try:
        label = dataset.label(picture)
    except DataError as error:
        coloured = "colour-coded" in str(error.found)
        problem(
            "colour-coded label" if coloured else "unreadable label",
            label_path,
            f"{error.message}: found {error.found}" if error.found else error.message,
        )
        return
    if size is not None and label.shape != size:
        problem(
            "size mismatch",
            label_path,
            "labels are {}x{}, the image is {}x{} (height x width)".format(*label.shape, *size),
        )
    counts = np.bincount(label.ravel(), minlength=256)
    classes = len(dataset.classes)
    for value in np.flatnonzero(counts):
        if value >= classes and value != dataset.ignore:
            problem(
                "value out of range",
                label_path,
                f"value {value} in {counts[value]} pixels; the classes are 0..{classes - 1}, void is 255",
            )
    void = int(counts[dataset.ignore])
    if void == label.size:
        problem("all void", label_path, "no pixel is labelled: nothing to learn or score from")
    for c in range(classes):
        report.pixels[c] += int(counts[c])
        report.images[c] += int(counts[c] > 0)
    report.void += void
    report.void_images += int(void > 0)
