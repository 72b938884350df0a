"""Where files are: on this machine, or behind a URL that fsspec knows (s3://, gs://, memory://).

A place is a `Path`, or a `UPath` that is used as one (universal_pathlib): its names are told apart and joined in the
same way; what differs in reading and writing is here.
"""

from __future__ import annotations

import glob
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote, urlsplit

from gfpcli.errors import UsageError

SCHEME = re.compile(r"[a-z][a-z0-9+.-]+://", re.I)
# os.path instead of pathlib, which raises for a name that no file system takes
# ruff: noqa: PTH110, PTH112, PTH113


def is_url(word: str) -> bool:
    """Whether a word that the user gave is a URL; no local path looks like one."""
    return SCHEME.match(word) is not None


def local_word(word: str) -> str:
    """A `file://` URL as the path it names, anything else as it is."""
    return str(place_of(word)) if word.lower().startswith(("file://", "local://")) else word


def place_of(word: str) -> Path:
    """The place that a path or URL names; `file://` is a local path. Nothing is opened.

    Raises:
        UsageError: a kind of URL that is not known or needs a package, or one with a password in it.
    """
    if not is_url(word):
        return Path(word)
    parts = urlsplit(word)
    if parts.scheme.lower() in ("file", "local"):
        return Path(unquote(parts.path))
    if parts.password:
        raise UsageError(f"{parts.scheme}://...@{parts.hostname}: give passwords by the environment, not in the URL")
    from upath import UPath

    try:
        place = UPath(word)
        _ = place.fs
    except ImportError as error:
        raise UsageError(f"{word}: {error} (pip install)") from error
    except ValueError as error:
        raise UsageError(f"{word}: not a kind of URL that fsspec knows ({error})") from error
    except Exception as error:  # each kind has its own, for instance without credentials
        raise UsageError(f"{word}: {_line_of(error)}") from error
    return cast(Path, place)


def is_remote(place: Path) -> bool:
    """Whether it is behind a URL."""
    return not isinstance(place, Path)


@contextmanager
def os_errors() -> Iterator[None]:
    """Turns what the clients of object stores raise into OSError, which is what files raise."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise OSError(_line_of(error)) from error


def _line_of(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


def exists(place: Path) -> bool:
    """Whether anything is there, be it a dead link. Raises OSError where a store does not answer."""
    if not is_remote(place):
        return os.path.lexists(place)
    with os_errors():
        return bool(_fs(place).exists(_key(place)))


def is_folder(place: Path) -> bool:
    """Whether a folder is there. Raises OSError where a store does not answer."""
    if not is_remote(place):
        return os.path.isdir(place)
    with os_errors():
        return bool(_fs(place).isdir(_key(place)))


def size_behind(place: Path) -> int:
    """Bytes of an object. Raises OSError, also where it is none."""
    with os_errors():
        facts = _fs(place).info(_key(place))
        if facts["type"] != "file":
            raise FileNotFoundError(f"{place}: not a file")
        return int(facts["size"])


def read_behind(place: Path) -> bytes:
    """An object's bytes. Raises OSError."""
    with os_errors():
        return cast(bytes, _fs(place).cat_file(_key(place)))


def write_behind(place: Path, data: bytes) -> None:
    """Makes or replaces an object, which is there whole or not at all. Raises OSError."""
    with os_errors():
        _fs(place).pipe_file(_key(place), data)


def move_behind(place: Path, target: Path) -> None:
    """Renames an object, which its store copies. Raises OSError."""
    with os_errors():
        _fs(place).cp_file(_key(place), _key(target))
        _fs(place).rm_file(_key(place))


def remove_behind(places: Iterable[Path]) -> None:
    """Removes objects, as far as that can be done."""
    for place in places:
        with suppress(OSError), os_errors():
            _fs(place).rm_file(_key(place))


def beside(place: Path, prefix: str, suffix: str) -> Path:
    """A name in the same folder that nobody has."""
    return place.with_name(f"{prefix}{secrets.token_hex(8)}{suffix}")


def files_behind(folder: Path) -> list[Path]:
    """Every object under a folder, in one listing, in the order of their names. Raises OSError."""
    with os_errors():
        found = _fs(folder).find(_key(folder))
    start = len(_key(folder).rstrip("/")) + 1
    return [folder / path[start:] for path in sorted(found)]


def matches_behind(word: str) -> list[Path]:
    """The objects and folders that a URL names, which may hold `*`. Raises OSError and UsageError."""
    if not glob.has_magic(word.partition("://")[2]):
        return [place_of(word)]
    head = re.split(r"[*?\[]", word, maxsplit=1)[0].rpartition("/")[0]  # the folder above the first sign of a pattern
    folder = place_of(head)
    with os_errors():
        found = _fs(folder).glob(_key(folder).rstrip("/") + word[len(head) :])
    start = len(_key(folder).rstrip("/")) + 1
    return [folder / path[start:] for path in sorted(found)]


def _fs(place: Path) -> Any:
    return cast(Any, place).fs


def _key(place: Path) -> str:
    return str(cast(Any, place).path)
