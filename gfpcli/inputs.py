"""What the user named, as files to read and files to write; all of it known before work starts."""

from __future__ import annotations

import glob
import os
import re
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image as Pillow

from gfpcli.errors import InputError, UsageError

SUFFIX_FORMATS = {
    ".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF", ".bmp": "BMP",
}  # fmt: skip
FORMAT_SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "TIFF": ".tif", "BMP": ".bmp", "MPO": ".jpg"}
OTHER_SUFFIXES = (".gif",)  # read, written as PNG
# what is read at all: photo formats with a sure signature. Others of Pillow's start programs (EPS) or take any bytes for
# a picture (TGA)
READ_FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "JPEG2000", "AVIF")
CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}  # ffmpeg's names
OTHER_VIDEOS = (
    ".avi", ".mpg", ".mpeg", ".m2v", ".vob", ".ts", ".m2ts", ".mts", ".wmv", ".asf", ".flv", ".3gp", ".ogv", ".mxf",
    ".dv", ".gif",
)  # fmt: skip  # read, written as .mp4


@dataclass(frozen=True, slots=True)
class Job:
    """One input and where its result goes."""

    source: Path
    target: Path


def find_images(inputs: Iterable[str], output: Path | None) -> list[tuple[Path, Path]]:
    """(file, path relative to its input) of every image; folders are searched whole, but not `output` inside them.

    Raises:
        InputError: an input does not exist, or nothing was found.
    """
    inputs = list(inputs)
    found: dict[Path, Path] = {}
    for entry in (Path(each) for word in inputs for each in _expand(word)):
        if entry.is_dir():
            for file in _walk(entry, output and output.resolve()):
                found.setdefault(file, file.relative_to(entry))
        elif entry.is_file():
            found.setdefault(entry, Path(entry.name))
        else:
            raise InputError(f"{entry}: no such file or folder")
    if not found:
        raise InputError(f"no images in {', '.join(inputs)}")
    return sorted(found.items())


def _expand(word: str) -> list[str]:
    if glob.has_magic(word) and not Path(word).exists():
        return sorted(glob.glob(word, recursive=True)) or [word]  # noqa: PTH207  (Path.glob takes no absolute pattern)
    return [word]


def _walk(folder: Path, output: Path | None) -> Iterator[Path]:
    for at, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if Path(at, name).resolve() != output)
        for name in sorted(names):
            file = Path(at, name)
            if not name.startswith(".gfp-") and file.is_file() and _looks_like_image(file):
                yield file


def _looks_like_image(path: Path) -> bool:
    return path.suffix.lower() in (*SUFFIX_FORMATS, *OTHER_SUFFIXES) or format_of(path) is not None


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
    kind = format_of(source)
    suffix = source.suffix.lower()
    if kind is None:
        return suffix if suffix in SUFFIX_FORMATS else ".png"
    true = FORMAT_SUFFIXES.get(kind, ".png")
    return source.suffix if SUFFIX_FORMATS.get(suffix) == SUFFIX_FORMATS[true] else true


def plan_jobs(inputs: Iterable[str], output: Path, *, wanted: str, added: str) -> list[Job]:
    """Every input with its output. `output` is a file where it has an image's suffix and there is one input file.

    Raises:
        InputError: as `find_images`.
        UsageError: two inputs would become one file, or an output would replace an input.
    """
    inputs = list(inputs)
    is_file = output.suffix.lower() in SUFFIX_FORMATS and not output.is_dir()
    if is_file and (len(inputs) != 1 or not Path(inputs[0]).is_file()):
        raise UsageError(f"--output {output} is a file: it takes exactly one input file")
    jobs: list[Job] = []
    owners: dict[str, Path] = {}
    for source, relative in find_images(inputs, output):
        suffix = output.suffix if is_file else suffix_for(source, wanted)
        stem = relative.stem if relative.suffix.lower() in (*SUFFIX_FORMATS, *OTHER_SUFFIXES) else relative.name
        target = output if is_file else output / relative.with_name(f"{stem}{added}{suffix}")
        owner = owners.setdefault(str(target).casefold(), source)
        if owner is not source:
            raise UsageError(
                f"{owner} and {source} would both become {target}: run them apart, or add --format or --suffix"
            )
        jobs.append(Job(source, target))
    sources = {job.source.resolve() for job in jobs}
    for job in jobs:
        if job.target.resolve() in sources:
            raise UsageError(f"{job.target} is an input: choose another --output or a --suffix")
    return jobs


@dataclass(frozen=True, slots=True)
class VideoJob:
    """One clip and where its result goes."""

    source: Path
    target: Path
    pictures: tuple[Path, ...] = ()  # the frames, where the source is a folder of them


def plan_videos(inputs: Iterable[str], output: Path, *, added: str) -> list[VideoJob]:
    """Every clip with its output. A folder is searched whole for videos; one of pictures only is itself a clip.

    Raises:
        InputError: an input does not exist, or holds nothing.
        UsageError: two inputs would become one file, or an output would replace an input.
    """
    found: dict[Path, tuple[Path, tuple[Path, ...]]] = {}
    words = list(inputs)
    for entry in (Path(each) for word in words for each in _expand(word)):
        if entry.is_dir():
            videos = [file for file in _files(entry, output) if file.suffix.lower() in (*CONTAINERS, *OTHER_VIDEOS)]
            pictures = [] if videos else sorted((f for f in entry.iterdir() if _is_picture(f)), key=_natural)
            if not videos and not pictures:
                raise InputError(f"{entry}: no videos and no pictures in it")
            found |= {file: (file.relative_to(entry), ()) for file in videos}
            found |= {entry: (Path(f"{entry.resolve().name}.mp4"), tuple(pictures))} if pictures else {}
        elif entry.exists():
            found[entry] = Path(entry.name), ()
        else:
            raise InputError(f"{entry}: no such file or folder")
    is_file = output.suffix.lower() in CONTAINERS and not output.is_dir()
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
    sources = {job.source.resolve() for job in jobs}
    for job in jobs:
        owner = owners.setdefault(str(job.target).casefold(), job.source)
        if owner is not job.source:
            raise UsageError(f"{owner} and {job.source} would both become {job.target}: run them apart")
        if job.target.resolve() in sources:
            raise UsageError(f"{job.target} is an input: choose another --output or a --suffix")


def _files(folder: Path, output: Path) -> Iterator[Path]:
    for at, folders, names in os.walk(folder):
        folders[:] = sorted(
            name for name in folders if Path(at, name).resolve() != output.resolve() and not name.endswith(".gfp")
        )
        yield from (Path(at, name) for name in sorted(names))


def _is_picture(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in SUFFIX_FORMATS


def _natural(path: Path) -> list[tuple[int, str]]:
    """By the numbers in a name: frame9 comes before frame10."""
    return [(int(word), "") if word.isdigit() else (-1, word) for word in re.split(r"(\d+)", path.name)]
