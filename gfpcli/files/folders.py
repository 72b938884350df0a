"""Searching folders: every file below them, without what is hidden, and how many files are left out."""

from __future__ import annotations

import os
from collections.abc import Set
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from gfpcli.files.jobs import is_same, note_closed
from gfpcli.files.kinds import Kind, is_hidden, kind_of_file

# os.path instead of pathlib, which raises for a name that no file system takes and for a link that leads to itself
# ruff: noqa: PTH113, PTH114


REPORT_MARK = ".gfp-report"  # in the folder of small copies beside a report of clips: gfp made it


@dataclass(frozen=True, slots=True)
class LeftOut:
    """How many files of the searched folders are no inputs of the command."""

    n_hidden: int = 0
    n_photos: int = 0
    n_videos: int = 0
    n_others: int = 0

    def __add__(self, other: LeftOut) -> LeftOut:
        return LeftOut(
            self.n_hidden + other.n_hidden, self.n_photos + other.n_photos, self.n_videos + other.n_videos,
            self.n_others + other.n_others,
        )  # fmt: skip

    def lines(self) -> list[str]:
        """What is told of them; nothing where all files are inputs."""
        told = []
        if self.n_hidden:
            them = "it" if self.n_hidden == 1 else "them"
            told.append(f"{_counted(self.n_hidden, 'hidden file')} left out; --hidden takes {them}")
        counts = [
            f"{_counted(self.n_photos, 'photo')} (gfp restore restores them)" if self.n_photos else "",
            f"{_counted(self.n_videos, 'video')} (gfp video restores them)" if self.n_videos else "",
            _counted(self.n_others, "other file") if self.n_others else "",
        ]
        return [*told, f"left out: {', '.join(filter(None, counts))}"] if any(counts) else told


@dataclass(frozen=True, slots=True)
class Searched:
    """What is below a folder."""

    files: list[Path]  # folder by folder, in the order of their names
    closed: list[Path]  # folders that cannot be opened
    n_hidden: int  # files that were left out because they, or a folder above them, are hidden


def search(folder: Path, output: Path | None, made: Set[str], *, takes_hidden: bool) -> Searched:
    """Every file below a folder, except those in the folder `output`, results of gfp, and what it keeps for itself.

    Args:
        made: results of earlier runs, without links.

    Raises:
        InputError: the folder cannot be opened.
    """
    files: list[Path] = []
    closed: list[Path] = []
    n_hidden = 0
    for at, folders, names in os.walk(folder, onerror=partial(note_closed, folder, closed)):
        if REPORT_MARK in names and Path(at) != folder:  # small copies of clips, which are no inputs
            folders.clear()
            continue
        inner = sorted(name for name in folders if not is_own(name) and not is_same(Path(at, name), output))
        shown = [name for name in inner if takes_hidden or not is_hidden([name])]
        n_hidden += sum(_n_files(Path(at, name)) for name in inner if name not in shown)
        folders[:] = shown
        for name in sorted(name for name in names if not is_own(name)):
            if not takes_hidden and is_hidden([name]):
                n_hidden += 1
            elif not made or os.path.realpath(Path(at, name)) not in made:
                files.append(Path(at, name))
    return Searched(files, closed, n_hidden)


def is_own(name: str) -> bool:
    """Whether a file or folder of this name is one that gfp keeps for itself: ledger, lock, unfinished output, work."""
    return name.startswith(".gfp-") or name.startswith(".") and name.endswith((".gfp", ".gfp-lock"))


def kind_or_none(path: Path) -> Kind | None:
    """What a file is by its content; None where it is no file, or cannot be opened."""
    try:
        return kind_of_file(path) if os.path.isfile(path) else None
    except OSError:
        return None


def _n_files(folder: Path) -> int:
    """Without what is behind a link, which a search would not follow either."""
    return 0 if os.path.islink(folder) else sum(len(names) for _, _, names in os.walk(folder))


def _counted(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"
