"""Writing an LMDB folder, whole or not at all."""

from __future__ import annotations

import os
import shutil
import uuid
from pathlib import Path
from types import TracebackType

from ..errors import DataError
from ..files import package

_RECORDS, _BYTES = 1000, 64 << 20   # a transaction holds at most about so much


class LmdbWriter:
    """Context manager that writes a new LMDB: `put` records, in any order; the folder appears when it is left.

    If the body raises, nothing is left. Raises DataError when there is something at `folder` already, when it cannot
    be written, or when the package lmdb is not installed.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        lmdb = self._lmdb = package("lmdb", DataError, file=folder)
        self.folder = Path(folder)
        if self.folder.exists():
            raise DataError("there is something here already", file=folder,
                            help="a database is not added to: remove it, or choose another name")
        self._temporary = self.folder.absolute().with_name(f".{self.folder.name}.{uuid.uuid4().hex[:8]}.tmp")
        try:
            self._temporary.mkdir()
            # without a lock there is no lock file, and nobody else writes to a folder that is not there yet
            self._env = lmdb.open(str(self._temporary), map_size=_BYTES, lock=False, mode=0o644)
        except (lmdb.Error, OSError) as problem:
            shutil.rmtree(self._temporary, ignore_errors=True)
            raise self._cannot_write(problem) from problem
        self._pending: list[tuple[bytes, bytes]] = []
        self._size = 0

    def put(self, key: bytes, value: bytes) -> None:
        """Add a record. Raises DataError for a key that LMDB does not take, or a full disk."""
        if not 0 < len(key) <= self._env.max_key_size():
            raise DataError("an LMDB does not take this key", file=self.folder, found=f"{len(key)} bytes: {key[:60]!r}",
                            expected=f"1 to {self._env.max_key_size()} bytes", help="shorten the paths in the list")
        self._pending.append((key, value))
        self._size += len(value)
        if len(self._pending) >= _RECORDS or self._size >= _BYTES:
            self._commit()

    def _commit(self) -> None:
        while self._pending:
            try:
                with self._env.begin(write=True) as transaction:
                    for key, value in self._pending:
                        transaction.put(key, value)
                self._pending, self._size = [], 0
            except self._lmdb.MapFullError:
                self._env.set_mapsize(self._env.info()["map_size"] * 2)   # and once more
            except self._lmdb.Error as problem:
                raise self._cannot_write(problem) from problem

    def _cannot_write(self, problem: Exception) -> DataError:
        return DataError(f"cannot write the database: {problem}", file=self.folder,
                         help="check the folder's permissions and the space on its disk")

    def __enter__(self) -> LmdbWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        try:
            try:
                if kind is None:
                    self._commit()
                    self._env.sync(True)
            finally:
                self._env.close()
            if kind is None:
                os.rename(self._temporary, self.folder)
        except (self._lmdb.Error, OSError) as problem:
            raise self._cannot_write(problem) from problem
        finally:
            shutil.rmtree(self._temporary, ignore_errors=True)   # there is none after the rename
