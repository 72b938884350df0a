"""From the paths that the user gave to clips, each with its output; all before work starts."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Set
from functools import partial
from pathlib import Path

from gfpcli.errors import InputError, UsageError
from gfpcli.files.formats import CONTAINERS, PICTURE_SUFFIXES, SUFFIX_FORMATS, VIDEOS
from gfpcli.files.jobs import VideoJob, check_no_input, folded, is_file_name, is_same, note_closed
from gfpcli.files.storage import matches

OTHER_SUFFIXES = (".apng", ".avif", ".hevc", ".h264", ".h265", ".m2p", ".mjpeg", ".mp3", ".mxf", ".nut", ".ogg", ".rm")

# os.path instead of pathlib, which raises for a name that no file system takes and for a link that leads to itself
# ruff: noqa: PTH110, PTH112, PTH113


def plan_videos(inputs: Iterable[str], output: Path, *, added: str, made: Set[Path] = frozenset()) -> list[VideoJob]:
    """Every clip with its output. Folders are searched with their subfolders; one that holds only pictures is a clip.

    Args:
        made: as for `find_images`.

    Raises:
        InputError: an input does not exist, or holds nothing.
        UsageError: two inputs would become one file, or an output would replace an input.
    """
    found: dict[Path, tuple[Path, tuple[Path, ...]]] = {}
    words = list(inputs)
    for entry in (each for word in words for each in matches(word)):
        if os.path.isdir(entry):
            videos = _videos_in(entry, output, {os.path.realpath(path) for path in made})
            pictures = [] if videos else sorted((f for f in entry.iterdir() if _is_picture(f)), key=_natural)
            if not videos and not pictures:
                raise InputError(f"{entry}: no videos and no pictures in it")
            found |= {file: (file.relative_to(entry), ()) for file in videos}
            found |= {entry: (Path(f"{entry.resolve().name}.mp4"), tuple(pictures))} if pictures else {}
        elif os.path.exists(entry):
            found[entry] = Path(entry.name), ()
        else:
            raise InputError(f"{entry}: no such file or folder")
    is_file = is_file_name(output, CONTAINERS)
    if not is_file and is_file_name(output, (*VIDEOS, *PICTURE_SUFFIXES, *OTHER_SUFFIXES)):
        raise UsageError(f"--output {output}: gfp video writes {', '.join(CONTAINERS)}, or into a folder")
    if is_file and len(found) != 1:
        raise UsageError(f"--output {output} is a file: it takes exactly one input")
    jobs = [
        VideoJob(source, output if is_file else output / _video_name(relative, added), pictures=pictures)
        for source, (relative, pictures) in found.items()
    ]
    _check_apart(jobs)
    return jobs


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


def _videos_in(folder: Path, output: Path, made: Set[str]) -> list[Path]:
    """Files that are named like a video, dead links too, and folders that cannot be opened: reading them tells why."""
    found: list[Path] = []
    closed: list[Path] = []
    for at, folders, names in os.walk(folder, onerror=partial(note_closed, folder, closed)):
        folders[:] = sorted(
            name for name in folders if not is_same(Path(at, name), output) and not name.endswith(".gfp")
        )
        files = (Path(at, name) for name in sorted(names))
        found += [file for file in files if file.suffix.lower() in VIDEOS and os.path.realpath(file) not in made]
    return found + closed


def _is_picture(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in SUFFIX_FORMATS


def _natural(path: Path) -> list[tuple[int, str]]:
    """A sort key that compares numbers in a name as numbers: frame9 comes before frame10."""
    return [(int(word), "") if word.isdigit() else (-1, word) for word in re.split(r"(\d+)", path.name)]
