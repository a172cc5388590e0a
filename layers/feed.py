"""In which order pictures come, and loading the next batch while the net computes."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

import numpy as np

T = TypeVar("T")


class Order:
    """Which of `count` pictures stands at a position 0, 1, 2, ... of an endless sequence.

    Position p belongs to epoch p // count. In order, or with `shuffle` in a permutation of its own for each
    epoch, drawn from (seed, epoch): nothing but the position has to be remembered, and every picture comes
    once per epoch. With `replacement` each position draws its picture anew, whatever came before (thesis 4.4.4):
    it is an epoch of its own.
    """

    def __init__(self, count: int, seed: int, shuffle: bool, replacement: bool = False) -> None:
        self.count, self.seed, self.shuffle, self.replacement = count, seed, shuffle, replacement
        self._epoch = -1
        self._permutation: np.ndarray | None = None

    def at(self, position: int) -> tuple[int, int]:
        """(epoch, index of the picture) at `position`."""
        if self.replacement:
            return position, int(self.generator(position, -1).integers(self.count))
        epoch, index = divmod(position, self.count)
        if not self.shuffle:
            return epoch, index
        if epoch != self._epoch or self._permutation is None:
            self._permutation = np.random.Generator(np.random.PCG64([self.seed, epoch])).permutation(
                self.count
            )
            self._epoch = epoch
        return epoch, int(self._permutation[index])

    def generator(self, epoch: int, index: int) -> np.random.Generator:
        """The random numbers of one picture in one epoch; a third word keeps them apart from the order's."""
        return np.random.Generator(np.random.PCG64([self.seed, epoch, index + 1]))


class Prefetch(Generic[T]):
    """Calls `load(position)` in one background thread, one position ahead.

    Every load runs in that thread, one after the other, so `load` needs no locks. What it raises is raised by
    `get`, in the thread of the caller.
    """

    def __init__(self, load: Callable[[int], T]) -> None:
        self._load = load
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="data layer")
        self._position: int | None = None
        self._future: Future[T] | None = None

    def start(self, position: int) -> None:
        """Begin to load `position`; what was begun before is forgotten."""
        if self._future is not None:
            self._future.cancel()
        self._position, self._future = position, self._worker.submit(self._load, position)

    def get(self, position: int) -> T:
        """What `load(position)` gives: at once where it has been started and is ready."""
        if self._future is None or self._position != position:
            self.start(position)
        assert self._future is not None
        future, self._future = self._future, None
        return future.result()

    def close(self) -> None:
        """Let the thread end; `get` cannot be called any more."""
        self._worker.shutdown(wait=True, cancel_futures=True)
