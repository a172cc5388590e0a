"""What Data, ImageData and WindowData share: batches loaded in the background, in a seeded order that resumes."""

from __future__ import annotations

import logging
import queue
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from .. import state
from ..blob import Blob
from ..data.transformer import Transformer
from ..errors import DataError
from ..layer import Count
from .sources import Source

logger = logging.getLogger("caffe")
Batch = list[np.ndarray]  # one array per top


class Ahead:
    """Calls `load(position)` for position, position + step, ... in a thread, at most `depth` results ahead.

    `load` is a bound method, held weakly: when its object goes, or the process ends, the thread ends too.
    """

    def __init__(self, load: Callable[[int], Batch], position: int, step: int, depth: int) -> None:
        self._results: queue.SimpleQueue[Batch | Exception] = queue.SimpleQueue()
        self._room, self._stop = threading.Semaphore(depth), threading.Event()
        arguments = (weakref.WeakMethod(load), position, step, self._results, self._room, self._stop)
        thread = threading.Thread(target=_load_ahead, args=arguments, name="data layer", daemon=True)
        self.close = weakref.finalize(self, _end, thread, self._room, self._stop)
        thread.start()

    def next(self) -> Batch:
        """The next batch; raises what its `load` raised."""
        result = self._results.get()
        self._room.release()
        if isinstance(result, Exception):
            raise result
        return result


def _load_ahead(weak_load: Any, position: int, step: int, results: Any, room: Any, stop: Any) -> None:
    while True:
        room.acquire()
        load = weak_load()
        if stop.is_set() or load is None:
            return
        try:
            results.put(load(position))
        except Exception as problem:  # to be raised where the batch is asked for
            results.put(problem)
            return
        del load
        position += step


def _end(thread: threading.Thread, room: threading.Semaphore, stop: threading.Event) -> None:
    stop.set()
    room.release()
    if thread is not threading.current_thread():
        thread.join()


class PrefetchingSource(Source):
    """A source of images and, where it has two tops, labels. Subclasses write `open` and `load_item`.

    Items are numbered 0, 1, 2, ... without end. What an item is, and its random crop, follow from its number and
    `self.seed` alone, so that a snapshot holds two numbers and a resumed run sees the same images. The seed is
    drawn from the engine's generator, once, and only if something is random.
    """

    tops: Count = (1, 2)
    legacy_fields: tuple[str, ...] = ("scale", "mean_file", "crop_size", "mirror")

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        self.positive("batch_size")
        for field in self.legacy_fields:
            if self.p.HasField(field):
                logger.warning("layer '%s': %s of the old format has no effect here, transform_param's has",
                               self.name, field)
        self.transformer = Transformer(self.layer_param.transform_param, self.phase, self.name,
                                       self.defined_at)
        self.position, self.seed = 0, 0
        self._ahead: Ahead | None = None
        if self.transformer.random or self.randomized():
            self.seed = int(torch.randint(1 << 62, (), generator=state.generator()))
        with self.named():
            shape = self.open()
        top[0].reshape(self.p.batch_size, *shape)
        for labels in top[1:]:
            labels.reshape(self.p.batch_size)
        logger.info("output data size: %s", ",".join(map(str, top[0].shape)))

    # ------------------------------------------------------------------ what a subclass writes
    def randomized(self) -> bool:
        """Whether the order of items is random (crops and mirrors are not meant)."""
        return False

    def open(self) -> tuple[int, ...]:
        """Open the source; returns the shape of the first item: channels, height, width. Raises DataError."""
        raise NotImplementedError

    def load_item(self, number: int) -> tuple[np.ndarray, float | np.ndarray]:
        """Item `number` as the top takes it, and its label (or labels). Called in a thread, for rising numbers."""
        raise NotImplementedError

    # ------------------------------------------------------------------ what they use
    def random_numbers(self, number: int, purpose: int = 0) -> np.random.Generator:
        """Random numbers of one item, epoch, ... (the same whenever they are asked for)."""
        return np.random.Generator(np.random.PCG64([self.seed, number, purpose]))

    def transformed(self, image: np.ndarray, number: int) -> np.ndarray:
        """The image (channels x height x width) of item `number` after `transform_param`."""
        return self.transformer.apply(image, self.random_numbers(number) if self.transformer.random else None)

    def skipped(self, rand_skip: int) -> int:
        """How many items to skip at the very beginning: random, less than `rand_skip`."""
        if not rand_skip:
            return 0
        skip = int(self.random_numbers(0, purpose=1).integers(rand_skip))
        logger.info("Skipping first %d data points.", skip)
        return skip

    def bad_data(self, message: str, *, file: str | None = None, **details: Any) -> DataError:
        """A DataError of this layer, to be raised."""
        return DataError(message, file=file or self.p.source, layer=self.name, **details)

    # ------------------------------------------------------------------ batches
    def _load(self, position: int) -> Batch:
        images = np.empty(0, np.float32)
        labels: list[float | np.ndarray] = []
        with self.named():
            for i in range(self.p.batch_size):
                image, label = self.load_item(position + i)
                if i == 0:
                    images = np.empty((self.p.batch_size, *image.shape), np.float32)
                elif image.shape != images.shape[1:]:
                    raise self.bad_data("images of one batch differ in shape", found=image.shape,
                                        expected=images.shape[1:], help="set crop_size, or new_height and new_width "
                                                                        "where there are such, or batch_size: 1")
                images[i] = image
                labels.append(label)
        return [images, np.array(labels, np.float32)]

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        depth = self.layer_param.data_param.prefetch
        if self._ahead is None and depth:
            self._ahead = Ahead(self._load, self.position, self.p.batch_size, depth)
        try:
            batch = self._ahead.next() if self._ahead is not None else self._load(self.position)
        except BaseException:
            self._stop_loading()   # asked again, it tries again
            raise
        self.position += self.p.batch_size
        self.give(top, batch)

    def _stop_loading(self) -> None:
        if self._ahead is not None:
            self._ahead.close()
            self._ahead = None

    def get_state(self) -> dict[str, int]:
        """Which item the next batch begins with, and the seed, for a snapshot."""
        return {"position": self.position, "seed": self.seed}

    def set_state(self, value: dict[str, int]) -> None:
        """Go on where `get_state` was asked."""
        self._stop_loading()
        self.position, self.seed = int(value["position"]), int(value["seed"])
        self.resumed()

    def resumed(self) -> None:
        """What a subclass has derived from the seed is to be derived anew."""
