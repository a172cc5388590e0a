"""Files from the network: a manifest with sizes and hashes, several sources, resuming, and no web page taken for data.

    fetch("vgg16", "data/downloads")                         # the path of a file that is what the manifest says
    fetch("voc2011", "data/downloads", from_local="x.tar")   # likewise, from a copy that somebody has
"""

from __future__ import annotations

import errno
import hashlib
import http
import http.client
import os
import shutil
import sys
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from data.errors import DataError

MANIFEST = Path(__file__).with_name("manifest.toml")
HASHES = ("sha256", "sha1", "md5")
_TIMEOUT = 30  # seconds without a byte
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Download:
    """One entry of the manifest; a size (bytes) or hash (hex) that is not known is None."""

    name: str
    file: str
    urls: tuple[str, ...]
    size: int | None = None
    sha256: str | None = None
    sha1: str | None = None
    md5: str | None = None

    @property
    def known(self) -> bool:
        """Whether there is a hash to tell the right file by."""
        return any(getattr(self, kind) for kind in HASHES)

    def check(self, path: Path) -> None:
        """DataError when the file is a web page, or its size or a hash is not the manifest's."""
        size = path.stat().st_size
        if is_web_page(path):
            raise DataError(
                "this is an HTML page, not data",
                file=path,
                help="the server sent a page (a login, an error, a warning) in place of the file",
            )
        if self.size not in (None, size):
            raise DataError(
                "wrong size", file=path, found=f"{size} bytes", expected=f"{self.size} bytes", help=_NOT_IT
            )
        for kind in HASHES:
            right = getattr(self, kind)
            if right:
                with open(path, "rb") as file:
                    found = hashlib.file_digest(file, kind).hexdigest()
                if found != right:
                    raise DataError(f"wrong {kind}", file=path, found=found, expected=right, help=_NOT_IT)


_NOT_IT = "it is damaged, or another file of that name: get it again"


def is_web_page(path: str | os.PathLike) -> bool:
    """Whether a file begins as HTML or XML does."""
    with open(path, "rb") as file:
        start = file.read(512).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return start.startswith((b"<!doctype", b"<html", b"<?xml", b"<head"))


def manifest(path: str | os.PathLike = MANIFEST) -> dict[str, Download]:
    """All that can be downloaded, by name."""
    with open(path, "rb") as file:
        entries = tomllib.load(file)
    return {name: Download(name, **{**entry, "urls": tuple(entry["urls"])}) for name, entry in entries.items()}


def fetch(what: str | Download, folder: str | os.PathLike, from_local: str | os.PathLike | None = None) -> Path:
    """Bring a file of the manifest into `folder`, checked, and return its path; one that is there is checked only.

    Sources are tried in order. A transfer that broke off is continued by the next call, if there is a hash to
    check the whole by. With `from_local` the file is copied from there. DataError: an unknown name, a file in the
    folder or `from_local` that is not the right one, or no source that has it (each is named with its reason).
    """
    item = what if isinstance(what, Download) else _named(what)
    target = Path(folder) / item.file
    if target.exists():
        item.check(target)
        return target
    part = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if from_local is not None:
            local = Path(from_local).expanduser()
            if not local.is_file():
                raise DataError("no such file", file=local, help=f"give the path of {item.file}")
            item.check(local)
            shutil.copyfile(local, part)
        else:
            _from_sources(item, part)
        os.replace(part, target)
    except OSError as error:
        raise DataError(
            f"cannot be written ({error})", file=target, help="choose another folder, or free some space"
        ) from error
    return target


def _named(name: str) -> Download:
    known = manifest()
    if name not in known:
        raise DataError(
            f"nothing called '{name}' can be downloaded",
            expected=", ".join(known),
            help="tools/download.py --list shows names and sources",
        )
    return known[name]


def _from_sources(item: Download, part: Path) -> None:
    """Make `part` the whole, right file, from the first source that has it."""
    failures = []
    for url in item.urls:
        # the beginning may be another source's, and wrong: then once more from the start
        for _ in range(2):
            resumed = item.known and part.exists()
            try:
                _transfer(url, part, item, resumed)
            except (OSError, http.client.HTTPException) as error:  # of the network, or of the disk
                if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise
                failures.append(f"{url}: {error}")
                break  # what came so far is kept for the next source or call
            except DataError as error:  # refused by its header: what other sources sent is kept
                failures.append(_reason(url, error))
                break
            try:
                item.check(part)
                return
            except DataError as error:
                part.unlink()
                failures.append(_reason(url, error))
                if not resumed:
                    break
    raise DataError(
        f"'{item.name}' could not be downloaded:\n  " + "\n  ".join(failures),
        help=f"try again later, or give a copy of {item.file} that you have: "
        f"tools/download.py {item.name} --from-local PATH",
    )


def _reason(url: str, error: DataError) -> str:
    facts = f" (found {error.found}, expected {error.expected})" if error.found else ""
    return f"{url}: {error.message}{facts}"


def _transfer(url: str, part: Path, item: Download, resume: bool) -> None:
    """Write what `url` has to `part`, or append what is missing.

    ConnectionError when it ends too early; DataError, with nothing written, when its header announces another file.
    """
    have = part.stat().st_size if resume else 0
    if item.size is not None and have >= item.size:
        return  # complete, or too long: the check will tell
    request = urllib.request.Request(url, headers={"User-Agent": "caffe-lungo"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        opened = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if have and error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            if item.size is not None:
                raise DataError("the file there is shorter", found=f"at most {have} bytes",
                                expected=f"{item.size} bytes") from None
            return  # nothing is missing
        raise
    with opened as answer:
        if answer.status != http.HTTPStatus.PARTIAL_CONTENT:
            have = 0  # the server does not resume
        length = answer.headers.get("Content-Length")
        total = None if length is None else have + int(length)
        if answer.headers.get_content_type() == "text/html":
            raise DataError("the server sent an HTML page, not data")
        if total is not None and item.size not in (None, total):
            raise DataError("wrong size", found=f"{total} bytes", expected=f"{item.size} bytes")
        with open(part, "ab" if have else "wb") as file:
            for chunk in _chunks(answer, have, total, item.file):
                file.write(chunk)
    size = part.stat().st_size
    if total is not None and size < total:
        raise ConnectionError(f"broke off after {size} of {total} bytes")


def _chunks(answer: http.client.HTTPResponse, have: int, total: int | None, name: str) -> Iterator[bytes]:
    """What the server sends; with a progress bar on a terminal."""
    from tqdm import tqdm

    with tqdm(initial=have, total=total, desc=name, unit="B", unit_scale=True, disable=not sys.stderr.isatty()) as bar:
        while chunk := answer.read(_CHUNK):
            yield chunk
            bar.update(len(chunk))
