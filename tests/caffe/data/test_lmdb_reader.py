"""Databases: order, wrapping around, starting anywhere, sharing, and what cannot be opened."""
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import pytest

import caffe
from caffe.data import lmdb_reader
from caffe.data.lmdb_reader import open_database

pytestmark = pytest.mark.unit


def write_lmdb(folder, records):
    lmdb = pytest.importorskip("lmdb")
    with lmdb.open(str(folder), map_size=1 << 24, sync=False) as env, env.begin(write=True) as transaction:
        for key, value in records.items():
            transaction.put(key, value)


def write_leveldb(folder, records):
    plyvel = pytest.importorskip("plyvel")
    db = plyvel.DB(str(folder), create_if_missing=True)
    for key, value in records.items():
        db.put(key, value)
    db.close()


WRITERS = {"LMDB": write_lmdb, "LEVELDB": write_leveldb}


@pytest.mark.parametrize("backend", WRITERS)
@pytest.mark.parametrize("start", [0, 1, 4, 5, 7, 23])
def test_records_in_the_order_of_their_keys_without_end(tmp_path, backend, start):
    WRITERS[backend](tmp_path / "db", {b"b": b"1", b"a": b"0", b"c10": b"2", b"c9": b"3", b"d": b"4"})
    got = list(islice(open_database(str(tmp_path / "db"), backend).records(start), 12))
    assert got == [b"%d" % ((start + i) % 5) for i in range(12)]


@pytest.mark.parametrize("backend", WRITERS)
def test_two_readers_of_one_database(tmp_path, backend):
    WRITERS[backend](tmp_path / "db", {b"%d" % i: b"%d" % i for i in range(4)})
    one, two = (open_database(str(tmp_path / "db"), backend) for _ in range(2))
    a, b = one.records(0), two.records(2)
    assert [next(it) for it in (a, b, a, b, a)] == [b"0", b"2", b"1", b"3", b"2"]


@pytest.mark.parametrize("backend", WRITERS)
def test_readers_that_come_and_go_in_several_threads(tmp_path, backend):
    WRITERS[backend](tmp_path / "db", {b"a": b"0"})

    def read(_):
        return next(open_database(str(tmp_path / "db"), backend).records(0))

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(read, range(300))) == {b"0"}
    assert not [key for key in lmdb_reader._open if str(tmp_path) in key[1]], "it is closed when nobody reads it"


def test_a_database_written_anew_while_the_old_one_is_open(tmp_path):
    write_lmdb(tmp_path / "db", {b"a": b"old"})
    old = open_database(str(tmp_path / "db"), "LMDB")
    (tmp_path / "db").rename(tmp_path / "away")
    write_lmdb(tmp_path / "db", {b"a": b"new"})
    assert next(open_database(str(tmp_path / "db"), "LMDB").records(0)) == b"new"
    assert next(old.records(0)) == b"old"


def test_large_records(tmp_path):
    write_lmdb(tmp_path / "db", {b"%03d" % i: bytes([i]) * 20000 for i in range(50)})
    got = list(islice(open_database(str(tmp_path / "db"), "LMDB").records(49), 2))
    assert got == [bytes([49]) * 20000, bytes(20000)]


def refused(source, backend, says):
    with pytest.raises(caffe.DataError, match=says) as e:
        open_database(str(source), backend)
    assert e.value.help and str(source) in str(e.value)


@pytest.mark.parametrize("backend", WRITERS)
def test_missing_and_empty_databases(tmp_path, backend):
    refused(tmp_path / "gone", backend, "no such database")
    WRITERS[backend](tmp_path / "db", {})
    refused(tmp_path / "db", backend, "is empty")


def test_the_other_kind_is_named(tmp_path):
    write_lmdb(tmp_path / "db", {b"a": b"0"})
    refused(tmp_path / "db", "LEVELDB", "set backend: LMDB")
    (tmp_path / "level").mkdir()
    (tmp_path / "level/CURRENT").write_text("MANIFEST-000001\n")
    refused(tmp_path / "level", "LMDB", "set backend: LEVELDB")


def test_a_database_cut_short_does_not_end_the_process(tmp_path):
    write_lmdb(tmp_path / "db", {b"%03d" % i: bytes(5000) for i in range(50)})
    file = tmp_path / "db/data.mdb"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    refused(tmp_path / "db", "LMDB", "cut short")


@pytest.mark.parametrize("content", [b"", b"<html>" * 2000, bytes(8192), b"\xff" * 20000])
def test_files_that_are_no_lmdb(tmp_path, content):
    pytest.importorskip("lmdb")
    (tmp_path / "db").mkdir()
    (tmp_path / "db/data.mdb").write_bytes(content)
    refused(tmp_path / "db", "LMDB", "no LMDB")


def test_packages_that_are_not_installed(tmp_path, monkeypatch):
    for name, backend in (("lmdb", "LMDB"), ("plyvel", "LEVELDB")):
        monkeypatch.setitem(sys.modules, name, None)
        refused(tmp_path, backend, f"pip install {name}")
