"""From the paths that the user gave to clips, each with its output; all before work starts."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Set
from dataclasses import dataclass
from pathlib import Path

from gfpcli.errors import InputError, UsageError
from gfpcli.files.folders import LeftOut, Searched, kind_or_none, search
from gfpcli.files.formats import CONTAINERS, PICTURE_SUFFIXES, SUFFIX_FORMATS, UNWRITTEN_SUFFIXES, VIDEOS, WRITTEN
from gfpcli.files.jobs import VideoJob, check_no_input, folded, is_file_name
from gfpcli.files.storage import matches

# os.path instead of pathlib, which raises for a name that no file system takes and for a link that leads to itself
# ruff: noqa: PTH110, PTH112, PTH113


@dataclass(frozen=True, slots=True)
class Footage:
    """What a folder holds: videos, or the frames of one clip."""

    videos: list[Path]
    frames: tuple[Path, ...]
    left_out: LeftOut


def plan_videos(
    inputs: Iterable[str], output: Path, *, added: str, made: Set[Path] = frozenset(), takes_hidden: bool = False
) -> tuple[list[VideoJob], LeftOut]:
    """Every clip with its output. Folders are searched with their subfolders; one that holds only pictures is a clip.

    Args:
        made: as for `find_photos`, as is `takes_hidden`.

    Raises:
        InputError: an input does not exist, or holds nothing.
        UsageError: two inputs would become one file, or an output would replace an input.
    """
    found: dict[Path, tuple[Path, tuple[Path, ...]]] = {}
    left_out, made_names = LeftOut(), {os.path.realpath(path) for path in made}
    for entry in (each for word in inputs for each in matches(word)):
        if os.path.isdir(entry):
            held = _footage_of(entry, search(entry, output, made_names, takes_hidden=takes_hidden))
            left_out += held.left_out
            found |= {file: (file.relative_to(entry), ()) for file in held.videos}
            found |= {entry: (Path(f"{entry.resolve().name}.mp4"), held.frames)} if held.frames else {}
        elif os.path.exists(entry):
            found[entry] = Path(entry.name), ()
        else:
            raise InputError(f"{entry}: no such file or folder")
    is_file = is_file_name(output, WRITTEN)
    if not is_file and is_file_name(output, {*VIDEOS, *PICTURE_SUFFIXES, *UNWRITTEN_SUFFIXES}):
        raise UsageError(f"--output {output}: gfp video writes {', '.join(WRITTEN)}, or into a folder")
    if is_file and len(found) != 1:
        raise UsageError(f"--output {output} is a file: it takes exactly one input")
    jobs = [
        VideoJob(source, output if is_file else output / _video_name(relative, added), pictures=pictures)
        for source, (relative, pictures) in found.items()
    ]
    _check_apart(jobs)
    return jobs, left_out


def _video_name(relative: Path, added: str) -> Path:
    suffix = relative.suffix if relative.suffix.lower() in CONTAINERS else ".mp4"
    return relative.with_name(f"{relative.stem}{added}{suffix}")


def _check_apart(jobs: list[VideoJob]) -> None:
    owners: dict[str, Path] = {}
    for job in jobs:
        owner = owners.setdefault(folded(job.target), job.source)
        if owner is not job.source:
            raise UsageError(f"{owner} and {job.source} would both become {job.target}: run them apart")
    check_no_input(jobs)


def _footage_of(folder: Path, found: Searched) -> Footage:
    """Files that hold a video or are named like one, and folders that cannot be opened: reading them tells why.

    Raises:
        InputError: neither videos nor frames are there.
    """
    kinds = {path: kind_or_none(path) for path in found.files}
    named = {path for path in found.files if path.suffix.lower() in VIDEOS}
    pictures = {path for path, kind in kinds.items() if kind and kind.role in ("picture", "unread picture")} - named
    named |= {path for path, kind in kinds.items() if kind and kind.role == "video"}
    videos = [path for path in found.files if path in named] + found.closed
    frames = [path for path in found.files if path.parent == folder and path.suffix.lower() in SUFFIX_FORMATS]
    frames = [] if videos else sorted(filter(os.path.isfile, frames), key=_natural)
    n_photos = len(pictures.difference(frames))
    n_others = len(set(found.files) - named - pictures - set(frames))
    left_out = LeftOut(found.n_hidden, n_photos=n_photos, n_others=n_others)
    if not videos and not frames:
        raise InputError("; ".join([f"{folder}: no videos and no pictures in it", *left_out.lines()]))
    return Footage(videos, tuple(frames), left_out)


def _natural(path: Path) -> list[tuple[int, str]]:
    """A sort key that compares numbers in a name as numbers: frame9 comes before frame10."""
    return [(int(word), "") if word.isdigit() else (-1, word) for word in re.split(r"(\d+)", path.name)]
