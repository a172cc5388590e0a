"""Look at every picture of a data set before training on it: label histogram, and all that is wrong."""

from __future__ import annotations

from collections import Counter
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
    """What one split contains, of one kind of labels (the top `label`).

    `pixels[c]` and `images[c]` count labelled pixels of class c, and the images in which it occurs; `void`
    counts pixels of the ignore index, `void_images` the images that have some. Files with a problem that
    leaves their labels unreadable, and labels out of range, are in no count. Problems of images are in the report
    of the first kind of labels.
    """

    split: str
    label: str = "label"
    classes: tuple[str, ...] = ()
    pictures: int = 0
    pixels: list[int] = field(init=False)
    images: list[int] = field(init=False)
    void: int = 0
    void_images: int = 0
    problems: list[Problem] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.pixels, self.images = [0] * len(self.classes), [0] * len(self.classes)

    def problem(self, kind: str, where: object, message: str) -> None:
        """Add a problem."""
        self.problems.append(Problem(kind, str(where), message))

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
        width = max([len(name) for name in split.classes] + [4])
        kind = "" if split.label == "label" else f", {split.label}"
        head = f"{self.name} {split.split}{kind}: {split.pictures} pictures"
        rows = [head, f"{'id':>4}  {'class':<{width}}  {'pixels':>13}  {'percent':>8}  {'images':>7}"]
        columns = [
            (c, n, split.pixels[c], split.percent[c], split.images[c]) for c, n in enumerate(split.classes)
        ]
        columns.append((255, "void", split.void, split.void_percent, split.void_images))
        for c, name, pixels, percent, images in columns:
            rows.append(f"{c:>4}  {name:<{width}}  {pixels:>13}  {percent:>8.3f}  {images:>7}")
        return "\n".join(rows)


Progress = Callable[[Iterable[str], int, str], Iterable[str]]


def plain(ids: Iterable[str], total: int, split: str) -> Iterable[str]:
    return ids


def check(dataset: Dataset, splits: Iterable[str] | None = None, progress: Progress = plain) -> Report:
    """Read every image and label of `splits` and report: for each split, each kind of labels.

    By default all splits except those whose pictures others list already (trainval) and a `test` split
    without any labels, as VOC's is. `progress(ids, total, split)` wraps the loop (for a progress bar).
    Problems are collected, never raised; only a split that does not exist raises DataError.
    """
    chosen = list(splits) if splits is not None else default_splits(dataset)
    reports = [report for split in chosen for report in _check_split(dataset, split, progress)]
    report = Report(dataset.name, str(dataset.root), dataset.classes, reports)
    if not reports:
        empty = SplitReport("(none)", dataset.label_tops[0], dataset.classes)
        empty.problem("empty split", dataset.root, "the data set has no split list")
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


def _check_split(dataset: Dataset, split: str, progress: Progress) -> list[SplitReport]:
    ids = dataset.ids(split)
    reports = [SplitReport(split, top, dataset.classes_of(top), len(ids)) for top in dataset.label_tops]
    if not ids:
        reports[0].problem("empty split", split, f"the list of '{split}' has no id")
    for picture in sorted(picture for picture, n in Counter(ids).items() if n > 1):
        reports[0].problem("listed twice", split, f"'{picture}' is in the list more than once")
    for picture in progress(ids, len(ids), split):
        sizes = [_check_image(dataset, picture, top, reports[0]) for top in dataset.image_tops]
        first = next((size for size in sizes if size), None)
        for top, size in zip(dataset.image_tops, sizes, strict=True):
            if size and first and size != first:
                reports[0].problem("size mismatch", dataset.path(picture, top),
                                   "{} is {}x{}, another image {}x{} (height x width)".format(top, *size, *first))
        for report in reports:
            _check_label(dataset, picture, first, report)
    return reports


def _check_image(dataset: Dataset, picture: str, top: str, report: SplitReport) -> tuple[int, ...] | None:
    """The size of an image, where it can be read; adds its problems."""
    path = dataset.path(picture, top)
    if not path.is_file():
        what = "image" if top == dataset.image_tops[0] else top
        report.problem("missing image", path, f"'{picture}' has no {what}")
        return None
    try:
        mode, _ = image_mode(path)
        if mode in ("L", "1", "LA", "I;16") and top != "depth":
            report.problem("grayscale image", path, f"the image has mode {mode}, not RGB")
        return dataset.top(picture, top).shape[:2]  # decoded whole: a cut file has a good header
    except DataError as error:
        report.problem("unreadable image", path, error.message)
        return None


def _check_label(dataset: Dataset, picture: str, size: tuple[int, ...] | None, report: SplitReport) -> None:
    """Add the counts and problems of one picture's labels; `size` is that of its image, where it is known."""
    path = dataset.path(picture, report.label)
    if not path.is_file():
        report.problem("missing label", path, f"'{picture}' has no labels")
        return
    try:
        label = dataset.top(picture, report.label)
    except DataError as error:
        kind = "colour-coded label" if "colour-coded" in str(error.found) else "unreadable label"
        report.problem(kind, path, f"{error.message}: found {error.found}" if error.found else error.message)
        return
    if size is not None and label.shape != size:
        report.problem("size mismatch", path,
                       "labels are {}x{}, the image is {}x{} (height x width)".format(*label.shape, *size))
    counts = np.bincount(label.ravel(), minlength=256)
    classes = len(report.classes)
    for value in np.flatnonzero(counts):
        if value >= classes and value != dataset.ignore:
            report.problem("value out of range", path, f"value {value} in {counts[value]} pixels; "
                           f"the classes are 0..{classes - 1}, void is 255")
    void = int(counts[dataset.ignore])
    if void == label.size:
        report.problem("all void", path, "no pixel is labelled: nothing to learn or score from")
    for c in range(classes):
        report.pixels[c] += int(counts[c])
        report.images[c] += int(counts[c] > 0)
    report.void += void
    report.void_images += int(void > 0)
