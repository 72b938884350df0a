"""The pieces that a clip is encoded in, and the folder that keeps them, so that a run that was killed goes on."""

from __future__ import annotations

import json
import shutil
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from fractions import Fraction
from itertools import count, groupby, takewhile
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from gfpcli.clip.hold import Held
from gfpcli.clip.track import DetectedFrame, TrackedFrame
from gfpcli.errors import OutputError
from gfpcli.files.atomic import os_errors_as, sha256_of, write_bytes
from gfpcli.files.locking import short_name
from gfpcli.files.storage import LOCAL
from gfpcli.types import Frame

SEGMENTS = "segments.jsonl"  # in a workspace: its key, then the finished segments
JOINED = "joined"  # in a workspace: the finished clip's frames in one file, after which the segments' files go
SHORTEST, LONGEST = Fraction(2), Fraction(6)  # seconds: a segment ends at a cut after the first, or with the second
MAX_FRAMES = 300  # of a segment

ContextFrames: TypeAlias = deque[tuple[Fraction, int]]
"""Times (seconds) and indices of the last finished frames, on which the faces of the next ones depend."""
ShotFrame = TypeVar("ShotFrame", DetectedFrame, TrackedFrame)


@dataclass(frozen=True, slots=True)
class ResumePoint:
    """Where a run goes on; times are seconds of the source's clock."""

    start: Fraction  # of the first frame to decode, from which faces are tracked again
    index: int  # of that frame in the clip
    after: Fraction | None = None  # of the last finished frame; None where there is none


@dataclass(frozen=True, slots=True)
class SegmentPlan:
    """What a worker must know to restore one segment alone."""

    number: int
    resume: ResumePoint
    last: Fraction  # seconds of the source's clock, of its last frame
    n_frames: int
    is_cut: bool = True  # it begins with a shot: nothing is known of its faces

    def fits(self, segment: EncodedSegment) -> bool:
        """Whether `segment` holds the planned frames."""
        return (segment.last, segment.n_frames) == (self.last, self.n_frames)


@dataclass(frozen=True, slots=True)
class EncodedSegment:
    """A piece of the restored clip in a file whose own clock starts at 0; times are seconds of the source's clock."""

    file: str  # name in the workspace
    sha256: str
    first: Fraction  # of its first frame
    last: Fraction  # of its last frame
    end: Fraction  # when its last frame is no longer shown
    delay: int  # frames that decode before one that is shown earlier
    context_start: Fraction  # of the frame from which faces must be tracked to go on behind this segment
    context_index: int  # of that frame in the clip
    n_frames: int
    n_faces: int  # restored
    n_failed: int  # faces that the network failed on
    flicker: float  # grey levels, summed over pairs of consecutive faces
    n_pairs: int  # in that sum
    failed_at: tuple[float, ...] = ()  # times of the frames with faces that failed; not in older work folders
    n_kept: int = 0  # faces that stay as in the input, over all frames: see `Verdict.is_kept`
    n_unchanged: int = 0  # faces at strength 0, over all frames
    held: tuple[Held, ...] = ()  # the faces of its last frame, whose strengths hold in the next segment

    @property
    def number(self) -> int:
        """Its place in the clip, from 0."""
        return int(Path(self.file).stem)

    @property
    def resume(self) -> ResumePoint:
        """Where the next segment goes on."""
        return ResumePoint(self.context_start, self.context_index, self.last)


