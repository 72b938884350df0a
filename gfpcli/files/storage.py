"""Where files are: on this machine, or behind a URL that fsspec knows (s3://, gs://, memory://).

A place is a `Path`, or a `UPath` that is used as one (universal_pathlib): names are told apart and joined in the same
way. What differs in reading and writing is in the two stores; `store_of` gives the one that a place belongs to.
Writing is for `atomic.py` only.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import os
import re
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, cast
from urllib.parse import unquote, urlsplit

from filelock import FileLock

from gfpcli.errors import UsageError, os_reason

SCHEME = re.compile(r"[a-z][a-z0-9+.-]+://", re.I)
PERMISSIONS = 0o777  # without the bits that make a program run as another user
LINES = 200  # of a journal in one object
NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EACCES)  # file systems without it, folders that may not be read
# os.path instead of pathlib, which raises for a name that no file system takes
# ruff: noqa: PTH110, PTH112


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What a file system keeps of a file besides its name and content."""

    mode: int | None = None  # permission bits; None for those that the system gives new files
    times_ns: tuple[int, int] | None = None  # last access and last change, since 1970; None for now


NEW_FILE = FileFacts()


class Journal(Protocol):
    """Lines that are only ever added to. Both methods raise OSError."""

    def read(self) -> list[str]:
        """All lines; the last one is incomplete where a crash cut it short."""

    def append(self, line: str) -> None:
        """Adds a line, which is on the disk when this returns."""


class Store(Protocol):
    """What can be done with a place. Methods raise OSError unless they say otherwise."""

    def exists(self, place: Path) -> bool:
        """Whether anything is there, be it a dead link."""

    def is_folder(self, place: Path) -> bool:
        """Whether a folder is there."""

    def size(self, place: Path) -> int:
        """Bytes of a file; OSError where something else is there."""

    def read(self, place: Path) -> bytes:
        """A file's content."""

    def sha256(self, place: Path) -> str:
        """Hex digest of a file's content."""

    def matches(self, word: str) -> list[Path]:
        """The files and folders that a path or URL names, which may hold `*`; it may name what is not there."""

    def reserve(self, target: Path, prefix: str, suffix: str) -> Path:
        """A place in the target's folder that nobody else has. The folder is made."""

    def facts(self, place: Path) -> FileFacts:
        """Permissions and dates of a file, as far as the store has such."""

    def set_times(self, place: Path, times_ns: tuple[int, int]) -> None:
        """Gives a file these dates of last access and last change, where the store has such."""

    def write(self, place: Path, chunks: Iterable[bytes], facts: FileFacts = NEW_FILE) -> None:
        """Makes or replaces a file, which is on the disk when this returns. Nobody reads it who may not by `facts`."""

    def replace(self, place: Path, target: Path) -> None:
        """Gives a file another name, which is on the disk when this returns."""

    def remove(self, place: Path) -> None:
        """Removes a file or a local folder, as far as that can be done; raises nothing."""

    def sweep(self, folder: Path, pattern: str) -> None:
        """Removes what a killed run left in a folder, by names, as far as that can be done; raises nothing."""

    def hold(self, lock: Path, *, is_patient: bool) -> AbstractContextManager[None]:
        """A context in which no other run holds `lock`. Raises filelock.Timeout where one does and we do not wait."""

    def journal(self, path: Path) -> Journal:
        """The journal of that name. Nothing is opened."""

    def identity(self, place: Path) -> tuple[int, int] | None:
        """What hard links to one file and mounts of one folder have in common; None where it cannot be known."""

    def resolve(self, place: Path) -> str:
        """The place without links, as text. Raises nothing."""


