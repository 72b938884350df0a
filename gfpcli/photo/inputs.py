"""From the paths and URLs that the user gave to photos, each with its output; all before work starts."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path

from gfpcli.errors import EmptyInputError, InputError, UsageError
from gfpcli.files.atomic import os_errors_as
from gfpcli.files.folders import LeftOut, is_own, kind_or_none, search
from gfpcli.files.formats import FORMAT_SUFFIXES, PICTURE_SUFFIXES, SUFFIX_FORMATS, UNWRITTEN_SUFFIXES, VIDEOS
from gfpcli.files.jobs import Job, check_no_input, folded, is_file_name, resolved
from gfpcli.files.kinds import UNREAD_SUFFIXES, Kind, is_hidden, kind_of_bytes
from gfpcli.files.raw_kinds import RAW_SUFFIXES
from gfpcli.files.storage import REMOTE, is_remote, is_url, local_word, matches, place_of
from gfpcli.photo.sidecars import SIDECAR_SUFFIXES, assign_sidecars, find_sidecars, sidecar_names

STDIN = "stdin"  # the name of a picture that came by stdin
NAMED_PICTURES = {*PICTURE_SUFFIXES, *UNREAD_SUFFIXES}
# os.path instead of pathlib, which raises for a name that no file system takes and for a link that leads to itself
# ruff: noqa: PTH110, PTH112, PTH113


@dataclass(frozen=True, slots=True)
class FoundPhoto:
    """A picture among the inputs, also one of a kind that is not read, or damaged: reading it tells why."""

    path: Path
    relative: Path  # to its input
    kind: Kind | None = None  # by content; None behind a URL, where only names are looked at, and of a closed file
    sidecars: tuple[Path, ...] = ()  # XMP files beside it that have its name

    @property
    def name(self) -> str:
        """What a plan calls it."""
        return self.relative.as_posix()

    @property
    def is_unread(self) -> bool:
        """Whether pictures of its kind are not read."""
        if self.kind is None:
            return self.path.suffix.lower() in UNREAD_SUFFIXES
        return self.kind.role == "unread picture"

    @property
    def is_raw(self) -> bool:
        """Whether it is a camera raw."""
        return self.path.suffix.lower() in RAW_SUFFIXES if self.kind is None else self.kind.format == "RAW"


@dataclass(frozen=True, slots=True)
class FoundPhotos:
    """What the inputs hold."""

    photos: list[FoundPhoto]
    left_out: LeftOut = LeftOut()


def find_images(inputs: Iterable[str], output: Path | None) -> list[tuple[Path, Path]]:
    """(file, path relative to its input) of every picture of a kind that is read. Raises as `find_photos`."""
    return [(each.path, each.relative) for each in find_photos(inputs, output).photos if not each.is_unread]


def find_photos(
    inputs: Iterable[str], output: Path | None, made: Set[Path] = frozenset(), *, takes_hidden: bool = False
) -> FoundPhotos:
    """Every picture. Folders are searched with their subfolders, except `output`; a file given by name is taken.

    In local folders the content tells what a file is. One that is named like a picture and holds none, or cannot be
    opened (a dead link, a folder without permission), is listed too: reading it tells why.

    Args:
        made: outputs of earlier runs, left out where they lie among the photos.
        takes_hidden: hidden files and folders count like others.

    Raises:
        InputError: an input does not exist, or nothing was found.
    """
    inputs = list(inputs)
    found: dict[Path, FoundPhoto] = {}
    behind: dict[str, FoundPhoto] = {}  # by URL
    left_out, made_names = LeftOut(), {resolved(path) for path in made}
    for word in inputs:
        places, n_hidden = _places_of(word, takes_hidden=takes_hidden)
        left_out += LeftOut(n_hidden=n_hidden)
        for place in places:
            look = _behind if is_url(word) else _below
            held = look(place, output, made_names, takes_hidden=takes_hidden)
            left_out += held.left_out
            for photo in held.photos:
                if is_remote(photo.path):
                    behind[str(photo.path)] = photo
                else:
                    found.setdefault(photo.path, photo)
    if not found and not behind:
        raise EmptyInputError("; ".join([f"no images in {', '.join(inputs)}", *left_out.lines()]))
    return FoundPhotos([*(found[path] for path in sorted(found)), *(behind[url] for url in sorted(behind))], left_out)


def _places_of(word: str, *, takes_hidden: bool) -> tuple[list[Path], int]:
    """What a word names, without the number of hidden ones that only a wildcard matched. Raises InputError."""
    with os_errors_as(InputError, word):
        places = matches(word)
    head, tail = re.fullmatch(r"((?:[^*?[]*/)?)(.*)", word, re.DOTALL).groups()  # type: ignore[union-attr]
    if takes_hidden or not re.search(r"[*?[]", tail) or is_hidden(tail.split("/")):
        return places, 0
    n_fixed = len(place_of(head).parts) if head else 0
    shown = [place for place in places if not is_hidden(place.parts[n_fixed:])]
    return shown, len(places) - len(shown)


def _below(place: Path, output: Path | None, made: Set[str], *, takes_hidden: bool) -> FoundPhotos:
    """A local file, or the pictures of a folder. Raises InputError where nothing is there, or it cannot be opened."""
    if not os.path.isdir(place):
        if not os.path.isfile(place):
            raise InputError(f"{place}: no such file or folder")
        photo = FoundPhoto(place, Path(place.name), kind_or_none(place))
        return FoundPhotos([photo if photo.is_unread else replace(photo, sidecars=find_sidecars(place))])
    found = search(place, output, made, takes_hidden=takes_hidden)
    photos = [FoundPhoto(path, path.relative_to(place)) for path in found.closed]
    others = []
    for path in found.files:
        kind = kind_or_none(path)
        if _is_photo(path, kind):
            photos.append(FoundPhoto(path, path.relative_to(place), kind))
        else:
            others.append((path, kind is not None and kind.role == "video"))
    return _with_sidecars(photos, others, found.n_hidden)


def _behind(place: Path, output: Path | None, made: Set[str], *, takes_hidden: bool) -> FoundPhotos:
    """As `_below` for a URL, but pictures are known by their names: nothing is opened."""
    with os_errors_as(InputError, place):
        if not REMOTE.is_folder(place):
            if not REMOTE.exists(place):
                raise InputError(f"{place}: no such object or folder")
            return FoundPhotos([FoundPhoto(place, Path(place.name))])
        files = REMOTE.files(place)
    photos, others, n_hidden = [], [], 0
    for path in files:
        relative = Path(path.relative_to(place).as_posix())
        is_result = str(path) in made or output not in (None, place) and output in path.parents
        if is_result or any(map(is_own, relative.parts)):
            continue
        if not takes_hidden and is_hidden(relative.parts):
            n_hidden += 1
        elif path.suffix.lower() in NAMED_PICTURES:
            photos.append(FoundPhoto(path, relative))
        else:
            others.append((path, False))
    return _with_sidecars(photos, others, n_hidden)


def _is_photo(path: Path, kind: Kind | None) -> bool:
    """Whether a file is a job: by its content, or by its name where that cannot be a picture's (damage, dead links)."""
    if kind is not None and kind.role in ("picture", "unread picture"):
        return True
    is_there = kind is not None or os.path.isfile(path) or not os.path.exists(path)  # no pipe, which would never end
    return is_there and path.suffix.lower() in NAMED_PICTURES


