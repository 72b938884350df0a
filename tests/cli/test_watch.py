"""`gfp watch`: photos are restored as they arrive."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gfpcli.cli.app import app
from gfpcli.files.arrivals import Arrivals
from gfpcli.photo import watch

PHOTO = Path(__file__).parents[2] / "examples" / "photos" / "astronaut_small.jpg"
BUILTIN = ("--model", "compact", "--detector", "builtin", "--mask", "soft", "--offline", "--settle", "0.1")
Change = Callable[[], object]


def gfp(*words: object) -> Result:
    return CliRunner().invoke(app, ["watch", *map(str, words), *BUILTIN])


def script(monkeypatch: pytest.MonkeyPatch, *changes: Change) -> None:
    """Makes each change as if it were seen in the folder, lets the files settle, and then presses Ctrl-C."""
    now = [0.0]

    def told(folder: Path, is_waiting: Callable[[], bool]) -> Iterator[None]:
        for change in (lambda: None, *changes):
            change()
            while True:
                yield
                now[0] += 1
                if not is_waiting():
                    break
        raise KeyboardInterrupt

    monkeypatch.setattr(watch, "changes_in", told)
    monkeypatch.setattr(watch, "Arrivals", lambda settle_s: Arrivals(settle_s, lambda: now[0]))


def test_what_is_there_and_what_arrives_is_restored_and_a_restart_goes_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    inbox, out = tmp_path / "in", tmp_path / "out"
    inbox.mkdir()
    data = PHOTO.read_bytes()

    def arrive() -> None:
        (inbox / "sub").mkdir()
        shutil.copy(PHOTO, inbox / "sub" / "b.jpg")
        (inbox / "half.jpg").write_bytes(data[: len(data) // 3])  # its sender stalled
        (inbox / "clip.mp4").touch()

    def go_on() -> None:
        (inbox / "half.jpg").write_bytes(data)

    script(monkeypatch, lambda: shutil.copy(PHOTO, inbox / "a.jpg"), arrive, go_on)
    done = gfp(inbox, "-o", out)
    assert done.exit_code == 130, done.stderr
    assert {path.relative_to(out).as_posix() for path in out.rglob("*.jpg")} == {"a.jpg", "sub/b.jpg", "half.jpg"}
    told = done.stderr.splitlines()
    assert told[0] == f"watching {inbox}; results in {out}; Ctrl-C ends"
    assert sum(line.startswith("restored") for line in told) == 3
    assert sum(line.startswith("failed") and "half.jpg" in line for line in told) == 1
    assert sum("1 video (gfp video restores them)" in line for line in told) == 1, "told once"
    assert told[-2].startswith("1 failed, 3 restored; 3 faces restored")
    assert (out / "half.jpg").read_bytes() == (out / "a.jpg").read_bytes(), "made from the whole photo"

    script(monkeypatch, lambda: shutil.copy(PHOTO, inbox / "c.jpg"))
    again = gfp(inbox, "-o", out)
    assert again.exit_code == 130 and "1 restored, 3 skipped" in again.stderr


def test_a_folder_that_is_watched_and_written_does_not_feed_itself(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shutil.copy(PHOTO, tmp_path / "a.jpg")
    script(monkeypatch, lambda: None, lambda: None)
    done = gfp(tmp_path, "-o", tmp_path, "--suffix", "_r", "-q", "--json", tmp_path / "r.jsonl")
    assert done.exit_code == 130 and done.stderr.startswith("1 restored")
    assert sorted(path.name for path in tmp_path.glob("*.jpg")) == ["a.jpg", "a_r.jpg"]
    assert (tmp_path / "r.jsonl").read_text().count("\n") == 1


def test_two_photos_of_one_output_are_told_and_the_watch_goes_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    inbox = tmp_path / "in"
    inbox.mkdir()

    def clash() -> None:
        shutil.copy(PHOTO, inbox / "a.jpg")
        shutil.copy(PHOTO, inbox / "a.jpeg")

    script(monkeypatch, clash, lambda: None, lambda: (inbox / "a.jpeg").unlink())
    done = gfp(inbox, "-o", tmp_path / "out", "--format", "png")
    assert done.stderr.count("would both become") == 1 and "1 restored" in done.stderr


@pytest.mark.parametrize(
    ("words", "told", "code"),
    [
        (("none", "-o", "out"), "no such folder", 1),
        ((".", "-o", "."), "is watched itself", 2),
        ((".", "-o", "a.jpg"), "writes into a folder", 2),
        (("s3://a/b", "-o", "out"), "not for URLs", 2),
        ((".", "-o", "out", "--settle", "0"), "--settle", 2),
    ],
)
def test_what_cannot_be_watched_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: tuple[str, ...], told: str, code: int
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["watch", *words])
    assert done.exit_code == code and told in done.stderr and done.stderr.count("\n") == 1
