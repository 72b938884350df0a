"""What the user named, as files to read and files to write; all of it known before work starts."""

from __future__ import annotations

import glob
import os
import re
import unicodedata
import warnings
from collections.abc import Container, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from PIL import Image as Pillow

from gfpcli.errors import InputError, OutputError, UsageError
from gfpcli.places import exists, files_behind, is_folder, is_remote, is_url, local_word, matches_behind, place_of

SUFFIX_FORMATS = {
    ".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF", ".bmp": "BMP",
}  # fmt: skip
FORMAT_SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "TIFF": ".tif", "BMP": ".bmp", "MPO": ".jpg"}
OTHER_SUFFIXES = (".gif",)  # read, written as PNG
# what is read at all: photo formats with a sure signature. Others of Pillow's start programs (EPS) or take any bytes
# for a picture (TGA)
READ_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "JPEG2000", "AVIF")
CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}  # ffmpeg's names
OTHER_VIDEOS = (
    ".avi", ".mpg", ".mpeg", ".m2v", ".vob", ".ts", ".m2ts", ".mts", ".wmv", ".asf", ".flv", ".3gp", ".ogv", ".mxf",
    ".dv", ".gif",
)  # fmt: skip  # read, written as .mp4
VIDEOS = (*CONTAINERS, *OTHER_VIDEOS)


# os.path instead of pathlib, which raises for a name that no file system takes and for a link that leads to itself
# ruff: noqa: PTH110, PTH112, PTH113


@dataclass(frozen=True, slots=True)
class Job:
    """One input and where its result goes."""

    source: Path
    target: Path


def find_images(inputs: Iterable[str], output: Path | None, made: Set[Path] = frozenset()) -> list[tuple[Path, Path]]:
    """(file, path relative to its input) of every image; folders are searched whole, but not `output` inside them.

    What is named like an image and cannot be opened (a dead link, a closed folder) is among them: reading says why.

    Args:
        made: files that are results of an earlier run, left out where they lie among the photos.

    Raises:
        InputError: an input does not exist, or nothing was found.
    """
    inputs = list(inputs)
    found: dict[Path, Path] = {}
    behind: dict[str, tuple[Path, Path]] = {}  # by URL
    for word in filter(is_url, inputs):
        behind |= {str(place): (place, relative) for place, relative in _images_behind(word, output, made)}
    for entry in (Path(each) for word in inputs if not is_url(word) for each in _expand(word)):
        if os.path.isdir(entry):
            for file in _walk(entry, output, {_real(path) for path in made}):
                found.setdefault(file, file.relative_to(entry))
        elif os.path.isfile(entry):
            found.setdefault(entry, Path(entry.name))
        else:
            raise InputError(f"{entry}: no such file or folder")
    if not found and not behind:
        raise InputError(f"no images in {', '.join(inputs)}")
    return [*sorted(found.items()), *(behind[url] for url in sorted(behind))]


def _images_behind(word: str, output: Path | None, made: Set[Path]) -> Iterator[tuple[Path, Path]]:
    """As `find_images`, of a URL. What is named like an image counts as one: nothing is opened.

    Raises:
        InputError: nothing is there, or it cannot be listed.
    """
    results = {str(path) for path in made}
    try:
        for place in matches_behind(word):
            if is_folder(place):
                for file in files_behind(place):
                    relative = Path(file.relative_to(place).as_posix())
                    is_hidden = any(part.startswith(".gfp-") for part in relative.parts)
                    is_ours = str(file) in results or output not in (None, place) and output in file.parents
                    if _is_named_like_image(file) and not is_hidden and not is_ours:
                        yield file, relative
            elif exists(place):
                yield place, Path(place.name)
            else:
                raise InputError(f"{word}: no such object or folder")
    except OSError as error:
        raise InputError(f"{word}: {error.strerror or error}") from error


def _expand(word: str) -> list[str]:
    if glob.has_magic(word) and not os.path.lexists(Path(word)):
        return sorted(glob.glob(word, recursive=True)) or [word]  # noqa: PTH207  (Path.glob takes no absolute pattern)
    return [word]


def _walk(folder: Path, output: Path | None, made: Set[str]) -> Iterator[Path]:
    closed: list[Path] = []
    for at, folders, names in os.walk(folder, onerror=partial(_note_closed, folder, closed)):
        folders[:] = sorted(name for name in folders if not _is_same(Path(at, name), output))
        for name in sorted(names):
            file = Path(at, name)
            is_dead = file.is_symlink() and not file.exists() and _is_named_like_image(file)
            is_image = is_dead or file.is_file() and _looks_like_image(file)
            if is_image and not name.startswith(".gfp-") and os.path.realpath(file) not in made:
                yield file
    yield from closed


def _note_closed(entry: Path, closed: list[Path], error: OSError) -> None:
    """Notes a folder that cannot be opened. Raises InputError where it is the input itself."""
    if Path(error.filename) == entry:
        raise InputError(f"{entry}: {error.strerror or error}") from error
    closed.append(Path(error.filename))


def _is_same(path: Path, other: Path | None) -> bool:
    """Whether both are one folder, be it by a link, a mount or other letters' case."""
    if other is None or is_remote(other):
        return False
    try:
        return path.samefile(other)
    except OSError:  # not made yet
        return os.path.realpath(path) == os.path.realpath(other)


def _is_named_like_image(path: Path) -> bool:
    return path.suffix.lower() in (*SUFFIX_FORMATS, *OTHER_SUFFIXES)