class LocalStore:
    """The file systems of this machine."""

    def exists(self, place: Path) -> bool:
        return os.path.lexists(place)

    def is_folder(self, place: Path) -> bool:
        return os.path.isdir(place)

    def size(self, place: Path) -> int:
        facts = place.stat()
        if not stat.S_ISREG(facts.st_mode):
            raise OSError("not a file that can be opened")
        return facts.st_size

    def read(self, place: Path) -> bytes:
        return place.read_bytes()

    def sha256(self, place: Path) -> str:
        with place.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def matches(self, word: str) -> list[Path]:
        if glob.has_magic(word) and not os.path.lexists(word):
            found = sorted(glob.glob(word, recursive=True))  # noqa: PTH207  (Path.glob takes no absolute pattern)
            return [Path(each) for each in found or [word]]
        return [Path(word)]

    def reserve(self, target: Path, prefix: str, suffix: str) -> Path:
        _make_folder(target.parent)
        handle, name = tempfile.mkstemp(prefix=prefix, suffix=suffix, dir=target.parent)  # for its owner only
        os.close(handle)
        return Path(name)

    def facts(self, place: Path) -> FileFacts:
        facts = place.stat()
        return FileFacts(facts.st_mode & PERMISSIONS, (facts.st_atime_ns, facts.st_mtime_ns))

    def set_times(self, place: Path, times_ns: tuple[int, int]) -> None:
        os.utime(place, ns=times_ns)

    def write(self, place: Path, chunks: Iterable[bytes], facts: FileFacts = NEW_FILE) -> None:
        with place.open("wb") as file:
            file.writelines(chunks)
        self.finish(place, facts)

    def finish(self, place: Path, facts: FileFacts = NEW_FILE) -> None:
        """Brings a file to the disk, and gives it its permissions and dates: a name must not outlive its content."""
        with place.open("rb+") as file:
            os.fsync(file.fileno())
        if facts.times_ns:
            self.set_times(place, facts.times_ns)
        place.chmod(0o666 & ~_umask() if facts.mode is None else facts.mode)

    def replace(self, place: Path, target: Path) -> None:
        place.replace(target)
        _sync_folder(target.parent)

    def remove(self, place: Path) -> None:
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place, ignore_errors=True)
            return
        with suppress(OSError):
            place.unlink()

    def sweep(self, folder: Path, pattern: str) -> None:
        for place in folder.glob(pattern):
            self.remove(place)

    @contextmanager
    def hold(self, lock: Path, *, is_patient: bool) -> Iterator[None]:
        own = FileLock(lock, timeout=-1 if is_patient else 0, thread_local=False)
        lock.parent.mkdir(parents=True, exist_ok=True)
        own.acquire()
        try:
            yield
        finally:
            with suppress(OSError):  # while it is held: whoever waits on this file finds it gone and makes a new one
                lock.unlink()
            own.release()

    def journal(self, path: Path) -> Journal:
        return _FileJournal(path)

    def identity(self, place: Path) -> tuple[int, int] | None:
        try:
            facts = place.stat()
        except OSError:
            return None
        return facts.st_dev, facts.st_ino

    def resolve(self, place: Path) -> str:
        return os.path.realpath(place)


class StoreError(OSError):
    """A store behind a URL did not do what it was asked: nobody knows what is there."""


class RemoteStore:
    """What fsspec reaches. An object is there whole or not at all; there are no links, and nothing can be locked.

    All that its clients raise becomes StoreError, except FileNotFoundError.
    """

    def exists(self, place: Path) -> bool:
        return bool(_ask(place, "exists"))

    def is_folder(self, place: Path) -> bool:
        return bool(_ask(place, "isdir"))

    def size(self, place: Path) -> int:
        facts = _ask(place, "info")
        if facts["type"] != "file":
            raise OSError("not a file that can be opened")
        return int(facts["size"])

    def read(self, place: Path) -> bytes:
        return cast(bytes, _ask(place, "cat_file"))

    def sha256(self, place: Path) -> str:
        return hashlib.sha256(self.read(place)).hexdigest()

    def files(self, folder: Path) -> list[Path]:
        """Every object under a folder, in one listing, in the order of their names."""
        return _named_under(folder, _ask(folder, "find"))

    def matches(self, word: str) -> list[Path]:
        if not glob.has_magic(word.partition("://")[2]):
            return [place_of(word)]
        head = re.split(r"[*?\[]", word, maxsplit=1)[0].rpartition("/")[0]  # the folder above the first wildcard
        folder = place_of(head)
        return _named_under(folder, _ask(folder, "glob", _key(folder).rstrip("/") + word[len(head) :]))

    def reserve(self, target: Path, prefix: str, suffix: str) -> Path:
        return target.with_name(f"{prefix}{secrets.token_hex(8)}{suffix}")

    def facts(self, place: Path) -> FileFacts:
        return NEW_FILE

    def set_times(self, place: Path, times_ns: tuple[int, int]) -> None:
        """Objects have the date of their upload only."""

    def write(self, place: Path, chunks: Iterable[bytes], facts: FileFacts = NEW_FILE) -> None:
        _ask(place, "pipe_file", _key(place), b"".join(chunks))

    def replace(self, place: Path, target: Path) -> None:
        _ask(place, "cp_file", _key(place), _key(target))  # no store renames
        _ask(place, "rm_file")

    def remove(self, place: Path) -> None:
        with suppress(OSError):
            _ask(place, "rm_file")

    def sweep(self, folder: Path, pattern: str) -> None:
        """Folders inside it too: they all come in one listing."""
        with suppress(OSError):
            for place in self.files(folder):
                if fnmatch(place.name, pattern):
                    self.remove(place)

    @contextmanager
    def hold(self, lock: Path, *, is_patient: bool) -> Iterator[None]:
        yield

    def journal(self, path: Path) -> Journal:
        return _ObjectJournal(self, path.with_name(path.stem))

    def identity(self, place: Path) -> tuple[int, int] | None:
        return None

    def resolve(self, place: Path) -> str:
        return str(place)


