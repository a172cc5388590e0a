"""Writing files whole or not at all, and telling what an unexpected file is."""

from __future__ import annotations

import importlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from .errors import CaffeError


@contextmanager
def atomic_path(path: str | os.PathLike[str], *, error: type[CaffeError] = CaffeError) -> Iterator[Path]:
    """Context that yields a temporary path beside `path`; on success it takes `path`'s place in one step.

    For libraries that write to a file name themselves.  If the body raises, or the process is interrupted, an
    earlier file at `path` is untouched and the temporary one is removed.  Failures of the file system are
    raised as `error`.
    """
    target = Path(os.path.realpath(path))  # a link keeps pointing where it points; its target is replaced
    try:
        mode = target.stat().st_mode & 0o777 if target.exists() else 0o666 & ~_umask()
        descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
        os.close(descriptor)
    except OSError as problem:
        raise _cannot_write(path, problem, error) from problem
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.chmod(temporary, mode)
        os.replace(temporary, target)
    except BaseException as problem:
        temporary.unlink(missing_ok=True)
        if isinstance(problem, OSError):
            raise _cannot_write(path, problem, error) from problem
        raise


def atomic_write(
    path: str | os.PathLike[str],
    content: bytes | str | Callable[[BinaryIO], object],
    *,
    error: type[CaffeError] = CaffeError,
) -> None:
    """Write `content` (bytes, text as UTF-8, or a function that writes to an open binary file) to `path`.

    A reader sees the old file or the whole new one.  Raises `error` when the file system refuses.
    """
    with atomic_path(path, error=error) as temporary, open(temporary, "wb") as file:
        if isinstance(content, str):
            file.write(content.encode("utf-8"))
        elif isinstance(content, (bytes, bytearray, memoryview)):
            file.write(content)
        else:
            content(file)


def package(name: str, error: type[CaffeError], **where: Any) -> Any:
    """A package that only some uses need; if it is missing, `error`, with its file and layer from `where`."""
    try:
        return importlib.import_module(name)
    except ImportError as problem:
        raise error(f"needs the package {name}, which is not installed",
                    help=f"pip install {name}", **where) from problem


def describe_file(head: bytes) -> str | None:
    """What a file that begins with `head` looks like, for the kinds mistaken for model files; else None."""
    start = head[:512].lstrip(b"\xef\xbb\xbf \t\r\n")
    lower = start.lower()
    if not head:
        return "an empty file"
    if lower.startswith((b"<!doctype", b"<html", b"<head", b"<?xml")) or b"<html" in lower:
        return "an HTML page"
    if start.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer"
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return "an HDF5 file"
    if head.startswith(b"PK\x03\x04"):
        return "a zip archive (PyTorch also writes its weights as one)"
    if head.startswith(b"\x1f\x8b"):
        return "a gzip archive"
    if head.startswith((b"\x89PNG", b"\xff\xd8\xff")):
        return "an image"
    return None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _cannot_write(path: str | os.PathLike[str], problem: OSError, error: type[CaffeError]) -> CaffeError:
    parent = Path(path).parent
    if not parent.is_dir():
        help = f"create the folder {parent}, or choose another path"
    elif problem.errno in (28, 122):  # ENOSPC, EDQUOT
        help = "free some space, or write to another disk"
    else:
        help = "check the permissions of the file and its folder, or choose another path"
    return error(f"cannot write: {problem.strerror or problem}", file=path, help=help)
