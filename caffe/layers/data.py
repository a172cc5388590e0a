"""Data: images and labels from an LMDB or LevelDB of Datum messages."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import numpy as np

from .. import state
from ..data import datum
from ..data.lmdb_reader import Reader, open_database
from ..layer import register
from ..proto import caffe_pb2
from .prefetch import PrefetchingSource

logger = logging.getLogger("caffe")


@register("Data")
class Data(PrefetchingSource):
    """Batches of the database `source` in the order of its keys; the first record follows the last one.

    Top 0 is batch_size x channels x height x width, transformed by `transform_param`; top 1, if there is one,
    the labels (batch_size). Images of another shape than the last batch's change the top's shape. With several
    solvers each takes its share of the records in training. `rand_skip` begins at a random record (Caffe 1.0
    has the field and ignores it). Raises DataError.
    """

    def open(self) -> tuple[int, ...]:
        self.reader: Reader = open_database(self.p.source, caffe_pb2.DataParameter.DB.Name(self.p.backend))
        logger.info("Opened %s %s", caffe_pb2.DataParameter.DB.Name(self.p.backend).lower(), self.p.source)
        self._records: Iterator[bytes] = iter(())
        self._next: int | None = None   # the record that self._records gives next
        self.resumed()
        record = self._record_of(0)
        with datum.record(record, self.p.source):
            example = datum.parse(next(self.reader.records(record)))
            pixels = datum.array(example, self.transformer.color)
        if not example.encoded and self.transformer.color is not None:
            logger.warning("layer '%s': force_color and force_gray are for encoded images only, these are not",
                           self.name)
        if self.p.force_encoded_color:
            logger.warning("layer '%s': data_param.force_encoded_color has no effect, as in Caffe 1.0; "
                           "transform_param's force_color has", self.name)
        return self.transformer.shape(pixels)

    def randomized(self) -> bool:
        return bool(self.p.rand_skip)

    def resumed(self) -> None:
        self._skip = self.skipped(self.p.rand_skip)

    def _record_of(self, number: int) -> int:
        """The record of item `number`, counted on over the end of the database."""
        shared = self.phase == caffe_pb2.TRAIN
        number += self._skip
        return number * state.solver_count() + state.solver_rank() if shared else number

    def load_item(self, number: int) -> tuple[np.ndarray, float]:
        record = self._record_of(number)
        if self._next is None or not 0 <= record - self._next < state.solver_count():
            self._records, self._next = self.reader.records(record), record
        while self._next < record:   # those of the other solvers
            next(self._records)
            self._next += 1
        at, self._next = self._next, None   # in case of an error
        with datum.record(record, self.p.source):
            message = datum.parse(next(self._records))
            pixels = datum.array(message, self.transformer.color)
        image = self.transformed(pixels, number)
        self._next = at + 1
        return image, message.label