def _with_sidecars(photos: list[FoundPhoto], others: list[tuple[Path, bool]], n_hidden: int) -> FoundPhotos:
    """The photos with their XMP files, which then do not count among the other files.

    Args:
        others: files that are no pictures, and whether their content is a video's.
    """
    beside = {str(path): path for path, _ in others if path.suffix in SIDECAR_SUFFIXES}
    if beside:
        photos = [photo if photo.is_unread else _with_those_beside(photo, beside) for photo in photos]
    taken = {path for each in photos for path in each.sidecars}
    n_videos = sum(is_video or path.suffix.lower() in VIDEOS for path, is_video in others)
    return FoundPhotos(photos, LeftOut(n_hidden, n_videos=n_videos, n_others=len(others) - n_videos - len(taken)))


def _with_those_beside(photo: FoundPhoto, beside: Mapping[str, Path]) -> FoundPhoto:
    names = dict.fromkeys(map(str, sidecar_names(photo.path)))
    return replace(photo, sidecars=tuple(beside[name] for name in names if name in beside))


def suffix_for(photo: FoundPhoto, wanted: str) -> str:
    """The output's suffix: `wanted`, or for `auto` the input's own where it fits the content, else the content's.

    One of a kind that is not read keeps its own: no output is made.
    """
    suffix = photo.path.suffix.lower()
    if photo.is_unread:
        return photo.path.suffix
    if wanted != "auto":
        return f".{wanted}"
    if photo.kind is None or photo.kind.role != "picture":
        return photo.path.suffix if suffix in SUFFIX_FORMATS else ".png"
    true = FORMAT_SUFFIXES[photo.kind.format]
    return photo.path.suffix if SUFFIX_FORMATS.get(suffix) == SUFFIX_FORMATS[true] else true


