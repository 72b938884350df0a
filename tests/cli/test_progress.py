"""What a run shows on a terminal and without one."""

from __future__ import annotations

import io
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from gfpcli.cli import progress
from gfpcli.types import ClipFacts, FaceRecord, Outcome


def test_a_line_every_half_minute_with_the_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [100.0]
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now[0]))
    watch = progress.Lines(is_quiet=False).tiles
    for seconds, n_done in ((0, 0), (20, 1), (20, 2), (20, 3), (20, 4), (20, 5)):
        now[0] += seconds
        watch(n_done, 5)
    assert capsys.readouterr().err.splitlines() == [
        "background: 2 of 5 tiles, about 60 s left",
        "background: 4 of 5 tiles, about 20 s left",
    ]
    watch(0, 3)
    now[0] += 1
    watch(1, 3)
    assert capsys.readouterr().err == ""


def outcome(source: str = "in/a.mp4", **more: Any) -> Outcome:
    return replace(Outcome(source, f"out/{source}", "restored", 1.0, "compact"), **more)


def test_a_line_says_what_became_of_an_input() -> None:
    face, failed = FaceRecord((0, 0, 9, 9), 0.9, "restored"), FaceRecord((0, 0, 9, 9), 0.9, "failed", error="why")
    facts = ClipFacts(30, 29, 0.2, 12.5)
    lines = {
        "restored  a -> out/a (1 face)": outcome("a", faces=(face,)),
        "restored  a -> out/a (2 faces); a: why; 2 pages": outcome(
            "a", faces=(face, face, failed), error="a: why", notes=("2 pages",)
        ),
        "failed    a: why": outcome("a", status="failed", error="a: why"),
        "skipped   a (done before)": outcome("a", status="skipped", notes=("done before",)),
        "restored  a -> out/a (30 frames, 29 faces, 12.5 frames/s; its transparency is lost; a: why)": outcome(
            "a", clip=facts, notes=("its transparency is lost",), error="a: why"
        ),
        "previewed a -> out/a (side by side: b)": outcome(
            "a", status="previewed", clip=ClipFacts(), notes=("side by side: b",)
        ),
    }
    assert [progress.line_of(each) for each in lines.values()] == list(lines)


@pytest.mark.parametrize("is_video", [False, True])
def test_a_terminal_has_bars_and_a_line_for_what_failed(monkeypatch: pytest.MonkeyPatch, is_video: bool) -> None:
    shown = io.StringIO()
    terminal = partial(Console, file=shown, force_terminal=True, width=120, color_system=None)
    monkeypatch.setattr(progress, "Console", lambda *, stderr: terminal())
    clip = ClipFacts(4, 4, None, 2.0) if is_video else None
    view = progress.RunView(None, False, False, is_video=is_video)
    with view.listening() as listener:
        listener.begin(2)
        for source in ("in/a.mp4", "in/b[0].mp4"):
            for n_done, n_all in ((0, 0), (1, 4), (4, 4)) if is_video else ():
                listener.frames(Path(source), n_done, n_all, n_done)
            listener.tiles(0, 3)
            listener.tiles(3, 3)
            error = f"{source}: broken" if source == "in/b[0].mp4" else None
            listener.outcome(outcome(source, status="failed" if error else "restored", error=error, clip=clip))
    text = shown.getvalue()
    assert "failed    in/b[0].mp4: broken" in text
    assert ("restored  in/a.mp4 ->" in text) == is_video and ("restoring, 0 faces" in text) != is_video
    assert view.tally.line() == "1 failed, 1 restored; 0 faces restored" and view.tally.n_failed == 1


def test_outputs_with_notes_are_counted() -> None:
    tally = progress.Tally()
    for status, notes in (("restored", ("2 pages",)), ("no_face", ("a", "b")), ("skipped", ("done before",))):
        tally.add(outcome("a", status=status, notes=notes))
    assert tally.line() == "1 no face, 1 restored, 1 skipped; 0 faces restored; 2 with notes"


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_shows_the_last_photos_and_the_bar_within_the_terminal(
    monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    shown = io.StringIO()
    terminal = Console(file=shown, force_terminal=True, width=width, color_system=None)
    monkeypatch.setattr(progress, "Console", lambda *, stderr: terminal)
    face = FaceRecord((0, 0, 9, 9), 0.9, "restored")
    long = f"in/{'a long name ' * 12}of 1964.jpg"
    view = progress.RunView(None, False, False)
    with view.listening() as listener:
        listener.begin(1000)
        for source in (*(f"in/{i}.jpg" for i in range(progress.N_LAST)), long, "in/[b]\x1b[2J.jpg"):
            listener.outcome(outcome(source, faces=(face,), seconds=0.5))
        listener.outcome(outcome("in/fine.jpg", faces=(replace(face, status="unchanged"), face), seconds=0.5))
        listener.outcome(outcome("in/z.jpg", status="no_face", seconds=0.25))
        assert view.is_on_terminal
    last = [line.rstrip() for line in shown.getvalue().rpartition("photo  ")[2].splitlines()[1:]]
    assert all(len(line) <= width for line in last)
    *first, long_row, steering, fine, without, bar, _ = last
    assert [line.split()[1] for line in first] == [f"in/{i}.jpg" for i in range(4, progress.N_LAST)]
    assert long_row.startswith("restored  …") and long_row.split()[-4:] == ["of", "1964.jpg", "1", "0.50"]
    assert "in/[b]\\x1b[2J.jpg" in steering, "a name neither steers the terminal nor is it markup"
    assert fine.split()[2:] == ["1", "of", "2", "0.50"], "what is not restored is told"
    assert without.split() == ["no", "face", "in/z.jpg", "0", "0.25"]
    assert bar.startswith("restoring, 11 faces, ") and "12/1000" in bar, last


@pytest.mark.parametrize("width", [80, 120])
def test_the_bar_of_a_clip_stays_in_the_terminal(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    shown = io.StringIO()
    terminal = Console(file=shown, force_terminal=True, width=width, color_system=None)
    monkeypatch.setattr(progress, "Console", lambda *, stderr: terminal)
    view = progress.RunView(None, False, False, is_video=True)
    with view.listening() as listener:
        listener.begin(1)
        for n_done in (0, 0, 5, 25):
            listener.frames(Path(f"in/{'a long name ' * 12}of 1964.mp4"), n_done, 90_000 if n_done else 0, 1234)
    line = shown.getvalue().splitlines()[-2]
    assert "1964.mp4" in line and "1234 faces" in line and "25/90000" in line, line


def test_what_to_do_next_is_told() -> None:
    tally = progress.Tally()
    assert progress.next_steps(tally, None) == []
    for i in range(progress.MOST_NAMED + 2):
        tally.add(outcome(f"in/{i}.jpg", status="failed", error="why"))
    (told,) = progress.next_steps(tally, None)
    assert told.startswith("failed: in/0.jpg, in/1.jpg") and "in/4.jpg and 2 more; the same command" in told
    tally.add(outcome("in/a.jpg"))
    assert "--report FILE.html" in progress.next_steps(tally, None)[0]
    assert progress.next_steps(tally, Path("out/r.html"))[0] == "to judge the results: open out/r.html"
