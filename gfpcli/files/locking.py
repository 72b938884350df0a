"""What keeps outputs whole: one run at a time, nothing left over by a killed run, nothing outside the folder."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from pathlib import Path

from filelock import FileLock, Timeout

from gfpcli.errors import OutputError
from gfpcli.files.storage import files_behind, is_remote, remove_behind

LOCK = ".gfp-lock"
PART = ".part"
PARTS = f".gfp-*{PART}"  # what `write_bytes` makes on the way
LONGEST_NAME = 200  # bytes of a file's name that leave room for ours around it


@contextmanager
def hold(lock: Path, busy: str, *, is_patient: bool = False) -> Iterator[None]:
    """Nobody else holds `lock` meanwhile. The system lets go of it when a run dies, however it dies.

    Args:
        busy: what to say where another run holds it.
        is_patient: wait for the other run instead.

    Raises:
        OutputError: another run holds it, or the folder cannot be made or written.
    """
    own = FileLock(lock, timeout=-1 if is_patient else 0, thread_local=False)
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        own.acquire()
    except Timeout as error:
        raise OutputError(busy) from error
    except OSError as error:
        raise OutputError(f"{lock.parent}: cannot be written ({error.strerror or error})") from error
    try:
        yield
    finally:
        with suppress(OSError):  # while it is held: whoever waits on this file finds it gone and makes a new one
            lock.unlink()
        own.release()


def lock_of(root: Path, file: Path | None) -> tuple[Path, str]:
    """The lock of an output folder, or of one output file in it, and what to say where it is taken."""
    place = root / LOCK if file is None else root / f"{short_name(file.name)}.gfp-lock"
    return place, f"{file or root}: another gfp run is writing there now; wait for it, or choose another --output"


def short_name(name: str) -> str:
    """`.NAME`, or a hash in its place where a suffix would make it too long for a file system."""
    is_long = len(name.encode("utf-8", "surrogateescape")) > LONGEST_NAME
    return f".{hashlib.sha256(name.encode('utf-8', 'surrogateescape')).hexdigest()[:32] if is_long else name}"


def part_prefix(name: str) -> str:
    """How the hidden names begin under which a file of this name is made."""
    return f".gfp-{hashlib.sha256(name.encode('utf-8', 'surrogateescape')).hexdigest()[:12]}-"


def sweep(folders: Iterable[Path], name: str | None = None) -> None:
    """Removes what a killed run was writing, of one file where it is named. Only while the lock is held.

    Behind a URL there is no lock, and the folder is searched whole.
    """
    for folder in set(folders):
        if is_remote(folder):  # in one listing
            pattern = f"{part_prefix(name)}*{PART}" if name else PARTS
            with suppress(OSError):
                remove_behind(each for each in files_behind(folder) if fnmatch(each.name, pattern))
            continue
        for part in folder.glob(f"{part_prefix(name)}*.part" if name else PARTS):
            if part.is_dir() and not part.is_symlink():
                shutil.rmtree(part, ignore_errors=True)
                continue
            with suppress(OSError):
                part.unlink()


def check_inside(root: Path, target: Path) -> None:
    """Raises OutputError where a link would lead `target` out of `root`."""
    if not is_remote(target) and not target.parent.resolve().is_relative_to(root.resolve()):
        raise OutputError(f"{target}: a link leads out of {root}; nothing is written there")
