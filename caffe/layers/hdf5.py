"""HDF5Data and HDF5Output: batches from and to HDF5 files (needs h5py)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch

from .. import state
from ..blob import Blob
from ..data import hdf5_reader
from ..errors import DataError, LayerError
from ..files import package
from ..function import FunctionLayer
from ..layer import register
from .sources import Source


@register("HDF5Data")
class HDF5Data(Source):
    """Batches of the datasets named like the tops, from the files that the text file `source` lists.

    A batch may cross the end of a file, and the end of the list, where it goes on at the first row. `shuffle`
    permutes files and the rows within each. Paths are relative to the current folder. One file is in memory
    at a time. With several solvers each takes its share of the rows in training.
    """

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        if self.layer_param.HasField("transform_param"):
            self.fail("does not transform data", help="remove transform_param, or transform before writing the files")
        self.positive("batch_size")
        try:
            self.files = Path(self.p.source).read_text(encoding="utf-8").split()
        except (OSError, ValueError) as e:   # not there, not UTF-8, or no path at all
            self._no_data(self.p.source, e, "a text file that lists HDF5 files")
        if not self.files:
            self._no_data(self.p.source, "no file names", "one HDF5 file per line")
        self._file_order = self._order(len(self.files))
        self._file = self._row = self._seen = 0
        self._load()
        self._row_order = self._order(len(self._arrays[0]))
        for blob, array in zip(top, self._arrays, strict=True):
            blob.reshape(self.p.batch_size, *array.shape[1:])

    def _no_data(self, file: str, found: object, expected: str) -> NoReturn:
        self.fail("cannot read", file=file, found=found, expected=expected, error=DataError,
                  help="correct hdf5_data_param's source and the paths listed in it (relative to the current folder)")

    def _order(self, n: int) -> list[int]:
        return torch.randperm(n, generator=state.generator()).tolist() if self.p.shuffle else list(range(n))

    def _load(self) -> None:
        name = self.files[self._file_order[self._file]]
        arrays = []
        with self.named(), hdf5_reader.reading(name, DataError) as f:
            for top in self.layer_param.top:
                if top not in f:
                    self._no_data(name, f"datasets {', '.join(f)}", f"a dataset '{top}', as the top is named")
                arrays.append(hdf5_reader.array(f, top, DataError).astype(np.float32, copy=False))
        rows = {a.shape[:1] for a in arrays}
        if len(rows) != 1 or rows & {(), (0,)}:
            self._no_data(name, f"datasets of shapes {', '.join(str(a.shape) for a in arrays)}",
                          "equally many rows in each, at least one")
        self._arrays = arrays

    def _advance(self) -> None:
        self._row, self._seen = self._row + 1, self._seen + 1
        if self._row < len(self._arrays[0]):
            return
        self._row = 0
        if len(self.files) > 1:
            self._file += 1
            if self._file == len(self.files):
                self._file, self._file_order = 0, self._order(len(self.files))
            self._load()
        self._row_order = self._order(len(self._arrays[0]))

    def get_state(self) -> dict[str, Any]:
        """Where the next batch begins, for a snapshot."""
        orders = {"files": self._file_order, "rows": self._row_order} if self.p.shuffle else {}
        return {"file": self._file, "row": self._row, "seen": self._seen, **orders}

    def set_state(self, value: dict[str, Any]) -> None:
        """Go on where `get_state` was asked."""
        self._file, self._seen = int(value["file"]), int(value["seen"])
        self._file_order = value["files"] if self.p.shuffle else self._file_order
        self._load()
        self._row = value["row"]
        self._row_order = value["rows"] if self.p.shuffle else list(range(len(self._arrays[0])))

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        rows: list[list[np.ndarray]] = [[] for _ in top]
        while len(rows[0]) < self.p.batch_size:
            if self.phase != 0 or self._seen % state.solver_count() == state.solver_rank():
                for batch, array in zip(rows, self._arrays, strict=True):
                    batch.append(array[self._row_order[self._row]])
            self._advance()
        for batch in rows:
            if len(shapes := {row.shape for row in batch}) > 1:
                self._no_data(self.p.source, f"rows of shapes {sorted(shapes)}", "one shape")
        self.give(top, map(np.stack, rows))


@register("HDF5Output")
class HDF5Output(FunctionLayer):
    """Writes bottoms 0 and 1 as datasets "data" and "label" (four axes each) to `file_name`, a new file.

    Each forward appends its rows. BVLC Caffe writes one batch and aborts at the second.
    """

    bottoms = 2
    tops = 0
    differentiable = False

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        self.h5py = package("h5py", LayerError, file=self.defined_at or None, layer=self.name)
        self._open("w").close()

    def _open(self, mode: str) -> Any:
        try:
            return self.h5py.File(self.p.file_name, mode)
        except OSError as e:
            self.fail("cannot write", file=self.p.file_name, found=e, error=DataError,
                      help="correct hdf5_output_param's file_name")

    def reshape(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        if bottom[0].shape[:1] != bottom[1].shape[:1] or max(len(b.shape) for b in bottom) > 4:
            self.wrong_shape("the bottoms must have one batch size and at most four axes",
                             found=" and ".join(str(b.shape) for b in bottom), help="correct their shapes")

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        with self._open("a") as f:
            for name, blob in zip(("data", "label"), bottom, strict=True):
                value = blob.tensor().cpu().numpy().reshape(blob.shape + (1,) * (4 - len(blob.shape)))
                if name not in f:
                    f.create_dataset(name, data=value, maxshape=(None, *value.shape[1:]))
                    continue
                if f[name].shape[1:] != value.shape[1:]:
                    self.wrong_shape(f"'{name}' has changed its shape since the last forward", found=value.shape,
                                     expected=("n", *f[name].shape[1:]), help="write one file per shape")
                f[name].resize(len(f[name]) + len(value), axis=0)
                f[name][-len(value) :] = value

    def backward(self, top: Sequence[Blob], propagate_down: Sequence[bool], bottom: Sequence[Blob]) -> None:
        """Nothing, as in Caffe: what is written down has no gradient."""
