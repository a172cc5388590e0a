"""Atomic writes: the whole new file or the untouched old one, whatever happens in between."""

from __future__ import annotations

import os
import stat

import pytest

from caffe.errors import CaffeError, SnapshotError, WeightsError
from caffe.files import atomic_path, atomic_write, describe_file

pytestmark = pytest.mark.unit


@pytest.mark.tiny
@pytest.mark.parametrize(
    "content, expected",
    [(b"\x00\xff", b"\x00\xff"), ("grüß", "grüß".encode()), (lambda file: file.write(b"abc"), b"abc")],
)
def test_writes(content, expected, tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"old and longer than the new one")
    atomic_write(path, content)
    assert path.read_bytes() == expected
    assert os.listdir(tmp_path) == ["f"]


@pytest.mark.parametrize("problem", [ValueError, KeyboardInterrupt, SystemExit, OSError])
def test_a_failing_writer_leaves_the_old_file(problem, tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"old")

    def writer(file):
        file.write(b"half")
        file.flush()
        raise problem("stop")

    with pytest.raises(SnapshotError if problem is OSError else problem):
        atomic_write(path, writer, error=SnapshotError)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["f"]


def test_readers_never_see_a_part(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"old")

    def writer(file):
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"

    atomic_write(path, writer)
    assert path.read_bytes() == b"new"


def test_atomic_path_for_libraries(tmp_path):
    target = tmp_path / "f.h5"
    with atomic_path(target) as temporary:
        assert temporary.parent == tmp_path and temporary != target
        temporary.write_bytes(b"x")
        assert not target.exists()
    assert target.read_bytes() == b"x"


def test_mode_follows_the_old_file_or_the_umask(tmp_path):
    path = tmp_path / "f"
    old = os.umask(0o027)
    try:
        atomic_write(path, b"")
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        path.chmod(0o604)
        atomic_write(path, b"x")
        assert stat.S_IMODE(path.stat().st_mode) == 0o604
    finally:
        os.umask(old)


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    atomic_write(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real").read_bytes() == b"new"


def test_refusals_name_the_file_and_a_remedy(tmp_path):
    with pytest.raises(WeightsError) as error:
        atomic_write(tmp_path / "none" / "f", b"", error=WeightsError)
    assert error.value.file == str(tmp_path / "none" / "f")
    assert f"create the folder {tmp_path / 'none'}" in error.value.help
    (tmp_path / "folder").mkdir()
    with pytest.raises(CaffeError, match="cannot write"):
        atomic_write(tmp_path / "folder", b"")
    assert os.listdir(tmp_path) == ["folder"]


@pytest.mark.parametrize(
    "head, expected",
    [
        (b"", "empty"),
        (b"<HTML>", "HTML"),
        (b"\xef\xbb\xbf <!doctype html>", "HTML"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"\x89PNG\r\n", "image"),
        (b"\n\x07name", None),
        (b'name: "a"', None),
    ],
)
def test_describe_file(head, expected):
    found = describe_file(head)
    assert found is None if expected is None else expected in found
