"""Regions that are put forward: the best that are not alike, as COCO results (thesis 4.3.5, 4.4.5).

Suppression compares the coarse masks, the cells whose logit is above 0, within and across pathways; only what is kept
is upsampled. pycocotools' `loadRes` reads the file; mind that it takes a result's area from `bbox`, if it is there, and
not from the mask, so for AP of masks drop `bbox` first. Recall does not depend on it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco

from halide_kernels import nms, rle
from proposals.errors import DataError
from proposals.plane import Plane


@dataclass(frozen=True)
class Proposal:
    """A region that is put forward, and its mask as COCO's RLE: size, and counts as a string."""
    plane: int
    y: int
    x: int
    score: float
    segmentation: dict[str, Any]

    def record(self, image: int, category: int = 1) -> dict[str, Any]:
        """A COCO result; proposals have no category, so they all have the same."""
        return {"image_id": image, "category_id": category, "segmentation": self.segmentation,
                "bbox": [float(side) for side in coco.toBbox(self.segmentation)], "score": self.score}


def propose(planes: Sequence[Plane], height: int, width: int, threshold: float = 0.5, most: int = 1000,
            ) -> list[Proposal]:
    """At most `most` regions of a height x width picture, by falling score, ties by plane, y, x.

    A region is dropped if it overlaps a better one by more than `threshold` (1: none is), or if no pixel of its mask is
    in the picture; one whose score is -inf or NaN is none. Raises DataError for a threshold outside 0..1."""
    if not 0 <= threshold <= 1 or most < 1:
        raise DataError("proposals need a threshold of overlap and a number", found=f"{threshold:g}, {most}",
                        expected="0 to 1, and 1 or more")
    if not planes:
        return []
    masks = [plane.cells > 0 for plane in planes]
    scores = [np.where(mask.any(0), plane.scores, -np.inf).astype(np.float32)   # an empty region is none
              for mask, plane in zip(masks, planes, strict=True)]
    packed = nms.pack([plane.place for plane in planes], masks, scores)
    firsts = np.cumsum([0, *(score.size for score in scores)])
    found: list[Proposal] = []
    enough, done = most, 0
    while len(found) < most:
        kept = nms.suppress(packed, threshold, most=enough)[0]
        best = packed.order[kept[packed.order]]
        found += [one for one in _upsampled(planes, scores, packed, firsts, best[done:], height, width)
                  if coco.area(one.segmentation)]
        if len(best) < enough:
            break
        enough, done = 2 * enough, enough   # again, with more, for those that had no pixel
    return found[:most]


def _upsampled(planes: Sequence[Plane], scores: Sequence[Any], packed: nms.Packed, firsts: Any, regions: Any,
               height: int, width: int) -> list[Proposal]:
    """The regions, in their order, with their masks."""
    found: dict[int, Proposal] = {}
    for n, plane in enumerate(planes):
        own = regions[packed.of[regions] == n]
        y, x = np.divmod(own - firsts[n], plane.grid[1])
        cells = plane.cells[:, y, x].reshape(plane.place.side, plane.place.side, -1)
        masks = rle.encode_all(cells, *plane.corner(y, x), plane.place.cell, height, width)
        for region, row, column, mask in zip(own.tolist(), y.tolist(), x.tolist(), masks, strict=True):
            found[region] = Proposal(n, row, column, float(scores[n][row, column]),
                                     {**mask, "counts": mask["counts"].decode()})
    return [found[region] for region in regions.tolist()]


def write_results(path: str | os.PathLike[str], records: Sequence[dict[str, Any]]) -> None:
    """Write records as COCO results, the whole file or nothing."""
    part = Path(f"{os.fspath(path)}.part")
    part.write_text(json.dumps(records, allow_nan=False), encoding="utf-8")
    os.replace(part, path)


def read_results(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The records of a file of COCO results with masks.  Raises DataError for another file."""
    try:
        records = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise DataError("the results cannot be read", file=path, found=problem, expected="a JSON list") from problem
    needed = {"image_id", "segmentation", "score"}
    if not isinstance(records, list) or not all(isinstance(one, dict) and needed <= set(one) for one in records):
        raise DataError("these are no COCO results with masks", file=path, expected=f"a list of {sorted(needed)}",
                        help="write them with proposals.propose.write_results")
    return records
