"""Scoring a net on a split of a data set: image by image where sizes vary, in batches where they do not."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from data.palette import write_indexed_png
from tools import predict
from tools.errors import RunError
from tools.metrics import Confusion, Metrics
from tools.score_files import as_record


@dataclass(frozen=True)
class Scored:
    """What `score` found.  `loss` is the mean over forward passes, None where the net has no loss."""

    metrics: Metrics
    confusion: Confusion
    loss: float | None
    images: int
    seconds: float

    def record(self, class_names: Sequence[str]) -> dict[str, Any]:
        """Everything as plain JSON values."""
        return as_record(self.metrics, class_names, images=self.images, seconds=round(self.seconds, 2),
                         loss=self.loss)


def score(
    net: Any, dataset: Any, split: str = "val", out_dir: str | os.PathLike[str] | None = None, *,
    mean: Sequence[float] = (0, 0, 0), batch: int = 8, save: Collection[str] | None = None,
    ids: Sequence[str] | None = None, present_only: bool = False, progress: bool | None = None,
    stop: Callable[[], None] | None = None,
) -> Scored:
    """Score a net, which is a caffe.Net in test phase, on a data set of `data.open_dataset`.

    A net with an input `data` is fed the images, minus `mean` (BGR), up to `batch` small ones of one size at
    a time.  A net with its own data layer reads them itself: this split, in order, from its first image.
    With `out_dir`, predictions are written there as palette PNGs named by id, all or those in `save`.  `ids`
    scores these pictures instead of the whole split.  `present_only`: see `Confusion.metrics`.  `progress`:
    a bar (None: on a terminal only).  `stop` is called between images and may raise.

    Raises RunError for a net that cannot be scored, DataError for missing files or labels out of range.
    """
    ids = list(dataset.ids(split) if ids is None else ids)
    if not ids:
        raise RunError(f"the split '{split}' of '{dataset.name}' is empty", file=dataset.root,
                       help="its list of ids has no line")
    confusion = Confusion(len(dataset.classes), dataset.ignore)
    if "score" not in net.blobs:
        raise RunError("the net has no blob 'score'", found=", ".join(list(net.blobs)[-3:]) + " at its end",
                       help="score nets whose class scores are called 'score', as those of prototxt/")
    begun = time.monotonic()
    losses: list[float] = []
    pairs = _fed(net, dataset, ids, mean, batch) if "data" in net.inputs else _self_fed(net, dataset, ids)
    disable = None if progress is None else not progress
    with tqdm(total=len(ids), desc=f"score {split}", unit="image", disable=disable, leave=False) as bar:
        for picture, truth, prediction, loss in pairs:
            confusion.add(truth, prediction, name=str(dataset.label_path(picture)))
            if loss is not None:
                losses.append(loss)
            if out_dir is not None and (save is None or picture in save):
                write_indexed_png(Path(out_dir) / f"{picture}.png", prediction, dataset.palette)
            bar.update()
            if stop is not None:
                stop()
    return Scored(confusion.metrics(present_only), confusion, float(np.mean(losses)) if losses else None,
                  len(ids), time.monotonic() - begun)


# id, truth, prediction, loss of its forward pass
_Pairs = Iterator[tuple[str, NDArray, NDArray, float | None]]


def _fed(net: Any, dataset: Any, ids: Sequence[str], mean: Sequence[float], batch: int) -> _Pairs:
    predict.check_net(net, getattr(net, "name", "net"))
    _check_classes(net.blobs["score"].shape[1], dataset)
    with ThreadPoolExecutor(1) as reader:  # decodes the next images while the net computes
        images = _ahead(reader, dataset.image, ids, 2 * batch)
        for names, group in predict.batches(zip(ids, images, strict=True), batch):
            found = predict.labels(predict.scores(net, group, mean))
            for name, prediction in zip(names, found, strict=True):
                yield name, dataset.label(name), prediction, None


def _ahead(pool: ThreadPoolExecutor, read: Callable[[str], NDArray], ids: Sequence[str], depth: int,
           ) -> Iterator[NDArray]:
    """read(id) for each id in order, with `depth` of them under way in the pool."""
    waiting = [pool.submit(read, name) for name in ids[:depth]]
    for i in range(len(ids)):
        result = waiting.pop(0).result()
        if i + depth < len(ids):
            waiting.append(pool.submit(read, ids[i + depth]))
        yield result


def _self_fed(net: Any, dataset: Any, ids: Sequence[str]) -> _Pairs:
    if "label" not in net.blobs:
        raise RunError("the net has neither an input 'data' nor a blob 'label'", found=", ".join(net.blobs),
                       help="give the deploy or the val prototxt of the net")
    size = net.blobs["data"].shape[0]
    if len(ids) % size:
        raise RunError("the batches of the net's data layer do not fit the split", found=f"batches of {size}",
                       expected=f"a divisor of its {len(ids)} images", help="set 'batch': 1 in its param_str")
    for at in range(0, len(ids), size):
        net.forward()
        found = net.blobs["score"].data
        _check_classes(found.shape[1], dataset)
        loss = float(net.blobs["loss"].data.flat[0]) if "loss" in net.blobs else None
        truth = net.blobs["label"].data
        for name, label, prediction in zip(ids[at : at + size], truth, predict.labels(found), strict=True):
            yield name, label, prediction, loss


def _check_classes(channels: int, dataset: Any) -> None:
    if channels != len(dataset.classes):
        raise RunError("the net and the data set do not have as many classes", found=f"{channels} scores",
                       expected=f"{len(dataset.classes)} classes of '{dataset.name}'",
                       help="score with the data set of its training, or build the net for these classes")