LOCAL = LocalStore()
REMOTE = RemoteStore()


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
        raise UsageError(f"{word}: {os_reason(error)[:300]}") from error
    return cast(Path, place)


def is_remote(place: Path) -> bool:
    """Whether it is behind a URL."""
    return not isinstance(place, Path)


def store_of(place: Path) -> Store:
    """The store that a place belongs to."""
    return REMOTE if is_remote(place) else LOCAL


def matches(word: str) -> list[Path]:
    """What a path or URL names, which may hold `*`. Raises OSError and UsageError, for URLs only."""
    return (REMOTE if is_url(word) else LOCAL).matches(word)


class _FileJournal:
    """Lines in a local file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> list[str]:
        if self._path.is_symlink():
            raise OSError("is a link; remove it, nothing is written through it")
        return self._path.read_bytes().decode("utf-8", "replace").split("\n") if self._path.exists() else []

    def append(self, line: str) -> None:
        is_new = not self._path.exists()
        with self._path.open("a+b") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    file.write(b"\n")  # the last line was cut short
            file.write(line.encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        if is_new:
            _sync_folder(self._path.parent)


class _ObjectJournal:
    """Lines behind a URL, where nothing can be appended to: the last object of a run is written anew with each line."""

    def __init__(self, store: RemoteStore, folder: Path) -> None:
        self._store, self._folder = store, folder
        self._run = f"{time.time_ns():020d}-{secrets.token_hex(4)}"  # names in the order of the runs
        self._number = 0
        self._last: list[str] = []

    def read(self) -> list[str]:
        texts = (self._store.read(each).decode("utf-8", "replace") for each in self._store.files(self._folder))
        return [line for text in texts for line in text.split("\n")]

    def append(self, line: str) -> None:
        if len(self._last) == LINES:
            self._number, self._last = self._number + 1, []
        self._last.append(line)
        place = self._folder / f"{self._run}-{self._number:06d}.jsonl"
        self._store.write(place, ["\n".join([*self._last, ""]).encode()])


def _make_folder(folder: Path) -> None:
    """As `mkdir -p`; each new name is on the disk."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    """Brings the names in a folder to the disk, where the system can."""
    if os.name == "nt":
        return  # cannot open folders
    try:
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        if error.errno not in NO_SYNC:
            raise


@lru_cache(maxsize=1)
def _umask() -> int:
    """Read once: the only way to read it is to set it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _ask(place: Path, method: str, *given: object) -> Any:
    """What a method of fsspec's file system gives; called with the place where nothing else is given."""
    try:
        return getattr(cast(Any, place).fs, method)(*given or (_key(place),))
    except FileNotFoundError:
        raise
    except Exception as error:  # each client has its own
        raise StoreError(os_reason(error)[:300]) from error


def _named_under(folder: Path, keys: Iterable[str]) -> list[Path]:
    start = len(_key(folder).rstrip("/")) + 1
    return [folder / key[start:] for key in sorted(keys)]


def _key(place: Path) -> str:
    return str(cast(Any, place).path)
