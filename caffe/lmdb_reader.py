"""Reading the records of a database in key order: LMDB (needs lmdb) and LevelDB (needs plyvel)."""

from __future__ import annotations

import importlib
import os
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from .errors import DataError

_open: weakref.WeakValueDictionary[tuple[str, str], Reader] = weakref.WeakValueDictionary()
_opening = threading.Lock()


def open_database(source: str, backend: str) -> Reader:
    """The database in the folder `source`; `backend` is "LMDB" or "LEVELDB".

    One that is open already is shared: neither library opens a folder twice in one process. Raises DataError
    when it is missing, empty, cut short, of the other kind, or when the package to read it is not installed.
    """
    kinds: dict[str, Callable[[str], Reader]] = {"LMDB": LmdbReader, "LEVELDB": LevelDbReader}
    if not os.path.exists(source):
        raise DataError("there is no such database", file=source or "(no source)",
                        help=f"correct data_param's source; relative paths start at {os.getcwd()}")
    for other, sign in (("LMDB", "data.mdb"), ("LEVELDB", "CURRENT")):
        if other != backend and os.path.exists(os.path.join(source, sign)):
            raise DataError(f"is no database of the kind that {backend} means", file=source, found=other,
                            expected=backend, help=f"set backend: {other} (Caffe's default is LEVELDB)")
    key = (backend, os.path.realpath(source))
    with _opening:
        reader = _open.get(key)
        if reader is None:
            reader = _open[key] = kinds[backend](source)
    return reader


def _empty(source: str) -> DataError:
    return DataError("the database is empty", file=source, help="write it again")


def _package(name: str, source: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as problem:
        raise DataError(f"needs the package {name}, which is not installed", file=source,
                        help=f"pip install {name}") from problem


class Reader(ABC):
    """An open database of at least one record."""

    @abstractmethod
    def records(self, position: int) -> Iterator[bytes]:
        """The values in the order of their keys, without end: the first record follows the last one.

        Begins at record `position` modulo the number of records.
        """


class LmdbReader(Reader):
    """An LMDB as convert_imageset writes it. It is read without a lock: do not write to it meanwhile."""

    def __init__(self, source: str) -> None:
        self._lmdb, self._source = _package("lmdb", source), source
        try:
            # no lock file: data sets lie on disks that are read-only, and nobody writes to them in training
            self._env = self._lmdb.open(source, readonly=True, lock=False, create=False, max_dbs=0,
                                        subdir=os.path.isdir(source), readahead=True)
        except (self._lmdb.Error, OSError) as problem:
            raise DataError(f"is no LMDB that can be read: {problem}", file=source,
                            help="give the folder that holds data.mdb, and copy it again") from problem
        self._check_size()
        self._count = int(self._env.stat()["entries"])
        if not self._count:
            raise _empty(source)

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
        except self._lmdb.Error as problem:
            raise DataError(f"cannot be read: {problem}", file=self._source,
                            help="copy the database again") from problem


class LevelDbReader(Reader):
    """A LevelDB as convert_imageset writes it. How many records it has is not known before one went through all."""

    def __init__(self, source: str) -> None:
        self._plyvel, self._source = _package("plyvel", source), source
        try:
            self._db = self._plyvel.DB(source, create_if_missing=False)
            with self._db.iterator(include_value=False) as keys:
                if next(keys, None) is None:
                    raise _empty(source)
        except (self._plyvel.Error, OSError) as problem:
            raise DataError(f"is no LevelDB that can be read: {problem}", file=source,
                            help="LevelDB opens a folder for one process at a time: let the other one end, or "
                                 "write an LMDB") from problem

    def records(self, position: int) -> Iterator[bytes]:
        try:
            first = self._key(position) if position else None
            while True:
                with self._db.iterator(start=first, include_key=False) as values:
                    yield from values
                first = None
        except self._plyvel.Error as problem:
            raise DataError(f"cannot be read: {problem}", file=self._source,
                            help="copy the database again") from problem

    def _key(self, position: int) -> bytes:
        count, found = 0, b""
        while True:
            with self._db.iterator(include_value=False) as keys:
                for count, found in enumerate(keys, 1):
                    if count > position:
                        return found
            position %= count
