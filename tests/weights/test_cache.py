"""Downloads against a local HTTP server: resume, hashes, offline."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gfpcli.cli.app import app
from gfpcli.errors import ChecksumError, DownloadError, WeightsError
from gfpcli.weights import cache as weights
from gfpcli.weights.cache import Weight, cache_folder, cached, fetch, ready, verify

BODY = bytes(range(256)) * 4000


class Server(ThreadingHTTPServer):
    """Serves BODY; `cut_after` bytes it drops the connection, once."""

    cut_after: int | None = None
    leads_to: str | None = None
    ranges: list[str | None]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.ranges.append(wanted)
        if self.server.leads_to:
            self.send_response(302)
            self.send_header("Location", self.server.leads_to)
            self.end_headers()
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        body = BODY[start:]
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        cut, self.server.cut_after = self.server.cut_after, None
        self.wfile.write(body[:cut])

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as each:
        each.ranges = []
        thread = threading.Thread(target=each.serve_forever)
        thread.start()
        monkeypatch.setenv("GFP_MIRROR", f"http://127.0.0.1:{each.server_port}/mirror")
        good = hashlib.sha256(BODY).hexdigest()
        table = {
            "good": Weight("good", "https://example.invalid/good.pth", "MIT", len(BODY), good),
            "bad": Weight("bad", "https://example.invalid/bad.pth", "MIT", len(BODY), "0" * 64),
            "new": Weight("new", "https://example.invalid/new.pth", "MIT"),
        }
        monkeypatch.setattr(weights, "WEIGHTS", table)
        yield each
        each.shutdown()
        thread.join()


def test_download_then_cache(server: Server) -> None:
    seen: list[tuple[int, int | None]] = []
    path = fetch("good", progress=lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == BODY and path.parent == cache_folder()
    assert seen[-1] == (len(BODY), len(BODY))
    assert fetch("good") == path and len(server.ranges) == 1
    assert verify("good") is True
    path.write_bytes(b"x")
    assert verify("good") is False


def test_a_cut_download_goes_on_where_it_stopped(server: Server) -> None:
    server.cut_after = 300_000
    with pytest.raises(DownloadError, match="good"):
        fetch("good")
    assert cached("good") is None
    kept = (cache_folder() / "good.pth.part").stat().st_size
    assert 0 < kept <= 300_000
    assert fetch("good").read_bytes() == BODY
    assert server.ranges == [None, f"bytes={kept}-"]
    assert [file.name for file in cache_folder().iterdir()] == ["good.pth"]


def test_a_wrong_hash_is_refused_and_removed(server: Server) -> None:
    with pytest.raises(ChecksumError, match=r"bad\.pth"):
        fetch("bad")
    assert list(cache_folder().iterdir()) == []


def test_an_unpublished_hash_is_recorded_at_the_first_download(server: Server) -> None:
    path = fetch("new")
    assert verify("new") is True
    path.unlink()
    (cache_folder() / weights.RECORD).write_text('{"new.pth": "00"}')
    with pytest.raises(ChecksumError):
        fetch("new")


def test_offline_opens_no_socket(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    path = fetch("good")
    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    assert fetch("good", offline=True) == path
    with pytest.raises(DownloadError, match="--offline"):
        fetch("bad", offline=True)


def test_names_and_the_network_fail_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WeightsError, match=r"gfpgan-1\.4"):
        fetch("gfpgan-9")
    monkeypatch.setenv("GFP_MIRROR", "http://127.0.0.1:9")
    with pytest.raises(DownloadError) as caught:
        fetch("gfpgan-1.4")
    assert "\n" not in str(caught.value)


def test_the_cache_is_gfp_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GFP_HOME", str(tmp_path / "here"))
    assert cache_folder() == tmp_path / "here"


def test_a_cached_file_that_is_another_is_refused_and_pulled_anew(server: Server) -> None:
    path = fetch("good")
    path.write_bytes(b"right name, wrong bytes")
    for use in (fetch, ready):
        with pytest.raises(ChecksumError, match="gfp models pull good"):
            use("good")
    done = CliRunner().invoke(app, ["models", "pull", "good"])
    assert done.exit_code == 0 and path.read_bytes() == BODY
    assert ready("good") == path and ready("new") is None


def test_two_downloads_at_once_are_one(server: Server) -> None:
    with ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(lambda _: fetch("good"), range(4)))
    assert len(set(paths)) == 1 and paths[0].read_bytes() == BODY and len(server.ranges) == 1
    assert [file.name for file in cache_folder().iterdir()] == ["good.pth"]


@pytest.mark.parametrize(
    "mirror", ["http://example.invalid", "ftp://example.invalid", "data:,x", "http://127.0.0.1.invalid"]
)
def test_only_https_is_spoken(server: Server, monkeypatch: pytest.MonkeyPatch, mirror: str) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setenv("GFP_MIRROR", mirror)
    monkeypatch.setattr(socket, "create_connection", refuse)
    with pytest.raises(DownloadError, match="not https"):
        fetch("good")


def test_a_redirection_away_from_https_is_not_followed(server: Server) -> None:
    for place in ("http://example.invalid/x", "file:///etc/hostname", "ftp://example.invalid/x"):
        server.leads_to = place
        with pytest.raises(DownloadError, match="could not be downloaded"):
            fetch("good")
    server.leads_to = None
    assert fetch("good").read_bytes() == BODY


def test_every_address_is_https_and_every_known_hash_is_one() -> None:
    for weight in weights.WEIGHTS.values():
        assert weight.url.startswith("https://") and weight.file.isprintable() and "/" not in weight.file
        assert weight.sha256 is None or len(bytes.fromhex(weight.sha256)) == 32
