"""Pain 13: dead links, web pages in place of data, transfers that break off, files that changed. On a local server."""
import dataclasses
import hashlib
import http.server
import re
import threading

import pytest

from data import DataError, downloads
from data.downloads import Download, fetch, manifest
from data.prepare import unpack
from tools import download

pytestmark = pytest.mark.unit

DATA = bytes(range(256)) * 500
PAGE = b"\n<!DOCTYPE html><html><body>Please log in</body></html>"


class Handler(http.server.BaseHTTPRequestHandler):
    """/whole, /changed, /cut (ends early), /no-range, /page (200, called data), /honest-page (text/html, whatever the
    range), else 404."""

    def do_GET(self):
        self.server.seen.append((self.path, self.headers.get("Range")))
        body = {"/whole": DATA, "/no-range": DATA, "/cut": DATA, "/changed": DATA[::-1], "/page": PAGE,
                "/honest-page": PAGE}.get(self.path)
        if body is None:
            self.send_error(404)
            return
        start = 0
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        if wanted and self.path not in ("/no-range", "/honest-page"):
            start = int(wanted[1])
            if start >= len(body):
                self.send_error(416)
                return
            self.send_response(206)
        else:
            self.send_response(200)
        kind = "text/html; charset=utf-8" if self.path == "/honest-page" else "application/octet-stream"
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        self.wfile.write(body[start: len(body) // 2 if self.path == "/cut" else None])

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    """The server; `seen` lists (path, Range) of every request."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.seen = []
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def item(server):
    """item("/a", "/b", size=..., sha256=...) -> an entry with those sources; right size and hash by default."""
    def item(*paths, **known):
        known = known or {"size": len(DATA), "sha256": hashlib.sha256(DATA).hexdigest()}
        port = server.server_address[1]
        return Download("x", "x.bin", tuple(f"http://127.0.0.1:{port}{path}" for path in paths), **known)
    return item


def test_a_dead_link_falls_back_to_the_next_source(server, item, tmp_path):
    path = fetch(item("/gone", "/whole"), tmp_path / "new")
    assert path.read_bytes() == DATA and path.name == "x.bin"
    assert [seen for seen, _ in server.seen] == ["/gone", "/whole"]
    assert [p.name for p in path.parent.iterdir()] == ["x.bin"]
    fetch(item("/gone"), tmp_path / "new")   # there already: nothing is asked for
    assert len(server.seen) == 2


@pytest.mark.parametrize("path", ["/page", "/honest-page"])
@pytest.mark.parametrize("known", [{}, {"md5": hashlib.md5(DATA).hexdigest()}, {"size": None}])
def test_a_web_page_is_not_data(server, item, tmp_path, path, known):
    with pytest.raises(DataError, match="HTML page"):
        fetch(item(path, **(known and {"size": None} | known)) if known else item(path, size=len(PAGE)), tmp_path)
    assert not list(tmp_path.iterdir())
    assert fetch(item(path, "/whole"), tmp_path).read_bytes() == DATA


def test_a_broken_transfer_is_resumed(server, item, tmp_path):
    with pytest.raises(DataError, match=f"broke off after {len(DATA) // 2} of {len(DATA)} bytes"):
        fetch(item("/cut"), tmp_path)
    assert fetch(item("/whole"), tmp_path).read_bytes() == DATA
    assert server.seen[-1] == ("/whole", f"bytes={len(DATA) // 2}-")


@pytest.mark.parametrize("path, words", [("/honest-page", "HTML page"), ("/page", "the file there is shorter")])
def test_a_page_from_the_next_source_does_not_cost_what_came_before(server, item, tmp_path, path, words):
    with pytest.raises(DataError, match=words):
        fetch(item("/cut", path), tmp_path)
    assert fetch(item("/whole"), tmp_path).read_bytes() == DATA
    assert server.seen[-1] == ("/whole", f"bytes={len(DATA) // 2}-")


@pytest.mark.parametrize("part", [DATA[:1000], DATA[1:1001], DATA + b"x", DATA, b""])
@pytest.mark.parametrize("path", ["/whole", "/no-range"])
@pytest.mark.parametrize("size", [None, len(DATA)])
def test_whatever_lies_there_the_result_is_right(item, tmp_path, part, path, size):
    (tmp_path / "x.bin.part").write_bytes(part)
    right = {"size": size, "sha1": hashlib.sha1(DATA).hexdigest()}
    assert fetch(item(path, **right), tmp_path).read_bytes() == DATA
    assert [p.name for p in tmp_path.iterdir()] == ["x.bin"]


def test_without_a_hash_nothing_is_resumed(server, item, tmp_path):
    (tmp_path / "x.bin.part").write_bytes(b"something else")
    assert fetch(item("/whole", size=None), tmp_path).read_bytes() == DATA
    assert server.seen == [("/whole", None)]


@pytest.mark.parametrize("known, words", [
    ({"size": 7}, "wrong size"), ({"sha256": "0" * 64}, "wrong sha256"), ({"sha1": "0" * 40}, "wrong sha1"),
    ({"md5": "0" * 32}, "wrong md5")])
def test_another_file_is_refused_and_every_source_named(item, tmp_path, known, words):
    with pytest.raises(DataError, match=words) as e:
        fetch(item("/whole", "/changed", "/gone", **known), tmp_path)
    text = str(e.value)
    assert all(path in text for path in ("/whole", "/changed", "/gone: HTTP Error 404"))
    assert "--from-local" in text
    assert not list(tmp_path.iterdir())


def test_a_changed_source_is_passed_over(item, tmp_path):
    assert fetch(item("/changed", "/whole"), tmp_path).read_bytes() == DATA


def test_from_local(server, item, tmp_path):
    mine = tmp_path / "mine"
    mine.write_bytes(DATA)
    assert fetch(item("/gone"), tmp_path / "to", mine).read_bytes() == DATA
    assert not server.seen
    for content, words in ((DATA[:-1], "wrong size"), (DATA[::-1], "wrong sha256"), (PAGE, "HTML page")):
        mine.write_bytes(content)
        with pytest.raises(DataError, match=words):
            fetch(item("/whole"), tmp_path / "other", mine)
        assert not list((tmp_path / "other").iterdir())
    with pytest.raises(DataError, match="no such file"):
        fetch(item("/whole"), tmp_path / "other", tmp_path / "nowhere")


def test_a_wrong_file_in_place_is_not_overwritten(server, item, tmp_path):
    (tmp_path / "x.bin").write_bytes(b"precious")
    with pytest.raises(DataError, match="wrong size"):
        fetch(item("/whole"), tmp_path)
    assert (tmp_path / "x.bin").read_bytes() == b"precious" and not server.seen


def test_a_folder_that_cannot_be_made(item, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        fetch(item("/whole"), tmp_path / "file" / "sub")


def test_an_html_page_is_no_archive(tmp_path):
    (tmp_path / "voc.tar").write_bytes(PAGE)
    with pytest.raises(DataError, match="HTML page"):
        unpack(tmp_path / "voc.tar", tmp_path)


def test_the_manifest_is_well_formed():
    items = manifest()
    assert {"voc2011", "voc2012", "sbd", "nyudv2", "siftflow", "pascal-context", "camvid", "vgg16", "caffenet",
            "googlenet", "voc-fcn8s", "siftflow-fcn16s", "pascalcontext-fcn32s", "nyud-fcn32s-hha"} <= set(items)
    for item in items.values():
        assert item.urls and all(url.startswith(("http://", "https://")) for url in item.urls)
        assert "/" not in item.file and (item.size is None or item.size > 10**6)
        for kind, digits in (("sha256", 64), ("sha1", 40), ("md5", 32)):
            value = getattr(item, kind)
            assert value is None or re.fullmatch(f"[0-9a-f]{{{digits}}}", value)
    assert len({item.file for item in items.values()}) == len(items)
    # models/bvlc_reference_caffenet/readme.md of BVLC Caffe
    assert items["caffenet"].sha1 == "4c8d77deb20ea792f84eb5e6d0a11ca0a8660a46"


def test_the_command(item, tmp_path, monkeypatch, capsys):
    assert download.main(["--list"]) == 0
    assert "vgg16\n" in capsys.readouterr().out
    entry = item("/whole")
    monkeypatch.setattr(downloads, "manifest", lambda: {"x": entry})
    monkeypatch.setattr(download, "manifest", lambda: {"x": entry})
    assert download.main(["x", "--to", str(tmp_path)]) == 0
    assert "as it should be" in capsys.readouterr().out
    monkeypatch.setenv("CAFFE_LUNGO_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("CAFFE_LUNGO_MODELS", str(tmp_path / "models"))
    for file, folder in (("x.bin", "data/downloads"), ("x.caffemodel", "models")):
        entry = dataclasses.replace(entry, file=file)
        assert download.main(["x"]) == 0 and (tmp_path / folder / file).read_bytes() == DATA
    capsys.readouterr()
    assert download.main(["x", "y", "--to", str(tmp_path)]) == 1
    assert "nothing called 'y'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        download.main(["x", "y", "--from-local", "z"])
