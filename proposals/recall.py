"""Recall of objects by the best of all regions, without scores: R@x, ABO and AR (thesis 4.4.5).

R@x is the share of objects whose best overlap is at least x; ABO the mean of the best overlaps; AR the mean of R@x
over x = 0.50, 0.55, ..., 0.95: the steps that COCO takes for the interval [0.5, 1] of the thesis and of Hosang et al.
(2015), who introduced the measure. A crowd region is no object. Of no object all are NaN.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data.coco import Instance
from proposals.overlap import Best, best_overlaps, by_density
from proposals.plane import Plane

THRESHOLDS = np.linspace(0.5, 0.95, 10)   # pycocotools' numbers, bit by bit
DENSITIES = (1, 2, 3, 4, 8)               # Table 4.2: lowest strides 2, 4, 6, 8, 16 of a net with 2
SIZES = (0, 16, 32, 64, 96, 192, np.inf)  # square roots of areas; COCO's small ends at 32, its medium at 96


@dataclass(frozen=True)
class Objects:
    """Objects of one picture or many, no crowds among them: an entry of each array for each object."""
    overlap: NDArray[np.float64]   # the best I/U
    pathway: NDArray[np.int64]     # the plane of the region that has it; -1 where no region meets the object
    area: NDArray[np.float64]      # COCO's area

    @property
    def size(self) -> NDArray[np.float64]:
        """The square root of the area, in pixels."""
        return np.sqrt(self.area)


def objects_of(planes: Sequence[Plane], instances: Sequence[Instance]) -> Objects:
    """The objects of one picture and their best overlaps."""
    objects = _objects(instances)
    return _with_areas(best_overlaps(planes, objects), objects)


def objects_by_density(planes: Sequence[Plane], instances: Sequence[Instance], steps: Sequence[int] = DENSITIES,
                       ) -> dict[int, Objects]:
    """The same where only every m-th region centre is used, for each m of `steps`."""
    objects = _objects(instances)
    return {step: _with_areas(best, objects) for step, best in by_density(planes, objects, steps).items()}


def _objects(instances: Sequence[Instance]) -> list[Instance]:
    return [instance for instance in instances if not instance.crowd]


def _with_areas(best: Best, objects: Sequence[Instance]) -> Objects:
    return Objects(best.overlap, best.plane, np.array([float(one.area) for one in objects]))


def together(pictures: Iterable[Objects]) -> Objects:
    """The objects of many pictures as those of one."""
    parts = list(pictures) or [Objects(np.zeros(0), np.zeros(0, np.int64), np.zeros(0))]
    return Objects(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Objects)))


def recall_at(overlap: ArrayLike, x: float) -> float:
    """R@x, 0..1."""
    overlap = np.asarray(overlap)
    return float(np.mean(overlap >= x)) if overlap.size else float("nan")


def measures(overlap: ArrayLike) -> dict[str, float]:
    """R@50, R@70, ABO and AR, 0..1, of the best overlaps of objects."""
    overlap = np.asarray(overlap, float)
    return {"R@50": recall_at(overlap, 0.5), "R@70": recall_at(overlap, 0.7),
            "ABO": float(overlap.mean()) if overlap.size else float("nan"),
            "AR": float(np.mean([recall_at(overlap, x) for x in THRESHOLDS]))}


def by_size(objects: Objects, edges: Sequence[float] = SIZES) -> list[dict[str, float]]:
    """The measures of the objects of each size, from one edge up to the next: with `from`, `to` and `objects`."""
    rows = []
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        some = objects.overlap[(objects.size >= low) & (objects.size < high)]
        rows.append({"from": float(low), "to": float(high), "objects": len(some), **measures(some)})
    return rows


def by_pathway(objects: Objects, pathways: int, edges: ArrayLike, threshold: float,
               ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Figure 4.6: how many objects have each size, bins; and how many of them each pathway finds, pathways x bins.

    An object belongs to the pathway of its best region, and is found if that one's overlap is at least `threshold`.
    Sizes lie from one edge up to the next; the last bin has its upper edge too."""
    edges = np.asarray(edges, float)
    found = objects.overlap >= threshold
    return np.histogram(objects.size, edges)[0], np.array([
        np.histogram(objects.size[found & (objects.pathway == p)], edges)[0] for p in range(pathways)]).reshape(
            pathways, len(edges) - 1)


def density_table(objects: Mapping[int, Objects]) -> dict[int, dict[str, float]]:
    """The measures at each density, densest first: Table 4.2 without its times."""
    return {step: measures(objects[step].overlap) for step in sorted(objects)}
