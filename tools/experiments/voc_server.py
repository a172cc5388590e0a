"""Table 3.4: PASCAL VOC's test sets, whose labels only the test server has; here the archive for it, and the time."""

from __future__ import annotations

import io
import tarfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from data import open_dataset, shapes
from data.dataset import read_image
from tools import voc_submission
from tools.experiments.registry import Context, Need, Result, Table, experiment
from tools.experiments.skips import NEEDS
from tools.experiments.training import hashes, train
from tools.metrics import Confusion, Metrics
from tools.session import of_run

# mean IU on VOC 2011 and 2012 test, seconds per image
OTHERS = {"R-CNN": (47.9, None, None), "SDS": (52.6, 51.6, 50.0)}
FCN8S = (62.7, 62.2, 0.175)
SMALL_SET = {"train": 120, "val": 10, "test": 20}   # drawn shapes, in a folder VOC2012
TRIALS = 20


@experiment("table3.4", "PASCAL VOC 2011 and 2012 test: archives for the test server", "3.4.2",
            [*NEEDS, Need("data", "voc2011"), Need("data", "voc2012")],
            "a small net on drawn shapes with a test split, whose archive is scored here")
def submissions(context: Context) -> Result:
    """FCN-8s of table3.2 on the test pictures.  They come in archives of their own (docs/data.md)."""
    net = "small-fcn8s" if context.small else "fcn8s"
    if context.small:
        root = shapes.write(context.folder / "VOC2012", counts=SMALL_SET)
        sets = {"2012": open_dataset(root)}
        plan, folder, _ = train(context, net, data=str(root), iters="150,50,50")
    else:
        sets = {year: context.dataset(f"voc{year}") for year in ("2011", "2012")}
        for dataset in sets.values():   # that they lack should be said now and not after days of training
            read_image(dataset.image_path(dataset.ids("test")[0]))
        plan, folder, _ = train(context.of("table3.2"), net)
    trained = of_run(str(folder.root), None, None)
    loaded = trained.load()
    claims, notes = [], []
    found: dict[str, float | None] = {"2011": None, "2012": None}
    for year, dataset in sets.items():
        archive = context.folder / f"{net}-{year}.tgz"
        count = voc_submission.write(loaded, trained.mean, dataset, "test", archive)
        notes.append(f"{archive.name}: {count} results, checked.")
        if context.small:
            found[year] = 100 * scored(archive, dataset, "test").mean_iu
    seconds = forward_time(loaded, (500, 500))
    ours = (*found.values(), seconds)
    rows: dict[str, list[tuple[float | None, float | None]]] = {net: [(None, value) for value in ours]}
    if not context.small:
        rows = {**{name: [(value, None) for value in row] for name, row in OTHERS.items()},
                net: list(zip(FCN8S, ours, strict=True))}
        claims.append(("inference takes less than one fifth of a second for a typical image",
                       f"{1000 * seconds:.0f} ms for 500 x 500", seconds < 0.2))
        notes.append("Their mean IU comes from http://host.robots.ox.ac.uk:8080, which needs an account.")
    return Result(
        [Table("test sets", ["mean IU, VOC2011 test", "mean IU, VOC2012 test", "s per image"], rows, 3)],
        claims=claims, notes=notes,
        config={"recipe": plan.recipe, "seed": plan.seed, "iterations": dict(plan.stages), "trials": TRIALS},
        weights=hashes([plan]),
    )


def scored(archive: Path, dataset: Any, split: str) -> Metrics:
    """The scores of an archive's labels, as the test server computes them, for a split with labels."""
    inside = voc_submission.results_folder(dataset, split)
    confusion = Confusion(len(dataset.classes), dataset.ignore)
    with tarfile.open(archive) as tar:
        for picture in dataset.ids(split):
            file = tar.extractfile(str(inside / f"{picture}.png"))
            assert file is not None   # voc_submission.write has checked it
            confusion.add(dataset.label(picture), np.array(Image.open(io.BytesIO(file.read()))), name=picture)
    return confusion.metrics()


def forward_time(net: Any, size: tuple[int, int], trials: int = TRIALS) -> float:
    """Mean seconds of a forward pass on one image of `size`, after one that does not count (Table 3.1: of 20)."""
    net.blobs["data"].reshape(1, 3, *size)
    net.reshape()
    net.blobs["data"].data[...] = np.random.default_rng(0).normal(0, 50, net.blobs["data"].shape)
    taken = []
    for _ in range(trials + 1):
        begun = time.perf_counter()
        net.forward()
        net.blobs["score"].data.ravel()   # waits for a GPU
        taken.append(time.perf_counter() - begun)
    return float(np.mean(taken[1:]))
