"""The work folder of a clip: its finished stretches, so that a run that was killed goes on where it was."""

from __future__ import annotations

import json
import shutil
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from fractions import Fraction
from itertools import count, takewhile
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from gfpcli.clip.mux import Segment
from gfpcli.clip.track import Look, Steady
from gfpcli.errors import OutputError
from gfpcli.files.atomic import os_errors_as, sha256_of, write_bytes
from gfpcli.files.locking import short_name
from gfpcli.types import Frame

PARTS = "parts.jsonl"
SHORTEST, LONGEST = Fraction(2), Fraction(6)  # seconds: a stretch ends at a cut after the first, or with the second
MOST_FRAMES = 300  # of a stretch


@dataclass(frozen=True, slots=True)
class Part:
    """One finished stretch; times are seconds of the source's clock."""

    file: str
    sha256: str
    first: Fraction  # of its first frame
    last: Fraction  # of its last frame
    end: Fraction  # when its last frame goes
    delay: int  # frames that decode before one that is shown earlier
    look_back: Fraction  # of the frame from which faces must be looked for again before going on
    look_back_index: int
    n_frames: int
    n_faces: int  # restored
    n_failed: int  # faces the network failed on
    flicker: float  # grey levels, summed
    n_pairs: int  # of consecutive faces in that sum


class Work:
    """A folder beside the output; it belongs to one input with one set of settings.

    Raises:
        OutputError: the folder cannot be read or written.
    """

    def __init__(self, target: Path, key: str, *, is_fresh: bool) -> None:
        self.folder = target.parent / f"{short_name(target.name)}.gfp"
        self._found: dict[int, Part] = {}  # by number; workers finish some before their turn
        self._file = self.folder / PARTS
        with os_errors_as(OutputError, self.folder):
            if self.folder.is_symlink():
                raise OutputError(f"{self.folder}: is a link; remove it, nothing is written through it")
            lines = [] if is_fresh or not self._file.exists() else self._file.read_text(encoding="utf-8").splitlines()
            if lines[:1] == [key]:
                self._take(lines[1:])
            else:
                shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._write([key, *(_line_of(part) for part in self._found.values())])
            self._sweep()

    def _take(self, lines: list[str]) -> None:
        """The parts whose line and file are whole."""
        for line in lines:
            try:
                part = _part_of(json.loads(line))
                if sha256_of(self.folder / part.file) == part.sha256:
                    self._found[_number_of(part)] = part
            except (ValueError, TypeError, KeyError, OSError):
                continue

    def _sweep(self) -> None:
        """Removes what was being made when a run was killed."""
        kept = {PARTS, *(part.file for part in self._found.values())}
        for path in self.folder.iterdir():
            if path.name not in kept and not path.is_dir():
                path.unlink()

    def _write(self, lines: list[str]) -> None:
        write_bytes(self._file, ("\n".join(lines) + "\n").encode())

    @property
    def parts(self) -> list[Part]:
        """The finished stretches from the first up to one that is missing."""
        return [self._found[number] for number in takewhile(self._found.__contains__, count())]

    def part(self, number: int) -> Part | None:
        """A finished stretch."""
        return self._found.get(number)

    def path_of(self, number: int, suffix: str) -> Path:
        """Where stretch `number` is encoded."""
        return self.folder / f"{number:06d}{suffix}"

    def add(self, part: Part) -> None:
        """Enters a stretch whose file is whole."""
        with os_errors_as(OutputError, self._file), self._file.open("a", encoding="utf-8") as file:
            file.write(_line_of(part) + "\n")
        self._found[_number_of(part)] = part

    def receive(self, part: Part, number: int) -> Part:
        """Enters stretch `number`, which a worker made in this folder under a name of its own.

        Raises:
            OutputError: its file is not there, or nothing can be written.
        """
        made = self.folder / part.file
        part = replace(part, file=self.path_of(number, made.suffix).name)
        try:
            with os_errors_as(OutputError, made):
                made.replace(self.folder / part.file)
        except OutputError as error:
            if made.exists():
                raise
            why = "a worker wrote it where this machine does not see it: OUT must be on storage that all machines share"
            raise OutputError(f"{made}: {why}") from error
        self.add(part)
        return part

    def segments(self) -> list[Segment]:
        """The finished stretches, to be joined."""
        return [Segment(self.folder / part.file, part.first, part.end, part.delay) for part in self.parts]

    def clear(self) -> None:
        """Takes the folder away."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _number_of(part: Part) -> int:
    return int(Path(part.file).stem)


def _line_of(part: Part) -> str:
    return json.dumps(asdict(part), default=str)


def _part_of(values: dict[str, Any]) -> Part:
    times = {each.name for each in fields(Part) if each.type == "Fraction"}
    read: dict[str, Any] = {key: Fraction(value) if key in times else value for key, value in values.items()}
    return Part(**read)

Recent: TypeAlias = deque[tuple[Fraction, int]]
"""Times and indices of the last finished frames."""
Seen = TypeVar("Seen", Look, Steady)


def numbered(frames: Iterator[Frame], first: int) -> Iterator[Frame]:
    """The frames with their index in the whole clip."""
    for frame in frames:
        yield replace(frame, index=frame.index + first) if first else frame


def undone(seen: Iterator[Seen], last: Fraction, recent: Recent) -> Iterator[Seen]:
    """The frames after `last`, that are not done yet; `recent` gets the ones that are."""
    for each in seen:
        if time_of(each.frame) > last:
            yield each
        else:
            recent.append((time_of(each.frame), each.frame.index))


def time_of(frame: Frame) -> Fraction:
    """Seconds."""
    return frame.pts or Fraction(0)


def stretches(seen: Iterator[Seen], number: int) -> Iterator[tuple[int, Seen]]:
    """Each frame with the number of its stretch, which depends on the frames since the stretch began only."""
    begun: Seen | None = None
    n_frames = 0
    for each in seen:
        age = time_of(each.frame) - time_of(begun.frame) if begun else Fraction(0)
        if begun and (each.is_cut and age >= SHORTEST or age >= LONGEST or n_frames >= MOST_FRAMES):
            number, n_frames, begun = number + 1, 0, None
        begun = begun or each
        n_frames += 1
        yield number, each