def plan_jobs(
    inputs: Iterable[str], output: Path, *, wanted: str, added: str, made: Set[Path] = frozenset(),
    takes_hidden: bool = False, has_sidecars: bool = True,
) -> tuple[list[Job], LeftOut]:  # fmt: skip
    """Every input with its output: in the folder `output`, or `output` itself where that is named like an image.

    Args:
        made: as for `find_photos`, as is `takes_hidden`.
        has_sidecars: whether the XMP files beside the photos are copied.

    Raises:
        InputError: as `find_photos`.
        UsageError: two inputs would become one file, an output would replace an input, or its name tells another
            format than `wanted`, or one in which no photo is written.
    """
    inputs = [local_word(word) for word in inputs]
    is_file = is_photo_name(output)
    _check_format(output, wanted, is_file=is_file)
    if is_file and (len(inputs) != 1 or not _is_one_file(inputs[0])):
        raise UsageError(f"--output {output} is a file: it takes exactly one input file")
    found = find_photos(inputs, output, made, takes_hidden=takes_hidden)
    if is_file:
        jobs = [Job(photo.path, output, sidecars=photo.sidecars, name=photo.name) for photo in found.photos]
    else:
        jobs = _jobs_of(found.photos, output, wanted, added)
    check_no_input(jobs, {photo.path for photo in found.photos if photo.is_unread})
    raws = {photo.path for photo in found.photos if photo.is_raw}
    return assign_sidecars(jobs, raws) if has_sidecars else [replace(job, sidecars=()) for job in jobs], found.left_out


def _jobs_of(photos: Sequence[FoundPhoto], output: Path, wanted: str, added: str) -> list[Job]:
    """Each with its output in a folder. A camera raw beside a photo of its name keeps its suffix: `a.NEF.jpg`."""
    jobs: dict[Path, Job] = {}
    owners: dict[str, Path] = {}
    for photo in sorted(photos, key=lambda photo: photo.is_raw):
        target = _target_of(photo, output, wanted, added)
        if photo.is_raw and folded(target) in owners:
            target = output / photo.relative.with_name(f"{photo.relative.name}{added}{target.suffix}").as_posix()
        owner = photo.path if photo.is_unread else owners.setdefault(folded(target), photo.path)
        if owner is not photo.path:
            raise UsageError(
                f"{owner} and {photo.path} would both become {target}: run them apart, or add --format or --suffix"
            )
        jobs[photo.path] = Job(photo.path, target, sidecars=photo.sidecars, name=photo.name)
    return [jobs[photo.path] for photo in photos]


def _target_of(photo: FoundPhoto, output: Path, wanted: str, added: str) -> Path:
    relative = photo.relative
    stem = relative.stem if relative.suffix.lower() in NAMED_PICTURES else relative.name
    return output / relative.with_name(f"{stem}{added}{suffix_for(photo, wanted)}").as_posix()


def plan_stdin(data: bytes, output: Path, *, wanted: str, added: str) -> Job:
    """The picture that came by stdin, with its output: `output` itself, or a file named stdin in that folder.

    Raises:
        UsageError: the output's name tells another format than `wanted`, or one in which no photo is written.
    """
    is_file = is_photo_name(output)
    _check_format(output, wanted, is_file=is_file)
    suffix = FORMAT_SUFFIXES.get(kind_of_bytes(data, STDIN).format, ".png") if wanted == "auto" else f".{wanted}"
    return Job(Path(STDIN), output if is_file else output / f"{STDIN}{added}{suffix}", data, name=STDIN)


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