class ClipWorkspace:
    """The folder of a clip's finished segments, beside its output; it is of one input with one set of settings.

    Args:
        key: of the input and the settings; segments that were made with another are removed.
        is_fresh: remove the segments of an earlier run in any case.

    Raises:
        OutputError: the folder cannot be read or written.
    """

    def __init__(self, target: Path, key: str, *, is_fresh: bool) -> None:
        self.folder = target.parent / f"{short_name(target.name)}.gfp"
        self._finished: dict[int, EncodedSegment] = {}  # by number; workers may finish some before earlier ones
        self.joined: Path | None = None  # the file that holds all of them, whose own are gone
        self._list = LOCAL.journal(self.folder / SEGMENTS)
        with os_errors_as(OutputError, self.folder):
            if self.folder.is_symlink():
                raise OutputError(f"{self.folder}: is a link; remove it, nothing is written through it")
            lines = [] if is_fresh else self._list.read()
            if lines[:1] == [key]:
                self._load(lines[1:])
            else:
                shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            kept = [key, *(_to_line(segment) for segment in self._finished.values()), *self._joined_lines()]
            write_bytes(self.folder / SEGMENTS, "".join(f"{line}\n" for line in kept).encode())
            self._remove_unfinished()

    def _load(self, lines: list[str]) -> None:
        """The segments whose line and file are whole, or which are joined."""
        self._load_joined(lines)
        for line in lines:
            try:
                segment = _from_line(line)
                if self.joined or sha256_of(self.folder / segment.file) == segment.sha256:
                    self._finished[segment.number] = segment
            except (ValueError, TypeError, KeyError, AttributeError, OSError):
                continue

    def _load_joined(self, lines: list[str]) -> None:
        """The joined file, where it is whole."""
        for line in lines:
            with suppress(ValueError, TypeError, KeyError, OSError):
                facts: dict[str, str] = json.loads(line)
                path = self.folder / Path(facts[JOINED]).name
                if sha256_of(path) == facts["sha256"]:
                    self.joined = path

    def _joined_lines(self) -> list[str]:
        """Its line in the list."""
        if self.joined is None:
            return []
        return [json.dumps({JOINED: self.joined.name, "sha256": sha256_of(self.joined)})]

    def _remove_unfinished(self) -> None:
        """Removes what was being made when a run was killed."""
        kept = {SEGMENTS, self.joined.name} if self.joined else {SEGMENTS, *self._files()}
        for path in self.folder.iterdir():
            if path.name not in kept and not path.is_dir():
                path.unlink()

    def _files(self) -> list[str]:
        return [segment.file for segment in self._finished.values()]

    @property
    def segments(self) -> list[EncodedSegment]:
        """The finished segments from the first up to one that is missing."""
        return [self._finished[number] for number in takewhile(self._finished.__contains__, count())]

    @property
    def n_bytes(self) -> int:
        """That its files take."""
        return sum(path.stat().st_size for path in self.folder.iterdir())

    def find(self, number: int) -> EncodedSegment | None:
        """A finished segment."""
        return self._finished.get(number)

    def path_of(self, number: int, suffix: str) -> Path:
        """Where segment `number` is encoded."""
        return self.folder / f"{number:06d}{suffix}"

    def add(self, segment: EncodedSegment) -> None:
        """Enters a segment whose file is whole. Raises OutputError."""
        with os_errors_as(OutputError, self.folder / SEGMENTS):
            self._list.append(_to_line(segment))
        self._finished[segment.number] = segment

    def receive(self, segment: EncodedSegment, number: int) -> EncodedSegment:
        """Enters segment `number`, which a worker encoded in this folder under a name of its own.

        Raises:
            OutputError: its file is not there, or nothing can be written.
        """
        made = self.folder / segment.file
        segment = replace(segment, file=self.path_of(number, made.suffix).name)
        if not made.exists():
            why = "a worker wrote it where this machine does not see it: OUT must be on storage that all machines share"
            raise OutputError(f"{made}: {why}")
        with os_errors_as(OutputError, made):
            made.replace(self.folder / segment.file)
        self.add(segment)
        return segment

    def keep_joined(self, path: Path) -> None:
        """Enters the file that holds all segments, and removes theirs: a clip lies here twice, not three times.

        Raises:
            OutputError: it cannot be brought to the disk, or nothing can be written.
        """
        with os_errors_as(OutputError, path):
            LOCAL.finish(path)
            self.joined = path
            for line in self._joined_lines():
                self._list.append(line)
            for name in self._files():
                (self.folder / name).unlink(missing_ok=True)

    def clear(self) -> None:
        """Removes the folder: the clip has its name."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _to_line(segment: EncodedSegment) -> str:
    return json.dumps(asdict(segment), default=str)


def _from_line(line: str) -> EncodedSegment:
    """Raises ValueError, TypeError, KeyError or AttributeError for a line that is not whole, or not ours."""
    times = {each.name for each in fields(EncodedSegment) if each.type == "Fraction"}
    values: dict[str, Any] = json.loads(line)
    values |= {key: Fraction(values[key]) for key in times}
    values["failed_at"] = tuple(map(float, values.get("failed_at", ())))
    values["held"] = tuple(map(Held.from_json, values.get("held", ())))
    return EncodedSegment(**values)


def time_of(frame: Frame) -> Fraction:
    """Seconds of the source's clock; 0 for a frame that has no time."""
    return frame.pts or Fraction(0)


def unfinished(frames: Iterator[ShotFrame], resume: ResumePoint, context: ContextFrames) -> Iterator[ShotFrame]:
    """The frames behind the last finished one; `context` gets the finished ones."""
    for each in frames:
        if resume.after is None or time_of(each.frame) > resume.after:
            yield each
        else:
            context.append((time_of(each.frame), each.frame.index))


def split_segments(frames: Iterator[ShotFrame], number: int) -> Iterator[tuple[int, Iterator[ShotFrame]]]:
    """The frames of each segment, numbered from `number`; each must be used up before the next one is asked for.

    Where a segment ends depends only on the frames since it began.
    """
    for at, group in groupby(_with_number(frames, number), key=lambda pair: pair[0]):
        yield at, (each for _, each in group)


def _with_number(frames: Iterator[ShotFrame], number: int) -> Iterator[tuple[int, ShotFrame]]:
    """Each frame with the number of its segment."""
    begun: ShotFrame | None = None
    n_frames = 0
    for each in frames:
        age = time_of(each.frame) - time_of(begun.frame) if begun else Fraction(0)
        if begun and (each.is_cut and age >= SHORTEST or age >= LONGEST or n_frames >= MAX_FRAMES):
            number, n_frames, begun = number + 1, 0, None
        begun = begun or each
        n_frames += 1
        yield number, each
