"""One input and one output that is never an input."""

from __future__ import annotations

import os
from pathlib import Path

import fsspec
import pytest

from gfpcli.errors import InputError, UsageError
from gfpcli.files.jobs import Job, VideoJob, check_no_input, folded, is_file_name, is_same, note_closed
from gfpcli.files.storage import place_of


def test_a_name_with_a_known_suffix_is_a_file_unless_a_folder_is_there(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    assert is_file_name(tmp_path / "a.PNG", {".png"}) and not is_file_name(tmp_path / "a", {".png"})
    assert not is_file_name(tmp_path / "folder.png", {".png"})


def test_one_folder_by_any_of_its_names_is_the_same(tmp_path: Path, store: fsspec.AbstractFileSystem) -> None:
    folder, other = tmp_path / "folder", tmp_path / "other"
    folder.mkdir(), other.mkdir()
    (tmp_path / "link").symlink_to(folder)
    assert is_same(folder, tmp_path / "link") and is_same(folder, tmp_path / "other" / ".." / "folder")
    assert not is_same(folder, other) and not is_same(folder, None)
    assert is_same(tmp_path / "new", tmp_path / "." / "new") and not is_same(tmp_path / "new", folder)
    assert not is_same(folder, place_of(f"memory://{folder}"))


def test_no_output_is_an_input_by_whatever_name(tmp_path: Path) -> None:
    photo, film = tmp_path / "a.png", tmp_path / "b.mp4"
    photo.write_bytes(b"x")
    film.write_bytes(b"y")
    os.link(photo, tmp_path / "hard.png")  # noqa: PTH200
    (tmp_path / "soft.png").symlink_to(photo)
    check_no_input([Job(photo, tmp_path / "new.png"), VideoJob(film, tmp_path / "new.mp4")])
    for name in ("a.png", "hard.png", "soft.png"):
        with pytest.raises(UsageError, match="is an input"):
            check_no_input([VideoJob(film, tmp_path / "new.mp4"), Job(photo, tmp_path / name)])


def test_names_that_some_file_systems_take_for_one() -> None:
    assert folded(Path("É.PNG")) == folded(Path("e\N{COMBINING ACUTE ACCENT}.png")) != folded(Path("e.png"))


def test_a_closed_folder_is_noted_and_a_closed_input_is_an_error(tmp_path: Path) -> None:
    closed: list[Path] = []
    error = PermissionError(13, "Permission denied", str(tmp_path / "sub"))
    note_closed(tmp_path, closed, error)
    assert closed == [tmp_path / "sub"]
    with pytest.raises(InputError, match="sub: Permission denied"):
        note_closed(tmp_path / "sub", closed, error)
