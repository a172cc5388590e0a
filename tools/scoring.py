"""Scoring a net on a split of a data set: image by image where sizes vary, in batches where they do not."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
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
    """What `score` found.  `loss` is the mean over forward passes, None where the net has no loss.

    `heads`: label top -> confusion, one for each task; `metrics` and `confusion` are those of the first.
    `present_only`: see `Confusion.metrics`.
    """

    metrics: Metrics
    confusion: Confusion
    loss: float | None
    images: int
    seconds: float
    heads: Mapping[str, Confusion]
    present_only: bool = False

    def record(self, dataset: Any) -> dict[str, Any]:
        """Everything as plain JSON values; further heads under "heads"."""
        names = list(self.heads)
        more = {name: as_record(self.heads[name].metrics(self.present_only), dataset.classes_of(name))
                for name in names[1:]}
        return {**as_record(self.metrics, dataset.classes_of(names[0]), images=self.images,
                            seconds=round(self.seconds, 2), loss=self.loss), **({"heads": more} if more else {})}

    def warning(self, class_names: Sequence[str]) -> str | None:
        """A sentence where all predictions are of one class although the labels are of several."""
        predicted = np.flatnonzero(self.confusion.counts.sum(axis=0))
        if len(predicted) != 1 or np.count_nonzero(self.metrics.class_pixels) < 2:
            return None
        name = [*class_names, "none of the classes"][predicted[0]]
        return (f"every pixel is predicted as {name}: were the weights loaded (layer names), are score layers trained, "
                "is upsampling filled?")


def blob_of(label: str) -> str:
    """The scores of the task with this label top: `score` for `label`, `score_sem` for `sem`, ..."""
    return "score" if label == "label" else f"score_{label}"


def score(
    net: Any, dataset: Any, split: str = "val", out_dir: str | os.PathLike[str] | None = None, *,
    mean: Sequence[float] = (0, 0, 0), feeds: Mapping[str, predict.Feed] | None = None, batch: int = 8,
    save: Collection[str] | None = None,
    ids: Sequence[str] | None = None, present_only: bool = False, progress: bool | None = None,
    stop: Callable[[], None] | None = None,
) -> Scored:
    """Score a net, which is a caffe.Net in test phase, on a data set of `data.open_dataset`.

    A net with inputs is fed the data set's tops as `feeds` says ({input blob: Feed}; usually its images minus
    `mean`, BGR, in `data`), up to `batch` small pictures of one size at a time.  A net with its own data layer
    reads them itself: this split, in order, from its first image.  Every kind of labels of the data set is
    scored; predictions and `metrics` are of the first.
    With `out_dir`, predictions are written there as palette PNGs named by id, all or those in `save`.  `ids`
    scores these pictures instead of the whole split.  `present_only`: see `Confusion.metrics`.  `progress`:
    a bar (None: on a terminal only).  `stop` is called between images and may raise.

    Raises RunError for a net that cannot be scored, DataError for missing files or labels out of range.
    """
    ids = list(dataset.ids(split) if ids is None else ids)
    if not ids:
        raise RunError(f"the split '{split}' of '{dataset.name}' is empty", file=dataset.root,
                       help="its list of ids has no line")
    labels = list(dataset.label_tops)
    confusions = {label: Confusion(len(dataset.classes_of(label)), dataset.ignore) for label in labels}
    outputs = [blob_of(label) for label in labels]
    if any(output not in net.blobs for output in outputs):
        raise RunError(f"the net has no blob {' or '.join(map(repr, outputs))}",
                       found=", ".join(list(net.blobs)[-3:]) + " at its end",
                       help="score nets whose class scores are called so, as those of prototxt/")
    begun = time.monotonic()
    losses: list[float] = []
    feeds = feeds or {"data": predict.Feed(dataset.image_tops[0], tuple(mean))}
    pairs = _fed(net, dataset, ids, feeds, batch) if net.inputs else _self_fed(net, dataset, ids)
    disable = None if progress is None else not progress
    with tqdm(total=len(ids), desc=f"score {split}", unit="image", disable=disable, leave=False) as bar:
        for picture, truths, predictions, loss in pairs:
            for confusion, truth, prediction in zip(confusions.values(), truths, predictions, strict=True):
                confusion.add(truth, prediction, name=str(dataset.label_path(picture)))
            if loss is not None:
                losses.append(loss)
            if out_dir is not None and (save is None or picture in save):
                write_indexed_png(Path(out_dir) / f"{picture}.png", predictions[0], dataset.palette)
            bar.update()
            if stop is not None:
                stop()
    first = confusions[labels[0]]
    return Scored(first.metrics(present_only), first, float(np.mean(losses)) if losses else None, len(ids),
                  time.monotonic() - begun, confusions, present_only)


# id, truth and prediction of each task, loss of its forward pass
_Pairs = Iterator[tuple[str, list[NDArray], list[NDArray], float | None]]


def _fed(net: Any, dataset: Any, ids: Sequence[str], feeds: Mapping[str, predict.Feed], batch: int) -> _Pairs:
    outputs = [blob_of(label) for label in dataset.label_tops]
    predict.check_net(net, getattr(net, "name", "net"), feeds, outputs)
    _check_classes(net, dataset)

    def planes(picture: str) -> predict.Planes:
        return {blob: feed.blob(dataset.top(picture, feed.top)) for blob, feed in feeds.items()}

    with ThreadPoolExecutor(1) as reader:  # decodes the next pictures while the net computes
        pictures = _ahead(reader, planes, ids, 2 * batch)
        for names, group in predict.batches(zip(ids, pictures, strict=True), batch):
            found = [predict.labels(score) for score in predict.scores_of(net, group, outputs)]
            for i, name in enumerate(names):
                yield name, [dataset.top(name, top) for top in dataset.label_tops], [f[i] for f in found], None


def _ahead(pool: ThreadPoolExecutor, read: Callable[[str], predict.Planes], ids: Sequence[str], depth: int,
           ) -> Iterator[predict.Planes]:
    """read(id) for each id in order, with `depth` of them under way in the pool."""
    waiting = [pool.submit(read, name) for name in ids[:depth]]
    for i in range(len(ids)):
        result = waiting.pop(0).result()
        if i + depth < len(ids):
            waiting.append(pool.submit(read, ids[i + depth]))
        yield result


def _self_fed(net: Any, dataset: Any, ids: Sequence[str]) -> _Pairs:
    lacking = [label for label in dataset.label_tops if label not in net.blobs]
    if lacking:
        raise RunError(f"the net has neither an input nor a blob {lacking[0]!r}", found=", ".join(net.blobs),
                       help="give the deploy or the val prototxt of the net")
    size = net.blobs[dataset.label_tops[0]].shape[0]
    if len(ids) % size:
        raise RunError("the batches of the net's data layer do not fit the split", found=f"batches of {size}",
                       expected=f"a divisor of its {len(ids)} images", help="set 'batch': 1 in its param_str")
    for at in range(0, len(ids), size):
        net.forward()
        _check_classes(net, dataset)
        found = [predict.labels(net.blobs[blob_of(label)].data) for label in dataset.label_tops]
        loss = float(net.blobs["loss"].data.flat[0]) if "loss" in net.blobs else None
        truth = [net.blobs[label].data for label in dataset.label_tops]
        for i, name in enumerate(ids[at : at + size]):
            yield name, [t[i] for t in truth], [f[i] for f in found], loss


def _check_classes(net: Any, dataset: Any) -> None:
    for label in dataset.label_tops:
        channels, names = net.blobs[blob_of(label)].shape[1], dataset.classes_of(label)
        if channels != len(names):
            raise RunError("the net and the data set do not have as many classes", found=f"{channels} scores",
                           expected=f"{len(names)} classes of '{dataset.name}'",
                           help="score with the data set of its training, or build the net for these classes")
