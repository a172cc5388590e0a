"""How well regions cover objects: recall of all of them, and of the best by score (thesis 4.4.5)."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from tqdm import tqdm

from data.coco import COCO
from proposals.average_recall import LIMITS, average_recall
from proposals.plane import Plane
from proposals.propose import propose
from proposals.recall import DENSITIES, Objects, by_size, density_table, objects_by_density, together
from tools.score_files import layout

MEASURES = ("R@50", "R@70", "ABO", "AR")


@dataclass(frozen=True)
class Evaluation:
    """`objects`: of all pictures, by density (every m-th region centre; 1: all).  `ar`: AR@N by range of areas, None
    for a net without scores.  `strides`: the lowest stride at each density.  `regions`: their mean number."""

    objects: dict[int, Objects]
    ar: dict[str, dict[int, float]] | None
    strides: dict[int, int]
    names: tuple[str, ...]
    regions: float
    pictures: int
    seconds: float

    @property
    def measures(self) -> dict[str, float]:
        """R@50, R@70, ABO and AR of all regions, 0..1."""
        return density_table(self.objects)[1]

    def record(self) -> dict[str, Any]:
        """Everything as plain JSON values."""
        def plain(value: Any) -> Any:
            if isinstance(value, dict):
                return {str(key): plain(one) for key, one in value.items()}
            if isinstance(value, list):
                return [plain(one) for one in value]
            return None if isinstance(value, float) and not np.isfinite(value) else value

        record: dict[str, Any] = plain({
            **self.measures, "by_size": by_size(self.objects[1]), "average_recall": self.ar,
            "by_stride": {self.strides[step]: row for step, row in density_table(self.objects).items()},
            "pictures": self.pictures, "regions_per_picture": self.regions, "seconds_per_picture": self.seconds})
        return record

    def text(self) -> str:
        """Tables in percent."""
        def percent(value: float) -> str:
            return "-" if not np.isfinite(value) else f"{100 * value:.1f}"

        density = [[str(self.strides[step]), *(percent(row[m]) for m in MEASURES)]
                   for step, row in density_table(self.objects).items()]
        sizes = [[f"{row['from']:g}-{row['to']:g}", str(row["objects"]), *(percent(row[m]) for m in MEASURES)]
                 for row in by_size(self.objects[1])]
        parts = [
            f"{self.pictures} pictures, {len(self.objects[1].overlap)} objects, {self.regions:.0f} regions a picture, "
            f"{1000 * self.seconds:.0f} ms a picture in the net",
            layout(["lowest stride", *MEASURES], density), layout(["sqrt(area)", "objects", *MEASURES], sizes)]
        if self.ar is not None:
            parts.append(layout(["objects", *(f"AR@{n}" for n in LIMITS)],
                                [[name, *(percent(row[n]) for n in LIMITS)] for name, row in self.ar.items()]))
        return "\n\n".join(parts)


def evaluate(planes_of: Callable[[Any], Sequence[Plane]], dataset: COCO, ids: Sequence[str], overlap: float = 0.7,
             densities: Sequence[int] = DENSITIES, scored: bool | None = None) -> Evaluation:
    """Score what `planes_of` (a RegionPredictor, or a baseline) gives for each image, H x W x 3 RGB.

    `overlap`: proposals that overlap a better one by more are dropped.  `scored`: whether the scores rank regions
    (None: where they are not all alike); without, there is no AR@N.
    """
    found: dict[int, list[Objects]] = {step: [] for step in densities}
    truth: dict[int, Sequence[Any]] = {}
    results: list[dict[str, Any]] = []
    regions = 0
    strides: dict[int, int] = {}
    names: tuple[str, ...] = ()
    for picture in tqdm(ids, unit="picture", disable=None):
        image = dataset.image(picture)
        instances = dataset.instances(picture)
        planes = planes_of(image)
        for step, objects in objects_by_density(planes, instances, densities).items():
            found[step].append(objects)
        if scored is None:
            scored = any(np.ptp(plane.scores) > 0 for plane in planes)
        truth[int(picture)] = instances
        if scored:
            height, width = image.shape[:2]
            results += [one.record(int(picture)) for one in propose(planes, height, width, overlap, max(LIMITS))]
        regions += sum(plane.scores.size for plane in planes)
        strides = {step: step * min(plane.place.stride for plane in planes) for step in densities}
        names = tuple(plane.name for plane in planes)
    count = max(1, len(ids))
    seconds = getattr(planes_of, "seconds", float("nan")) / count
    return Evaluation({step: together(parts) for step, parts in found.items()},
                      average_recall(truth, results) if scored else None, strides, names, regions / count, len(ids),
                      seconds)


def save(path: str | os.PathLike[str], found: Evaluation) -> None:
    """Keep an evaluation, with the overlap of every object, as .npz."""
    rest = {key: value for key, value in asdict(found).items() if key != "objects"}
    arrays = {f"{step}_{name}": array
              for step, objects in found.objects.items() for name, array in vars(objects).items()}
    with open(path, "wb") as file:
        np.savez_compressed(file, rest=np.array(json.dumps(rest)), **arrays)


def load(path: str | os.PathLike[str]) -> Evaluation:
    """What `save` kept."""
    with np.load(path, allow_pickle=False) as kept:
        rest = json.loads(str(kept["rest"]))
        objects: dict[int, dict[str, Any]] = {}
        for name in kept.files:
            if name != "rest":
                step, _, field = name.partition("_")
                objects.setdefault(int(step), {})[field] = kept[name]
    ar = rest["ar"] and {area: {int(n): value for n, value in row.items()} for area, row in rest["ar"].items()}
    return Evaluation(**{**rest, "objects": {step: Objects(**parts) for step, parts in objects.items()}, "ar": ar,
                         "strides": {int(step): stride for step, stride in rest["strides"].items()},
                         "names": tuple(rest["names"])})
