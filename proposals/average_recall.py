"""Average recall of the first N proposals of a picture, by pycocotools' rules and whatever the category (thesis 4.4.5).

In each picture the proposals, by falling score, each take the object they overlap most among those that are free and
overlap by at least x (the later of two alike): one object to a proposal, one proposal to an object. Recall is the share
of objects taken, AR@N its mean over x = 0.50, 0.55, ..., 0.95 for the first N. Crowds, and objects whose area is
outside the range asked for, are no objects; pycocotools lets them absorb proposals that take none, which is no matter
for recall. Equal to `eval["recall"]` of COCOeval with useCats 0 and maxDets of these N.

Compared with R@x of all regions (`proposals.recall`): that is never smaller, for any N, and equal for N large enough
where no region overlaps two objects by x. Masks that are disjoint never do for x > 1/2: half of a region would be in
each, and more. Nor at 1/2, but for a region that is just the union of two objects of the same size.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from data.coco import Instance
from proposals.errors import DataError
from proposals.recall import THRESHOLDS

LIMITS = (10, 100, 1000)
RANGES = {"all": (0, 1e10), "small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, 1e10)}   # both ends in


def places(overlap: NDArray[np.float64], threshold: float) -> NDArray[np.int64]:
    """For each object the place of the proposal that takes it, from 0; as many as there are proposals if none does.

    `overlap`: proposals, best first, x objects."""
    threshold = min(threshold, 1 - 1e-10)
    found = np.full(overlap.shape[1], len(overlap))
    for place in np.flatnonzero((overlap >= threshold).any(1)) if overlap.size else ():
        free = np.flatnonzero((found == len(overlap)) & (overlap[place] >= threshold))
        if len(free):
            values = overlap[place, free]
            found[free[np.flatnonzero(values == values.max())[-1]]] = place
    return found


def recalls(truth: Mapping[int, Sequence[Instance]], results: Sequence[Mapping[str, Any]],
            limits: Sequence[int] = LIMITS) -> NDArray[np.float64]:
    """Recall, thresholds x ranges x limits: `THRESHOLDS`, `RANGES`, and the first so many proposals of a picture.

    `truth`: the instances of each picture, by its id, also of those without any. `results`: records as those of
    `proposals.propose`. NaN where no object is in a range. Raises DataError for results of other pictures."""
    given = defaultdict(list)
    for record in results:
        given[record["image_id"]].append(record)
    strange = sorted(set(given) - set(truth))
    if strange:
        raise DataError("there are results for pictures without ground truth", found=strange[:3],
                        help="score results and annotations of one split")
    taken, count = np.zeros((len(THRESHOLDS), len(RANGES), len(limits))), np.zeros(len(RANGES))
    for picture, instances in truth.items():
        objects = [one for one in instances if not one.crowd]
        if not objects:
            continue
        masks = [coco.encode(np.asfortranarray(one.mask, np.uint8)) for one in objects]
        best = sorted(given[picture], key=lambda record: -record["score"])[:max(limits)]   # stable, as pycocotools'
        overlap = np.zeros((0, len(masks)))
        if best:
            overlap = np.asarray(coco.iou([record["segmentation"] for record in best], masks, [0] * len(masks)))
        area = np.array([one.area for one in objects])
        for r, (low, high) in enumerate(RANGES.values()):
            inside = (area >= low) & (area <= high)
            count[r] += inside.sum()
            for t, threshold in enumerate(THRESHOLDS if inside.any() and best else ()):
                place = places(overlap[:, inside], threshold)
                taken[t, r] += [(place < min(limit, len(best))).sum() for limit in limits]
    return taken / np.where(count, count, np.nan)[:, None]


def average_recall(truth: Mapping[int, Sequence[Instance]], results: Sequence[Mapping[str, Any]],
                   limits: Sequence[int] = LIMITS) -> dict[str, dict[int, float]]:
    """AR@N for each range of areas and each N of `limits`, 0..1; arguments as those of `recalls`."""
    mean = recalls(truth, results, limits).mean(0)
    return {name: {limit: float(value) for limit, value in zip(limits, row, strict=True)}
            for name, row in zip(RANGES, mean, strict=True)}
