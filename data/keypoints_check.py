"""Look at every picture and annotation of a keypoint set: how many objects and keypoints, and what is wrong."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from data.check import Problem, Progress, plain
from data.dataset import read_image
from data.errors import DataError
from data.keypoints import Instance, Keypoints, read_instance


@dataclass
class Counts:
    """Of one category in one split: objects, keypoints, those that can be seen, and those outside their picture."""

    objects: int = 0
    keypoints: int = 0
    visible: int = 0
    outside: int = 0
    names: set[str] = field(default_factory=set)


@dataclass
class KeypointReport:
    """The checked splits: {split: {category: Counts}}, and all problems."""

    name: str
    root: str
    splits: dict[str, dict[str, Counts]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """For JSON: all counts and problems."""
        made = asdict(self)
        for split in made["splits"].values():
            for counts in split.values():
                counts["names"] = sorted(counts["names"])
        return made

    def table(self) -> str:
        """The counts as plain text, one table per split."""
        return "\n\n".join(self._table(split) for split in self.splits)

    def _table(self, split: str) -> str:
        width = max(len(name) for name in [*self.splits[split], "category"])
        rows: list[tuple[object, ...]] = [("category", "objects", "keypoints", "visible", "outside", "kinds")]
        rows += [(name, c.objects, c.keypoints, c.visible, c.outside, len(c.names))
                 for name, c in self.splits[split].items()]
        lines = [f"{name!s:<{width}}" + "".join(f"  {value!s:>9}" for value in values) for name, *values in rows]
        return "\n".join([f"{self.name} {split}", *lines])


def check_keypoints(
    dataset: Keypoints, splits: Iterable[str] | None = None, progress: Progress = plain
) -> KeypointReport:
    """Read every picture that has annotations, and those, in `splits` (by default train and val).

    `progress(ids, total, split)` wraps the loop.  Problems are collected, never raised; only a split that does not
    exist raises DataError.  A keypoint outside its picture is counted, but no problem: the annotations have some.
    """
    report = KeypointReport(dataset.name, str(dataset.root))
    chosen = list(splits) if splits is not None else [s for s in dataset.splits() if s != "trainval"]
    if not chosen:
        report.problems.append(Problem("empty split", str(dataset.voc), "the data set has no split list"))
    for split in chosen:
        counts = report.splits[split] = {category: Counts() for category in dataset.classes}
        ids = dataset.ids(split)
        for picture in progress(ids, len(ids), split):
            _check_picture(dataset, picture, counts, report.problems)
        for category, found in counts.items():
            if not found.objects:
                report.problems.append(Problem("empty category", category, f"no object in the pictures of '{split}'"))
    return report


def _check_picture(dataset: Keypoints, picture: str, counts: dict[str, Counts], problems: list[Problem]) -> None:
    files = [(category, path) for category in dataset.classes for path in dataset.files[category].get(picture, ())]
    if not files:
        return
    height = width = 0
    path = dataset.image_path(picture)
    try:
        height, width = read_image(path).shape[:2]
    except DataError as error:
        problems.append(Problem("unreadable image" if path.is_file() else "missing image", str(path), error.message))
    for category, file in files:
        try:
            instance = read_instance(file)
        except DataError as error:
            problems.append(Problem("unreadable annotation", str(file), error.message))
            continue
        if (instance.picture, instance.category) != (picture, category):
            problems.append(Problem("misplaced annotation", str(file),
                                    f"it says {instance.category} in {instance.picture}"))
        _count(counts[category], instance, height, width)


def _count(counts: Counts, instance: Instance, height: int, width: int) -> None:
    counts.objects += 1
    counts.keypoints += len(instance.keypoints)
    counts.visible += sum(k.visible for k in instance.keypoints.values())
    counts.outside += bool(height) * sum(not (-0.5 <= k.x < width - 0.5 and -0.5 <= k.y < height - 0.5)
                                         for k in instance.keypoints.values())
    counts.names |= set(instance.keypoints)
