"""Locks, left-overs, links out of the folder, long names."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gfpcli.errors import OutputError
from gfpcli.files.atomic import part_prefix
from gfpcli.files.locking import LOCK, check_inside, hold, lock_of, short_name, sweep


def test_a_folder_is_held_by_one_and_free_again(tmp_path: Path) -> None:
    lock, busy = lock_of(tmp_path / "new", None)
    with hold(lock, busy):
        with pytest.raises(OutputError, match="another gfp run is writing there now"), hold(lock, busy):
            pass
        assert lock.exists()
    assert not lock.exists()
    with hold(lock, busy):
        pass


def test_files_beside_each_other_are_held_apart(tmp_path: Path) -> None:
    with (
        hold(*lock_of(tmp_path, tmp_path / "a.png")),
        hold(*lock_of(tmp_path, tmp_path / "b.png")),
        pytest.raises(OutputError, match=r"a\.png"),
        hold(*lock_of(tmp_path, tmp_path / "a.png")),
    ):
        pass


def test_a_lock_left_by_a_killed_run_does_not_block(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from gfpcli.files.locking import hold\n"
        "with hold(Path(sys.argv[1]), 'busy'):\n    print('held', flush=True)\n    os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / LOCK)], capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("held\n", -9) and (tmp_path / LOCK).exists()
    with hold(tmp_path / LOCK, "busy"):
        pass


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    (tmp_path / LOCK).symlink_to(tmp_path / "precious")
    with pytest.raises(OutputError, match="cannot be written"), hold(tmp_path / LOCK, "busy"):
        pass
    assert (tmp_path / "precious").read_text() == "mine"


def test_only_what_a_killed_run_left_is_swept(tmp_path: Path) -> None:
    for name in (".gfp-abc.part", ".gfp-ledger.jsonl", "a.part", "mine.png"):
        (tmp_path / name).write_text("x")
    sweep([tmp_path, tmp_path / "never made"])
    own, other = (tmp_path / f"{part_prefix(name)}x.part" for name in ("a.png", "b.png"))
    own.mkdir(), other.write_text("being written beside it")
    (own / "pair.mp4").write_text("x")
    sweep([tmp_path], "a.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [".gfp-ledger.jsonl", "a.part", "mine.png", other.name]
    )


def test_a_link_out_of_the_output_is_refused_and_one_inside_is_not(tmp_path: Path) -> None:
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    (out / "real").mkdir(parents=True)
    elsewhere.mkdir()
    (out / "away").symlink_to(elsewhere)
    (out / "near").symlink_to(out / "real")
    (tmp_path / "alias").symlink_to(out)
    for good in (out / "a.png", out / "deep" / "er" / "a.png", out / "near" / "a.png"):
        check_inside(out, good)
    check_inside(tmp_path / "alias", tmp_path / "alias" / "a.png")
    for bad in (out / "away" / "a.png", out / "away" / "deep" / "a.png", out / ".." / "a.png"):
        with pytest.raises(OutputError, match="leads out of"):
            check_inside(out, bad)


def test_names_of_any_length_leave_room_for_ours() -> None:
    assert short_name("film.mp4") == ".film.mp4"
    longest = ["x" * 251 + ".mp4", "ü" * 125 + ".mp4", os.fsdecode(b"\xff" * 255)]
    assert all(len(os.fsencode(short_name(name))) < 40 for name in longest)
    assert len({short_name(name) for name in longest}) == 3
