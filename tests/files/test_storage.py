"""The same promises of a folder of this machine and of one behind a URL."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest
from filelock import Timeout

from gfpcli.errors import UsageError
from gfpcli.files.storage import LOCAL, NEW_FILE, REMOTE, FileFacts, StoreError, is_remote, matches, place_of, store_of


@pytest.fixture(params=["local", "remote"])
def root(request: pytest.FixtureRequest, tmp_path: Path, store: fsspec.AbstractFileSystem) -> Path:
    """A folder with a.png, deep/b.png and two left-overs."""
    place = tmp_path / "root" if request.param == "local" else place_of("memory://root")
    for name in ("a.png", "deep/b.png", ".gfp-1.part", ".gfp-2.txt"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        store_of(place).write(place / name, [name[:1].encode(), b"bc"])
    return place


def test_what_words_name() -> None:
    assert place_of("file:///tmp/a%20b.jpg") == Path("/tmp/a b.jpg") and not is_remote(place_of("a/b:c.jpg"))
    assert is_remote(place_of("memory://a/b.jpg")) and str(place_of("memory://a") / "b c.jpg") == "memory://a/b c.jpg"
    for word, told in {
        "s4://a/b": "not a kind of URL", "gs://a/b": "gcsfs", "ftp://me:secret@host/a": "by the environment",
    }.items():  # fmt: skip
        with pytest.raises(UsageError, match=told) as raised:
            place_of(word)
        assert "secret" not in str(raised.value)


def test_what_is_there_and_what_is_in_it(root: Path) -> None:
    store = store_of(root)
    assert store is (REMOTE if is_remote(root) else LOCAL)
    assert store.exists(root / "a.png") and not store.exists(root / "none") and not store.is_folder(root / "a.png")
    assert store.is_folder(root / "deep") and not store.is_folder(root / "none")
    assert (store.size(root / "a.png"), store.read(root / "a.png")) == (3, b"abc")
    assert store.sha256(root / "a.png") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    with pytest.raises(OSError, match="not a file that can be opened"):
        store.size(root / "deep")
    for ask in (store.size, store.read, store.sha256):
        with pytest.raises(FileNotFoundError):
            ask(root / "none")


def test_words_with_wildcards(root: Path) -> None:
    assert matches(f"{root}/*.png") == [root / "a.png"] and matches(f"{root}/*/[ab].png") == [root / "deep" / "b.png"]
    assert matches(f"{root}/none") == [root / "none"]


def test_renaming_and_removing(root: Path) -> None:
    store = store_of(root)
    hidden = store.reserve(root / "c.png", ".gfp-", ".part")
    assert hidden.parent == root and hidden != store.reserve(root / "c.png", ".gfp-", ".part")
    store.write(hidden, [b"new"])
    for target in (root / "c.png", root / "a.png"):
        store.write(hidden, [b"new"])
        store.replace(hidden, target)
        assert store.read(target) == b"new" and not store.exists(hidden)
        store.remove(target)
        store.remove(target)  # is silent
        assert not store.exists(target)


def test_permissions_and_dates_are_kept_where_a_store_has_such(root: Path) -> None:
    store, place = store_of(root), root / "kept.png"
    store.write(place, [b"new"], FileFacts(0o440, (10**18, 10**18 + 5 * 10**9)))
    store.write(root / "plain.png", [b"new"])
    if is_remote(root):
        assert store.facts(place) == NEW_FILE
        store.set_times(place, (1, 1))
        return
    assert store.facts(place) == FileFacts(0o440, (10**18, 10**18 + 5 * 10**9))
    store.set_times(place, (10**18, 10**18))
    assert store.facts(place).times_ns == (10**18, 10**18)
    place.chmod(0o4755)
    assert store.facts(place).mode == 0o755, "no program runs as another user by it"
    umask = os.umask(0)
    os.umask(umask)
    assert store.facts(root / "plain.png").mode == 0o666 & ~umask


def test_left_overs_are_swept_by_their_names(root: Path) -> None:
    store = store_of(root)
    store.sweep(root, ".gfp-*.part")
    store.sweep(root / "none", "*")
    assert not store.exists(root / ".gfp-1.part")
    assert all(store.exists(root / name) for name in (".gfp-2.txt", "a.png", "deep/b.png"))


def test_a_journal_gives_its_lines_back(root: Path) -> None:
    path = root / "lines.jsonl"
    assert store_of(root).journal(path).read() == []
    for run in ("first", "second"):
        journal = store_of(root).journal(path)
        for i in range(3):
            journal.append(f"{run} {i}")
    assert [line for line in journal.read() if line] == [f"{run} {i}" for run in ("first", "second") for i in range(3)]


def test_a_journal_behind_a_url_fills_several_objects(
    store: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gfpcli.files.storage.LINES", 3)
    path = place_of("memory://many/lines.jsonl")
    for run in range(2):
        journal = REMOTE.journal(path)
        for i in range(7):
            journal.append(f"{run} {i}")
    assert len(store.find("/many/lines")) == 6
    assert [line for line in journal.read() if line] == [f"{run} {i}" for run in range(2) for i in range(7)]


def test_links_and_locks_are_of_this_machine_only(root: Path) -> None:
    store, lock = store_of(root), root / ".lock"
    with store.hold(lock, is_patient=False):
        if is_remote(root):
            with store.hold(lock, is_patient=False):
                assert not store.exists(lock)
        else:
            with pytest.raises(Timeout), store.hold(lock, is_patient=False):
                pass
    assert not store.exists(lock)
    assert (store.identity(root / "a.png") is None) == is_remote(root) and store.identity(root / "none") is None
    assert store.resolve(root / "a.png") == str(root / "a.png")


@pytest.mark.parametrize(
    "error", [TimeoutError("no answer"), PermissionError(13, "no answer"), ValueError("no\nanswer")]
)
def test_whatever_a_client_raises_is_told_as_a_store_that_failed(
    store: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def away(*_: object, **__: object) -> None:
        raise error

    place = place_of("memory://root/a.png")
    for name in ("exists", "isdir", "info", "cat_file", "pipe_file", "cp_file", "find", "glob", "rm_file"):
        monkeypatch.setattr(type(store), name, away)
    calls: list[Callable[[], object]] = [
        lambda: REMOTE.exists(place), lambda: REMOTE.is_folder(place), lambda: REMOTE.size(place),
        lambda: REMOTE.read(place), lambda: REMOTE.write(place, [b""]), lambda: REMOTE.replace(place, place),
        lambda: REMOTE.files(place), lambda: REMOTE.matches(f"{place}*"),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(StoreError, match="^no answer$"):
            call()
    REMOTE.remove(place)  # as far as that can be done
    REMOTE.sweep(place, "*")
