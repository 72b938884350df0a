"""Downloads against a local HTTP server: resume, hashes, offline."""

from __future__ import annotations

import hashlib
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPResponse, IncompleteRead
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gfpcli.cli.app import app
from gfpcli.errors import ChecksumError, DownloadError, OutputError, WeightsError
from gfpcli.weights import cache as weights
from gfpcli.weights.cache import Weight, cache_folder, cached, fetch, ready, verify

BODY = bytes(range(256)) * 4000


class Server(ThreadingHTTPServer):
    """Serves `body`; `cut_after` bytes it drops the connection, once. With an ETag where it has one."""

    body: bytes = BODY
    etag: str | None = None
    obeys_if_range: bool = True
    cut_after: int | None = None
    leads_to: str | None = None
    ranges: list[str | None]

    def handle_error(self, *_: object) -> None:
        """A client that left."""


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
        if self.server.obeys_if_range and self.headers.get("If-Range", self.server.etag) != self.server.etag:
            wanted = None
        whole, start = self.server.body, int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        body = whole[start:]
        self.send_response(200 if not wanted else 206 if body else 416)
        self.send_header("Content-Length", str(len(body)))
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{len(whole) - 1}/{len(whole)}")
        if self.server.etag:
            self.send_header("ETag", self.server.etag)
        self.end_headers()
        cut, self.server.cut_after = self.server.cut_after, None
        self.wfile.write(body[:cut])

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as each:
        each.ranges = []
        thread = threading.Thread(target=each.serve_forever, args=(0.01,))
        thread.start()
        monkeypatch.setenv("GFP_MIRROR", f"http://127.0.0.1:{each.server_port}/mirror")
        good = hashlib.sha256(BODY).hexdigest()
        table = {
            "good": Weight("good", "https://example.invalid/good.pth", "MIT", len(BODY), good),
            "bad": Weight("bad", "https://example.invalid/bad.pth", "MIT", len(BODY), "0" * 64),
            "new": Weight("new", "https://example.invalid/new.pth", "MIT"),
            "newer": Weight("newer", "https://example.invalid/newer.pth", "MIT"),
            "official": Weight("official", f"https://example.invalid/net-{good[:8]}.pth", "MIT"),
            "not-official": Weight("not-official", "https://example.invalid/net-01234567.pth", "MIT"),
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


def part_of(name: str, data: bytes) -> Path:
    """What an earlier download left."""
    part = cache_folder() / f"{weights.WEIGHTS[name].file}.part"
    part.parent.mkdir(parents=True, exist_ok=True)
    part.write_bytes(data)
    return part


@pytest.mark.parametrize("length", [300_000, len(BODY), len(BODY) + 5])
@pytest.mark.parametrize("name", ["good", "new", "official"])
def test_a_part_of_another_file_never_becomes_a_download(server: Server, name: str, length: int) -> None:
    part_of(name, b"x" * length)
    assert fetch(name).read_bytes() == BODY and verify(name) is True
    assert server.ranges == ([None] if name == "new" else [f"bytes={length}-", None])
    assert not list(cache_folder().glob("*.part*"))


def cut(server: Server, name: str) -> int:
    """Begins a download that is cut; gives the bytes that came."""
    server.cut_after = 300_000
    with pytest.raises(DownloadError, match="cut after"):
        fetch(name)
    return (cache_folder() / f"{name}.pth.part").stat().st_size


def test_without_a_pinned_hash_a_download_goes_on_with_the_same_etag_only(server: Server) -> None:
    server.etag = '"first"'
    kept = cut(server, "new")
    assert fetch("new").read_bytes() == BODY and server.ranges == [None, f"bytes={kept}-"]
    assert sorted(file.name for file in cache_folder().iterdir()) == ["new.pth", weights.RECORD]


@pytest.mark.parametrize("obeys", [True, False])
def test_a_file_that_changed_on_the_server_is_fetched_anew(server: Server, obeys: bool) -> None:
    server.etag, server.obeys_if_range = '"first"', obeys
    kept = cut(server, "new")
    server.etag, server.body = '"second"', BODY[::-1]
    assert fetch("new").read_bytes() == BODY[::-1]
    assert server.ranges == [None, f"bytes={kept}-", *([] if obeys else [None])]


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_without_a_strong_etag_a_download_begins_anew(server: Server, etag: str | None) -> None:
    server.etag = etag
    cut(server, "new")
    assert fetch("new").read_bytes() == BODY and server.ranges == [None, None]


def test_an_etag_of_another_server_counts_for_nothing(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.etag = '"first"'
    cut(server, "new")
    monkeypatch.setenv("GFP_MIRROR", f"http://127.0.0.1:{server.server_port}/other")
    assert fetch("new").read_bytes() == BODY and server.ranges == [None, None]


def test_the_digits_in_an_official_name_are_checked(server: Server) -> None:
    with pytest.raises(ChecksumError, match="01234567"):
        fetch("not-official")
    path = fetch("official")
    assert verify("official") is True
    (cache_folder() / weights.RECORD).write_text(json.dumps({path.name: hashlib.sha256(b"x").hexdigest()}))
    path.write_bytes(b"x")  # as recorded, and not what its name says
    assert verify("official") is False


def test_the_official_names_with_digits() -> None:
    digits = {weight.name: weight.digits for weight in weights.WEIGHTS.values() if weight.digits}
    assert digits == {"vgg19": "dcbb9e9d", "vgg16": "397923af", "inception-fid": "6726825d"}


def test_two_first_downloads_at_once_keep_both_hashes(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    meet, true = threading.Barrier(2), weights._recorded

    def recorded() -> dict[str, str]:
        """Read by both before either writes, unless a lock forbids it."""
        known = true()
        with suppress(threading.BrokenBarrierError):
            meet.wait(0.3)
        return known

    monkeypatch.setattr(weights, "_recorded", recorded)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(fetch, ("new", "newer")))
    assert sorted(true()) == ["new.pth", "newer.pth"]


def test_a_server_that_sends_too_much_is_stopped(server: Server) -> None:
    server.body = BODY * 4
    with pytest.raises(ChecksumError, match=f"larger than {len(BODY)} bytes"):
        fetch("good")
    assert list(cache_folder().iterdir()) == []


@pytest.mark.parametrize("error", [ssl.SSLError(1, "bad record mac"), TimeoutError(), IncompleteRead(b"")])
def test_an_error_while_reading_is_the_network_s_and_one_while_writing_is_not(
    server: Server, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object) -> bytes:
        raise error

    with monkeypatch.context() as broken, pytest.raises(DownloadError, match="good: http.*could not be downloaded"):
        broken.setattr(HTTPResponse, "read", fail)
        fetch("good")
    part = part_of("good", b"")
    part.unlink()
    part.mkdir()
    with pytest.raises(OutputError, match=r"good\.pth\.part: "):
        fetch("good")


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
