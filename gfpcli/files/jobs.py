"""One input and its output, and what planning photos and clips has in common."""

from __future__ import annotations

import glob
import os
import unicodedata
from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path

from gfpcli.errors import InputError, OutputError, UsageError
from gfpcli.files.storage import (
    is_folder,
    is_remote,
)

# os.path instead of pathlib, which raises for a name that no file system takes and for a link that leads to itself
# ruff: noqa: PTH110, PTH112, PTH113


@dataclass(frozen=True, slots=True)
class Job:
    """One input and where its result goes."""

    source: Path
    target: Path
    data: bytes | None = None  # the input's content where it is no file: it came by stdin


def expand(word: str) -> list[str]:
    if glob.has_magic(word) and not os.path.lexists(Path(word)):
        return sorted(glob.glob(word, recursive=True)) or [word]  # noqa: PTH207  (Path.glob takes no absolute pattern)
    return [word]


def note_closed(entry: Path, closed: list[Path], error: OSError) -> None:
    """Notes a folder that cannot be opened. Raises InputError where it is the input itself."""
    if Path(error.filename) == entry:
        raise InputError(f"{entry}: {error.strerror or error}") from error
    closed.append(Path(error.filename))


def is_same(path: Path, other: Path | None) -> bool:
    """Whether both are one folder, be it by a link, a mount or other letters' case."""
    if other is None or is_remote(other):
        return False
    try:
        return path.samefile(other)
    except OSError:  # not made yet
        return os.path.realpath(path) == os.path.realpath(other)


def is_file_name(output: Path, suffixes: Container[str]) -> bool:
    """Whether `--output` names one file: it has such a suffix and is no folder. Raises OutputError."""
    try:
        return output.suffix.lower() in suffixes and not is_folder(output)
    except OSError as error:
        raise OutputError(f"{output}: {error.strerror or error}") from error


def folded(path: Path) -> str:
    """What a file system that knows no case, or one way only to write an accent, makes of a name."""
    return unicodedata.normalize("NFC", str(path)).casefold()


def check_no_input(jobs: Sequence[Job | VideoJob]) -> None:
    """Raises UsageError where an output is an input, be it by a link, a mount or other letters' case."""
    sources = {real(job.source) for job in jobs}
    files = {identity(job.source) for job in jobs} - {None}
    for job in jobs:
        if real(job.target) in sources or identity(job.target) in files:
            raise UsageError(f"{job.target} is an input: choose another --output or a --suffix")


def real(path: Path) -> str:
    return str(path) if is_remote(path) else os.path.realpath(path)


def identity(path: Path) -> tuple[int, int] | None:
    if is_remote(path):
        return None
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_dev, facts.st_ino


@dataclass(frozen=True, slots=True)
class VideoJob:
    """One clip and where its result goes."""

    source: Path
    target: Path
    pictures: tuple[Path, ...] = ()  # the frames, where the source is a folder of them
