"""From the paths and URLs that the user gave to photos, each with its output; all before work starts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Set
from functools import partial
from pathlib import Path

from gfpcli.errors import InputError, UsageError
from gfpcli.files.atomic import os_errors_as
from gfpcli.files.formats import FORMAT_SUFFIXES, PICTURE_SUFFIXES, SUFFIX_FORMATS, UNWRITTEN_SUFFIXES
from gfpcli.files.jobs import Job, check_no_input, folded, is_file_name, is_same, note_closed, resolved
from gfpcli.files.kinds import kind_of_bytes, kind_of_file
from gfpcli.files.storage import REMOTE, is_remote, is_url, local_word, matches, place_of

STDIN = "stdin"  # the name of a picture that came by stdin
# os.path instead of pathlib, which raises for a name that no file system takes and for a link that leads to itself
# ruff: noqa: PTH110, PTH112, PTH113


def find_images(inputs: Iterable[str], output: Path | None, made: Set[Path] = frozenset()) -> list[tuple[Path, Path]]:
    """(file, path relative to its input) of every image. Folders are searched with their subfolders, except `output`.

    A file that is named like an image but cannot be opened is listed too (a dead link, a folder without permission):
    reading it tells why.

    Args:
        made: outputs of earlier runs, left out where they lie among the photos.

    Raises:
        InputError: an input does not exist, or nothing was found.
    """
    inputs = list(inputs)
    found: dict[Path, Path] = {}
    behind: dict[str, tuple[Path, Path]] = {}  # by URL
    for word in filter(is_url, inputs):
        behind |= {str(place): (place, relative) for place, relative in _images_behind(word, output, made)}
    for entry in (each for word in inputs if not is_url(word) for each in matches(word)):
        if os.path.isdir(entry):
            for file in _walk(entry, output, {resolved(path) for path in made}):
                found.setdefault(file, file.relative_to(entry))
        elif os.path.isfile(entry):
            found.setdefault(entry, Path(entry.name))
        else:
            raise InputError(f"{entry}: no such file or folder")
    if not found and not behind:
        raise InputError(f"no images in {', '.join(inputs)}")
    return [*sorted(found.items()), *(behind[url] for url in sorted(behind))]


def _images_behind(word: str, output: Path | None, made: Set[Path]) -> Iterator[tuple[Path, Path]]:
    """As `find_images` for a URL, but images are known by their names: nothing is opened.

    Raises:
        InputError: nothing is there, or it cannot be listed.
    """
    results = {str(path) for path in made}
    with os_errors_as(InputError, word):
        for place in matches(word):
            if REMOTE.is_folder(place):
                for file in REMOTE.files(place):
                    relative = Path(file.relative_to(place).as_posix())
                    is_hidden = any(part.startswith(".gfp-") for part in relative.parts)
                    is_ours = str(file) in results or output not in (None, place) and output in file.parents
                    if _is_named_like_image(file) and not is_hidden and not is_ours:
                        yield file, relative
            elif REMOTE.exists(place):
                yield place, Path(place.name)
            else:
                raise InputError(f"{word}: no such object or folder")


def _walk(folder: Path, output: Path | None, made: Set[str]) -> Iterator[Path]:
    closed: list[Path] = []
    for at, folders, names in os.walk(folder, onerror=partial(note_closed, folder, closed)):
        folders[:] = sorted(name for name in folders if not is_same(Path(at, name), output))
        for name in sorted(names):
            file = Path(at, name)
            is_dead = file.is_symlink() and not file.exists() and _is_named_like_image(file)
            is_image = is_dead or file.is_file() and _looks_like_image(file)
            if is_image and not name.startswith(".gfp-") and os.path.realpath(file) not in made:
                yield file
    yield from closed


def _is_named_like_image(path: Path) -> bool:
    return path.suffix.lower() in PICTURE_SUFFIXES


def _looks_like_image(path: Path) -> bool:
    return _is_named_like_image(path) or format_of(path) is not None


def format_of(file: Path | bytes) -> str | None:
    """The name of the format by content (Pillow's, or HEIF, JXL, RAW); None where it is no picture that is read."""
    try:
        kind = kind_of_bytes(file, STDIN) if isinstance(file, bytes) else kind_of_file(file)
    except OSError:
        return None  # reading it tells why
    return kind.format if kind.role == "picture" else None


def suffix_for(source: Path, wanted: str) -> str:
    """The output's suffix: `wanted`, or for `auto` the input's own where it fits the content, else the content's."""
    if wanted != "auto":
        return f".{wanted}"
    kind = None if is_remote(source) else format_of(source)
    suffix = source.suffix.lower()
    if kind is None:
        return suffix if suffix in SUFFIX_FORMATS else ".png"
    true = FORMAT_SUFFIXES[kind]
    return source.suffix if SUFFIX_FORMATS.get(suffix) == SUFFIX_FORMATS[true] else true


def plan_jobs(
    inputs: Iterable[str], output: Path, *, wanted: str, added: str, made: Set[Path] = frozenset()
) -> list[Job]:
    """Every input with its output: in the folder `output`, or `output` itself where that is named like an image.

    Args:
        made: as for `find_images`.

    Raises:
        InputError: as `find_images`.
        UsageError: two inputs would become one file, an output would replace an input, or its name tells another
            format than `wanted`, or one in which no photo is written.
    """
    inputs = [local_word(word) for word in inputs]
    is_file = is_photo_name(output)
    _check_format(output, wanted, is_file=is_file)
    if is_file and (len(inputs) != 1 or not _is_one_file(inputs[0])):
        raise UsageError(f"--output {output} is a file: it takes exactly one input file")
    jobs: list[Job] = []
    owners: dict[str, Path] = {}
    for source, relative in find_images(inputs, output, made):
        suffix = output.suffix if is_file else suffix_for(source, wanted)
        stem = relative.stem if _is_named_like_image(relative) else relative.name
        target = output if is_file else output / relative.with_name(f"{stem}{added}{suffix}").as_posix()
        owner = owners.setdefault(folded(target), source)
        if owner is not source:
            raise UsageError(
                f"{owner} and {source} would both become {target}: run them apart, or add --format or --suffix"
            )
        jobs.append(Job(source, target))
    check_no_input(jobs)
    return jobs


def plan_stdin(data: bytes, output: Path, *, wanted: str, added: str) -> Job:
    """The picture that came by stdin, with its output: `output` itself, or a file named stdin in that folder.

    Raises:
        UsageError: the output's name tells another format than `wanted`, or one in which no photo is written.
    """
    is_file = is_photo_name(output)
    _check_format(output, wanted, is_file=is_file)
    suffix = FORMAT_SUFFIXES.get(format_of(data) or "", ".png") if wanted == "auto" else f".{wanted}"
    return Job(Path(STDIN), output if is_file else output / f"{STDIN}{added}{suffix}", data)


def is_photo_name(output: Path) -> bool:
    """Whether `--output` names one photo, and is no folder.

    Raises:
        UsageError: it names a picture or a video of a kind in which no photo is written.
        OutputError: it cannot be looked at.
    """
    if is_file_name(output, UNWRITTEN_SUFFIXES):
        suffixes = ", ".join(SUFFIX_FORMATS)
        raise UsageError(f"--output {output}: photos are not written as {output.suffix}: choose one of {suffixes}")
    return is_file_name(output, SUFFIX_FORMATS)


def _check_format(output: Path, wanted: str, *, is_file: bool) -> None:
    if is_file and wanted != "auto" and SUFFIX_FORMATS[output.suffix.lower()] != SUFFIX_FORMATS[f".{wanted}"]:
        raise UsageError(f"--output {output} is not named like --format {wanted}: leave one of them out")


def _is_one_file(word: str) -> bool:
    """Raises InputError."""
    with os_errors_as(InputError, word):
        return not REMOTE.is_folder(place_of(word)) if is_url(word) else Path(word).is_file()
