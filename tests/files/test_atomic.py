"""Whole or not at all, and on the disk before anything else is told."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from gfpcli.errors import InputError, OutputError
from gfpcli.files.atomic import (
    PendingOutput,
    os_errors_as,
    part_prefix,
    prepare_file,
    prepare_output,
    sha256_of,
    write_bytes,
    write_chunks,
    write_with,
)
from gfpcli.files.ledger import LEDGER, Ledger
from gfpcli.files.storage import place_of

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@on_linux
def test_content_then_ledger_then_name_then_folder_come_to_the_disk(tmp_path: Path, disk: list[str]) -> None:
    out, ledger = tmp_path / "out", Ledger(tmp_path / "out")
    for name in ("a.png", "b.png"):
        pending = prepare_output(out / name, [b"picture"])
        ledger.add(out / name, "input", "settings", "output")
        pending.publish()
    first = [f"sync {tmp_path.name}", "sync part", f"sync {LEDGER}", "sync out", "name a.png", "sync out"]
    assert disk == [*first, "sync part", f"sync {LEDGER}", "name b.png", "sync out"]


@on_linux
def test_a_file_of_another_program_is_on_the_disk_before_its_name(tmp_path: Path, disk: list[str]) -> None:
    made = tmp_path / "whole.part"
    made.write_bytes(b"clip")
    pending = prepare_file(made, tmp_path / "clip.mp4")
    assert disk == ["sync part"]
    pending.publish()
    assert disk[1:] == ["name clip.mp4", f"sync {tmp_path.name}"]
    assert [*tmp_path.iterdir()] == [tmp_path / "clip.mp4"] and (tmp_path / "clip.mp4").read_bytes() == b"clip"
    with pytest.raises(OutputError, match=r"clip\.mp4: No such file"):
        prepare_file(made, tmp_path / "clip.mp4")


def test_what_is_being_written_is_for_its_owner_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[int] = []

    def chunks() -> Iterator[bytes]:
        modes.extend(path.stat().st_mode & 0o777 for path in tmp_path.iterdir())
        yield b"private"

    write_chunks(tmp_path / "a.bin", chunks())
    (tmp_path / "usual.bin").write_bytes(b"")
    assert modes == [0o600] and (tmp_path / "a.bin").read_bytes() == b"private"
    assert (tmp_path / "a.bin").stat().st_mode == (tmp_path / "usual.bin").stat().st_mode


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_write_that_fails_or_is_interrupted_leaves_what_was_there(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"before")

    def chunks() -> Iterator[bytes]:
        yield b"half"
        raise error

    def write(part: Path) -> None:
        part.write_bytes(b"half")
        raise error

    told = pytest.raises(OutputError if isinstance(error, OSError) else KeyboardInterrupt)
    with told:
        write_chunks(path, chunks())
    with told:
        write_with(path, write)
    assert [*tmp_path.iterdir()] == [path] and path.read_bytes() == b"before"
    write_with(path, lambda part: part.write_bytes(b"after"))
    assert [*tmp_path.iterdir()] == [path] and path.read_bytes() == b"after"


def test_a_name_that_cannot_be_given_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    with pytest.raises(OutputError, match="folder: Is a directory"):
        write_bytes(target, b"x")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match=r"file/a\.bin: "):
        write_bytes(tmp_path / "file" / "a.bin", b"x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


@pytest.mark.parametrize(("code", "is_told"), [(errno.EINVAL, False), (errno.EIO, True)])
def test_a_folder_that_cannot_be_synced_is_no_failure_and_a_broken_disk_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, is_told: bool
) -> None:
    true = os.fsync

    def sync(handle: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{handle}"):  # noqa: PTH112
            raise OSError(code, os.strerror(code))
        true(handle)

    monkeypatch.setattr(os, "fsync", sync)
    if is_told:
        with pytest.raises(OutputError, match="Input/output error"):
            write_bytes(tmp_path / "a.bin", b"x")
    else:
        write_bytes(tmp_path / "a.bin", b"x")
        assert (tmp_path / "a.bin").read_bytes() == b"x"


def test_objects_are_written_in_the_same_way(store: fsspec.AbstractFileSystem) -> None:
    target = place_of("memory://out/a.png")
    pending = prepare_output(target, [b"pic", b"ture"])
    assert isinstance(pending, PendingOutput) and not store.exists("/out/a.png")
    pending.publish()
    assert store.find("/out") == ["/out/a.png"] and store.cat_file("/out/a.png") == b"picture"
    prepare_output(target, [b"other"]).discard()
    assert store.find("/out") == ["/out/a.png"]


def test_the_system_s_errors_become_ours_in_one_line() -> None:
    with pytest.raises(OutputError) as caught, os_errors_as(OutputError, "a.png"):
        raise OSError(errno.ENOSPC, "No space left on device", "elsewhere")
    assert str(caught.value) == "a.png: No space left on device"
    with pytest.raises(InputError) as read, os_errors_as(InputError, Path("b"), also=(ValueError,)):
        raise ValueError("two\nlines")
    assert str(read.value) == "b: two lines"
    with pytest.raises(InputError, match="b: TimeoutError"), os_errors_as(InputError, "b"):
        raise TimeoutError
    with pytest.raises(KeyError), os_errors_as(InputError, "b"):
        raise KeyError("passes")


def test_hidden_names_tell_files_apart_and_take_any_name() -> None:
    names = ["a.png", "b.png", "x" * 251 + ".mp4", os.fsdecode(b"\xff" * 255)]
    assert len({part_prefix(name) for name in names}) == 4 and all(len(part_prefix(name)) < 40 for name in names)


def test_the_hash_is_sha256(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_of(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