def _looks_like_image(path: Path) -> bool:
    return _is_named_like_image(path) or format_of(path) is not None


def format_of(path: Path) -> str | None:
    """Pillow's name of the format by content; None where it is no image."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Pillow.open(path, formats=READ_FORMATS) as picture:
                return picture.format
    except Exception:
        return None  # a note, a sidecar, a broken file: reading it will say why


def suffix_for(source: Path, wanted: str) -> str:
    """The output's suffix: `wanted`, else the input's own where it tells its content's format, else that format's."""
    if wanted != "auto":
        return f".{wanted}"
    kind = None if is_remote(source) else format_of(source)
    suffix = source.suffix.lower()
    if kind is None:
        return suffix if suffix in SUFFIX_FORMATS else ".png"
    true = FORMAT_SUFFIXES.get(kind, ".png")
    return source.suffix if SUFFIX_FORMATS.get(suffix) == SUFFIX_FORMATS[true] else true


def is_file_name(output: Path, suffixes: Container[str]) -> bool:
    """Whether `--output` names one file: it has such a suffix and is no folder. Raises OutputError."""
    try:
        return output.suffix.lower() in suffixes and not is_folder(output)
    except OSError as error:
        raise OutputError(f"{output}: {error.strerror or error}") from error


def plan_jobs(
    inputs: Iterable[str], output: Path, *, wanted: str, added: str, made: Set[Path] = frozenset()
) -> list[Job]:
    """Every input with its output. `output` is a file where it has an image's suffix and there is one input file.

    Args:
        made: as for `find_images`.

    Raises:
        InputError: as `find_images`.
        UsageError: two inputs would become one file, or an output would replace an input.
    """
    inputs = [local_word(word) for word in inputs]
    is_file = is_file_name(output, SUFFIX_FORMATS)
    if is_file and (len(inputs) != 1 or not _is_one_file(inputs[0])):
        raise UsageError(f"--output {output} is a file: it takes exactly one input file")
    jobs: list[Job] = []
    owners: dict[str, Path] = {}
    for source, relative in find_images(inputs, output, made):
        suffix = output.suffix if is_file else suffix_for(source, wanted)
        stem = relative.stem if _is_named_like_image(relative) else relative.name
        target = output if is_file else output / relative.with_name(f"{stem}{added}{suffix}").as_posix()
        owner = owners.setdefault(_folded(target), source)
        if owner is not source:
            raise UsageError(
                f"{owner} and {source} would both become {target}: run them apart, or add --format or --suffix"
            )
        jobs.append(Job(source, target))
    _check_no_input(jobs)
    return jobs


def _is_one_file(word: str) -> bool:
    """Raises InputError."""
    try:
        return not is_folder(place_of(word)) if is_url(word) else Path(word).is_file()
    except OSError as error:
        raise InputError(f"{word}: {error.strerror or error}") from error


def _folded(path: Path) -> str:
    """What a file system that knows no case, or one way only to write an accent, makes of a name."""
    return unicodedata.normalize("NFC", str(path)).casefold()


def _check_no_input(jobs: Sequence[Job | VideoJob]) -> None:
    """Raises UsageError where an output is an input, be it by a link, a mount or other letters' case."""
    sources = {_real(job.source) for job in jobs}
    files = {_identity(job.source) for job in jobs} - {None}
    for job in jobs:
        if _real(job.target) in sources or _identity(job.target) in files:
            raise UsageError(f"{job.target} is an input: choose another --output or a --suffix")


def _real(path: Path) -> str:
    return str(path) if is_remote(path) else os.path.realpath(path)


def _identity(path: Path) -> tuple[int, int] | None:
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


def plan_videos(inputs: Iterable[str], output: Path, *, added: str, made: Set[Path] = frozenset()) -> list[VideoJob]:
    """Every clip with its output. A folder is searched whole for videos; one of pictures only is itself a clip.

    Args:
        made: as for `find_images`.

    Raises:
        InputError: an input does not exist, or holds nothing.
        UsageError: two inputs would become one file, or an output would replace an input.
    """
    found: dict[Path, tuple[Path, tuple[Path, ...]]] = {}
    words = list(inputs)
    for entry in (Path(each) for word in words for each in _expand(word)):
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
    if is_file and len(found) != 1:
        raise UsageError(f"--output {output} is a file: it takes exactly one input")
    jobs = [
        VideoJob(source, output if is_file else output / _video_name(relative, added), pictures)
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
        owner = owners.setdefault(_folded(job.target), job.source)
        if owner is not job.source:
            raise UsageError(f"{owner} and {job.source} would both become {job.target}: run them apart")
    _check_no_input(jobs)


def _videos_in(folder: Path, output: Path, made: Set[str]) -> list[Path]:
    """What is named like a video, a dead link too, and folders that cannot be opened: reading says why."""
    found: list[Path] = []
    closed: list[Path] = []
    for at, folders, names in os.walk(folder, onerror=partial(_note_closed, folder, closed)):
        folders[:] = sorted(
            name for name in folders if not _is_same(Path(at, name), output) and not name.endswith(".gfp")
        )
        files = (Path(at, name) for name in sorted(names))
        found += [file for file in files if file.suffix.lower() in VIDEOS and os.path.realpath(file) not in made]
    return found + closed


def _is_picture(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in SUFFIX_FORMATS


def _natural(path: Path) -> list[tuple[int, str]]:
    """By the numbers in a name: frame9 comes before frame10."""
    return [(int(word), "") if word.isdigit() else (-1, word) for word in re.split(r"(\d+)", path.name)]
