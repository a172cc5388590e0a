"""Pictures of regions: proposals, planes, best matches of objects, sizes, weights (Figures 4.3 and 4.5 to 4.8)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data.coco import COCO
from data.dataset import read_image
from proposals import figures
from proposals.overlap import best_overlaps
from proposals.propose import propose, write_results
from proposals.recall import Objects, density_table, together
from tools.infer import find_images
from tools.region_eval import Evaluation
from tools.region_run import RegionPredictor


def propose_pictures(predictor: RegionPredictor, images: Sequence[str], out: Path, overlap: float, most: int) -> int:
    """Write out/results.json, and for each image <name>.png with its best regions and <name>-planes.png; returns the
    number of regions.

    A picture's id is its name where that is a number, as in COCO, else its place in the list.  Raises RunError for
    what is no image, or another image of the same name.
    """
    out.mkdir(parents=True, exist_ok=True)
    records = []
    for place, path in enumerate(tqdm(find_images(images), unit="picture", disable=None), start=1):
        image = read_image(path)
        planes = predictor(image)
        height, width = image.shape[:2]
        found = propose(planes, height, width, overlap, most)
        number = int(path.stem) if path.stem.isdecimal() else place
        records += [{**one.record(number), "file_name": path.name} for one in found]
        figures.proposals_figure(out / f"{path.stem}.png", image, planes, found)
        figures.planes_figure(out / f"{path.stem}-planes.png", planes, image)
    write_results(out / "results.json", records)
    return len(records)


def show_recall(found: Evaluation, out: str | os.PathLike[str]) -> list[Path]:
    """Write sizes.png, which pathway finds objects of which size (Figure 4.6), and density.png, recall against the
    lowest stride (Table 4.2); returns their paths."""
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    sizes, density = folder / "sizes.png", folder / "density.png"
    figures.sizes_figure(sizes, found.objects[1], found.names)
    figures.density_figure(density, {"all regions": density_table(found.objects)}, found.strides[1])
    return [sizes, density]


def show(predictor: RegionPredictor, dataset: COCO, ids: Sequence[str], out: str | os.PathLike[str]) -> list[Path]:
    """Write matches.png, planes.png (of the first picture), sizes.png and weights-<level>.png; returns their paths."""
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for picture in tqdm(ids, unit="picture", disable=None):
        image = dataset.image(picture)
        instances = [one for one in dataset.instances(picture) if not one.crowd]
        planes = predictor(image)
        rows.append((image, planes, instances, best_overlaps(planes, instances)))
    written = [folder / name for name in ("matches.png", "planes.png", "sizes.png")]
    figures.matches_figure(written[0], rows)
    figures.planes_figure(written[1], rows[0][1], rows[0][0])
    objects = together(Objects(best.overlap, best.plane, np.array([one.area for one in instances]))
                       for _, _, instances, best in rows)
    figures.sizes_figure(written[2], objects, [plane.name for plane in rows[0][1]])
    for path in predictor.paths:
        convolution = predictor.entry.convolution(path.level)
        written.append(folder / f"weights-{path.level.name}.png")
        figures.weights_figure(written[-1], predictor.net.params[convolution][0].data)
    return written
