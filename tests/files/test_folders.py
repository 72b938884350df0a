"""Folders are searched whole, without what is hidden or ours."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gfpcli.errors import InputError
from gfpcli.files.folders import LeftOut, Searched, is_own, kind_or_none, search


def found_in(folder: Path, output: Path | None = None, *, takes_hidden: bool = False) -> tuple[list[str], int]:
    found = search(folder, output, {os.path.realpath(folder / "made.png")}, takes_hidden=takes_hidden)
    assert found.closed == []
    return [path.relative_to(folder).as_posix() for path in found.files], found.n_hidden


def test_a_search_finds_every_file_once_in_order(tmp_path: Path) -> None:
    ours = ("made.png", "out/d", ".gfp-ledger.jsonl", ".film.mp4.gfp/1.mp4")
    for name in ("b", "a", "sub/c", ".x/y/z", ".x/1", ".dot", *ours):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / ".away").symlink_to("/")
    assert found_in(tmp_path, tmp_path / "out") == (["a", "b", "sub/c"], 3)
    assert found_in(tmp_path, tmp_path / "out", takes_hidden=True) == ([".dot", "a", "b", ".x/1", ".x/y/z", "sub/c"], 0)
    assert found_in(tmp_path / ".x") == (["1", "y/z"], 0)


def test_a_closed_folder_is_named_where_it_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("open", "closed", ".closed"):
        (tmp_path / name).mkdir()
    true = os.scandir

    def scan(path: str) -> object:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        return true(path)

    monkeypatch.setattr(os, "scandir", scan)
    assert search(tmp_path, None, set(), takes_hidden=False) == Searched([], [tmp_path / "closed"], 0)
    with pytest.raises(InputError, match="closed: Permission denied"):
        search(tmp_path / "closed", None, set(), takes_hidden=False)


def test_what_gfp_keeps_for_itself_is_never_taken() -> None:
    assert all(map(is_own, (".gfp-ledger.jsonl", ".gfp-lock", ".gfp-0-a.part", ".film.mp4.gfp", ".a.png.gfp-lock")))
    assert not any(map(is_own, ("a.gfp", "gfp-a.png", ".hidden.png")))


def test_what_cannot_be_opened_has_no_kind(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"GIF89a")
    (tmp_path / "dead").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe")
    kinds = [kind_or_none(tmp_path / name) for name in ("a", "dead", "pipe", ".")]
    assert kinds[0] is not None and kinds[0].name == "GIF" and kinds[1:] == [None, None, None]


def test_what_is_left_out_is_told_by_number() -> None:
    assert LeftOut().lines() == []
    assert (LeftOut(1, 2, 0, 1) + LeftOut(0, 1, 1, 3)).lines() == [
        "1 hidden file left out; --hidden takes it",
        "left out: 3 photos (gfp restore restores them), 1 video (gfp video restores them), 4 other files",
    ]
