"""One input and its output, and what planning photos and clips has in common."""

from __future__ import annotations

import unicodedata
from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path

from gfpcli.errors import InputError, OutputError, UsageError, os_reason
from gfpcli.files.atomic import os_errors_as
from gfpcli.files.storage import store_of
from gfpcli.types import PlannedPhoto


@dataclass(frozen=True, slots=True)
class Job:
    """One input and where its result goes."""

    source: Path
    target: Path
    data: bytes | None = None  # the input's content where it is no file: it came by stdin
    sidecars: tuple[Path, ...] = ()  # XMP files beside the input, whose copies belong beside the result
    notes: tuple[str, ...] = ()  # lines worth telling that are known before work starts
    name: str = ""  # path relative to its input, with forward slashes: what a plan calls it
    planned: PlannedPhoto | None = None  # what a plan says of it


@dataclass(frozen=True, slots=True)
class VideoJob(Job):
    """One clip and where its result goes."""

    pictures: tuple[Path, ...] = ()  # the frames, where the source is a folder of them


def is_file_name(output: Path, suffixes: Container[str]) -> bool:
    """Whether `--output` names one file: it has such a suffix and is no folder. Raises OutputError."""
    with os_errors_as(OutputError, output):
        return output.suffix.lower() in suffixes and not store_of(output).is_folder(output)


def note_closed(entry: Path, closed: list[Path], error: OSError) -> None:
    """Notes a folder that cannot be opened. Raises InputError where it is the input itself."""
    if Path(error.filename) == entry:
        raise InputError(f"{entry}: {os_reason(error)}") from error
    closed.append(Path(error.filename))


def folded(path: Path) -> str:
    """What a file system that knows no case, or one way only to write an accent, makes of a name."""
    return unicodedata.normalize("NFC", str(path)).casefold()


def is_same(path: Path, other: Path | None) -> bool:
    """Whether both are one folder, be it by a link, a mount or other letters' case."""
    if other is None:
        return False
    one, two = identity(path), identity(other)
    return one == two if one and two else resolved(path) == resolved(other)  # the latter where it is not made yet


def check_no_input(jobs: Sequence[Job], unwritten: Container[Path] = ()) -> None:
    """Raises UsageError where an output is an input, be it by a link, a mount or other letters' case.

    Args:
        unwritten: sources of which it is known that no output is made.
    """
    sources = {resolved(job.source) for job in jobs}
    files = {identity(job.source) for job in jobs} - {None}
    for job in (job for job in jobs if job.source not in unwritten):
        if resolved(job.target) in sources or identity(job.target) in files:
            raise UsageError(f"{job.target} is an input: choose another --output or a --suffix")


def resolved(path: Path) -> str:
    """The place without links, as text."""
    return store_of(path).resolve(path)


def identity(path: Path) -> tuple[int, int] | None:
    """What all names of one local file or folder have in common; None where nothing is there."""
    return store_of(path).identity(path)
