"""Which files that arrive are whole."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gfpcli.files.arrivals import Arrivals, being_written, changes_in


class Clock:
    """Seconds that pass when a test says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_file_is_whole_when_it_has_not_changed_for_a_while_and_is_given_once(tmp_path: Path) -> None:
    clock, photo = Clock(), tmp_path / "a.jpg"
    arrivals = Arrivals(2.0, clock)
    photo.write_bytes(b"half")
    assert arrivals.whole([photo]) == [] and arrivals.is_waiting()
    clock.now = 1.5
    photo.write_bytes(b"half and more")
    assert arrivals.whole([photo]) == []
    clock.now = 3.0
    assert arrivals.whole([photo]) == [], "it changed 1.5 s ago"
    clock.now = 3.6
    assert arrivals.whole([photo]) == [photo] and not arrivals.is_waiting()
    clock.now = 9.0
    assert arrivals.whole([photo]) == [] and not arrivals.is_waiting()
    photo.write_bytes(b"another photo of that name")
    assert arrivals.whole([photo]) == []
    clock.now = 12.0
    assert arrivals.whole([photo, tmp_path / "gone.jpg"]) == [photo]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell which files are open for writing")
def test_a_file_that_is_still_written_is_not_whole(tmp_path: Path) -> None:
    clock, photo = Clock(), tmp_path / "a.jpg"
    arrivals = Arrivals(1.0, clock)
    with photo.open("wb") as copy:
        copy.write(b"half")
        copy.flush()
        assert photo.resolve() in being_written()
        for clock.now in (0.0, 5.0, 60.0):
            assert arrivals.whole([photo]) == [] and arrivals.is_waiting()
        copy.write(b"the rest")
    clock.now = 61.0
    assert arrivals.whole([photo]) == [], "its size has just changed"
    clock.now = 63.0
    with photo.open("rb"):  # who reads does not matter
        assert arrivals.whole([photo]) == [photo]


def test_what_changes_in_a_folder_is_told(tmp_path: Path) -> None:
    changes: Iterator[None] = changes_in(tmp_path, lambda: False)
    next(changes)
    (tmp_path / "sub").mkdir()
    next(changes)
    (tmp_path / "sub" / "a.jpg").write_bytes(b"a")
    next(changes)
    waiting = changes_in(tmp_path, lambda: True)
    next(waiting)
    next(waiting)  # by time alone
