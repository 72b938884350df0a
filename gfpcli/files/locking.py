"""What keeps outputs whole: one run at a time, nothing left over by a killed run, nothing outside the folder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePath

from filelock import Timeout

from gfpcli.errors import OutputError, os_reason
from gfpcli.files.atomic import PART, name_hash, part_prefix
from gfpcli.files.storage import store_of

LOCK = ".gfp-lock"
LONGEST_NAME = 200  # bytes of a file's name that leave room for ours around it


@contextmanager
def hold(lock: Path, busy: str, *, is_patient: bool = False) -> Iterator[None]:
    """Nobody else holds `lock` meanwhile. The system lets go of it when a run dies, however it dies.

    Behind a URL nothing can be held, and this does nothing.

    Args:
        busy: what to say where another run holds it.
        is_patient: wait for the other run instead.

    Raises:
        OutputError: another run holds it, or the folder cannot be made or written.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(store_of(lock).hold(lock, is_patient=is_patient))
        except Timeout as error:
            raise OutputError(busy) from error
        except OSError as error:
            raise OutputError(f"{lock.parent}: cannot be written ({os_reason(error)})") from error
        yield


def lock_of(root: Path, file: Path | None) -> tuple[Path, str]:
    """The lock of an output folder, or of one output file in it, and what to say where it is taken."""
    place = root / LOCK if file is None else root / f"{short_name(file.name)}.gfp-lock"
    return place, f"{file or root}: another gfp run is writing there now; wait for it, or choose another --output"


def short_name(name: str) -> str:
    """`.NAME`, or a hash in its place where a suffix would make it too long for a file system."""
    is_long = len(name.encode("utf-8", "surrogateescape")) > LONGEST_NAME
    return f".{name_hash(name) if is_long else name}"


def sweep(folders: Iterable[Path], name: str | None = None) -> None:
    """Removes what a killed run was writing, of one file where it is named. Only while the lock is held.

    Behind a URL there is no lock, and the folder is searched whole.
    """
    pattern = f"{part_prefix(name)}*{PART}" if name else f".gfp-*{PART}"
    for folder in set(folders):
        store_of(folder).sweep(folder, pattern)


def check_inside(root: Path, target: Path) -> None:
    """Raises OutputError where a link would lead `target` out of `root`."""
    store = store_of(target)
    if not PurePath(store.resolve(target.parent)).is_relative_to(store.resolve(root)):
        raise OutputError(f"{target}: a link leads out of {root}; nothing is written there")
