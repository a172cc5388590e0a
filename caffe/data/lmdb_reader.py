"""Reading the records of a database in key order: LMDB (needs lmdb) and LevelDB (needs plyvel)."""

from __future__ import annotations

import os
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterator
from itertools import islice
from typing import Any

from ..errors import DataError
from ..files import package

Key = tuple[str, str, int]
# What is open, and who reads it. A database is closed when its reader goes, in whatever thread that happens, so a
# reader may be gone while its database is still open: the next reader takes that one over.
_open: dict[Key, tuple[weakref.ref[Reader], Any]] = {}
_lock = threading.RLock()   # a reader may go in the midst of opening another, by garbage collection


def open_database(source: str, backend: str) -> Reader:
    """The database in the folder `source`; `backend` is "LMDB" or "LEVELDB".

    One that is open already is shared: neither library opens a folder twice in one process. Raises DataError
    when it is missing, empty, cut short, of the other kind, or when the package to read it is not installed.
    """
    if not os.path.exists(source):
        raise DataError("there is no such database", file=source or "(no source)",
                        help=f"correct data_param's source; relative paths start at {os.getcwd()}")
    for other, sign in (("LMDB", "data.mdb"), ("LEVELDB", "CURRENT")):
        if other != backend and os.path.exists(os.path.join(source, sign)):
            raise DataError(f"is no database of the kind that {backend} means", file=source, found=other,
                            expected=backend, help=f"set backend: {other} (Caffe's default is LEVELDB)")
    kind = LmdbReader if backend == "LMDB" else LevelDbReader
    file = os.path.join(source, "data.mdb")
    # a database that was written anew at the same place is another one, whoever still reads the old one
    inode = os.stat(file if os.path.exists(file) else source).st_ino
    key = (backend, os.path.realpath(source), inode)
    with _lock:
        entry = _open.pop(key, None)   # nobody closes it from here on
        reader = entry[0]() if entry else None
        if reader is None:
            handle = entry[1] if entry else kind.open(source)
            try:
                reader = kind(source, handle)
            except BaseException:
                handle.close()
                raise
            weakref.finalize(reader, _close, key, handle)
            entry = (weakref.ref(reader), handle)
        assert entry is not None
        _open[key] = entry
    return reader


def _close(key: Key, handle: Any) -> None:
    """Close a database whose reader is gone, unless another one has taken it over."""
    with _lock:
        entry = _open.get(key)
        if entry is not None and entry[1] is handle and entry[0]() is None:
            del _open[key]
            handle.close()


def _empty(source: str) -> DataError:
    return DataError("the database is empty", file=source, help="write it again")


class Reader(ABC):
    """An open database of at least one record."""

    @staticmethod
    @abstractmethod
    def open(source: str) -> Any:
        """The database, opened by its package."""

    @abstractmethod
    def records(self, position: int) -> Iterator[bytes]:
        """The values in the order of their keys, without end: the first record follows the last one.

        Begins at record `position` modulo the number of records.
        """

    @abstractmethod
    def __len__(self) -> int:
        """The number of records."""


class LmdbReader(Reader):
    """An LMDB as convert_imageset writes it. It is read without a lock: do not write to it meanwhile."""

    @staticmethod
    def open(source: str) -> Any:
        lmdb = package("lmdb", DataError, file=source)
        try:
            # no lock file: data sets lie on disks that are read-only, and nobody writes to them in training
            return lmdb.open(source, readonly=True, lock=False, create=False, max_dbs=0,
                             subdir=os.path.isdir(source), readahead=True)
        except (lmdb.Error, OSError) as problem:
            raise DataError(f"is no LMDB that can be read: {problem}", file=source,
                            help="give the folder that holds data.mdb, and copy it again") from problem

    def __init__(self, source: str, env: Any) -> None:
        self._source, self._env, self._error = source, env, package("lmdb", DataError).Error
        self._check_size()
        self._count = int(env.stat()["entries"])
        if not self._count:
            raise _empty(source)

    def __len__(self) -> int:
        return self._count

    def _check_size(self) -> None:
        """A page that is not there would end the process (the file is mapped into memory): refuse it here.

        In a database from which records were deleted, the last pages may be missing because they are free; it
        is refused as well, since nothing tells it from one that is cut short.
        """
        file = os.path.join(self._source, "data.mdb") if os.path.isdir(self._source) else self._source
        needed = (self._env.info()["last_pgno"] + 1) * self._env.stat()["psize"]
        found = os.path.getsize(file)
        if found < needed:
            raise DataError("is cut short", file=file, found=f"{found} bytes", expected=f"at least {needed}",
                            help="copy it again and compare the sizes; if records were deleted from it, "
                                 "`mdb_copy -c` or Environment.copy(compact=True) writes it without gaps")

    def records(self, position: int) -> Iterator[bytes]:
        start = position % self._count
        try:
            with self._env.begin() as transaction, transaction.cursor() as cursor:
                for _ in islice(cursor.iternext(keys=True, values=False), start + 1):
                    pass   # values of large records are not touched on the way
                while True:
                    yield from cursor.iternext(keys=False, values=True)   # from the record where it stands
                    cursor.first()
        except self._error as problem:
            raise DataError(f"cannot be read: {problem}", file=self._source,
                            help="copy the database again") from problem


class LevelDbReader(Reader):
    """A LevelDB as convert_imageset writes it. How many records it has shows when one went through all of them."""

    @staticmethod
    def open(source: str) -> Any:
        plyvel = package("plyvel", DataError, file=source)
        try:
            return plyvel.DB(source, create_if_missing=False)
        except (plyvel.Error, OSError) as problem:
            raise DataError(f"is no LevelDB that can be read: {problem}", file=source,
                            help="LevelDB opens a folder for one process at a time: let the other one end, or "
                                 "write an LMDB") from problem

    def __init__(self, source: str, db: Any) -> None:
        self._source, self._db, self._error = source, db, package("plyvel", DataError).Error
        with db.iterator(include_value=False) as keys:
            if next(keys, None) is None:
                raise _empty(source)

    def records(self, position: int) -> Iterator[bytes]:
        try:
            first = self._key(position) if position else None
            while True:
                with self._db.iterator(start=first, include_key=False) as values:
                    yield from values
                first = None
        except self._error as problem:
            raise DataError(f"cannot be read: {problem}", file=self._source,
                            help="copy the database again") from problem

    def __len__(self) -> int:
        with self._db.iterator(include_value=False) as keys:
            return sum(1 for _ in keys)

    def _key(self, position: int) -> bytes:
        count, found = 0, b""
        while True:
            with self._db.iterator(include_value=False) as keys:
                for count, found in enumerate(keys, 1):
                    if count > position:
                        return found
            position %= count
