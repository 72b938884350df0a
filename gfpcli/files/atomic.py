"""Files written whole or not at all: a temporary name beside the target, fsync, then a rename."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from gfpcli.errors import OutputError
from gfpcli.files.locking import PART, part_prefix
from gfpcli.files.storage import beside, is_remote, move_behind, read_behind, remove_behind, write_behind


def write_bytes(path: Path, data: bytes) -> None:
    """A temporary file beside `path`, then a rename. Raises OutputError."""
    write_chunks(path, [data])


def write_chunks(path: Path, chunks: Iterable[bytes]) -> None:
    """As `write_bytes`, piece by piece. Raises OutputError."""
    name_part(write_part(path, chunks), path)


def write_part(path: Path, chunks: Iterable[bytes]) -> Path:
    """What shall become `path`, whole and on the disk under a hidden name beside it. Raises OutputError."""
    part = None
    try:
        if is_remote(path):
            part = beside(path, part_prefix(path.name), PART)
            write_behind(part, b"".join(chunks))
            whole, part = part, None
            return whole
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=part_prefix(path.name), suffix=PART, dir=path.parent)
        part = Path(name)
        with os.fdopen(handle, "wb") as file:
            file.writelines(chunks)
            file.flush()
            os.fsync(file.fileno())  # a name must not outlive its content when the power fails
        part.chmod(0o666 & ~_umask())
        whole, part = part, None
        return whole
    except OSError as error:
        raise OutputError(f"{path}: {error.strerror or error}") from error
    finally:
        if part:
            drop_part(part)


def name_part(part: Path, path: Path) -> None:
    """Gives what `write_part` wrote its name; where that fails it is removed. Raises OutputError."""
    try:
        if is_remote(path):
            move_behind(part, path)
        else:
            part.replace(path)
    except OSError as error:
        drop_part(part)
        raise OutputError(f"{path}: {error.strerror or error}") from error


def drop_part(part: Path) -> None:
    """Removes what `write_part` wrote, as far as that can be done."""
    if is_remote(part):
        remove_behind([part])
    else:
        with suppress(OSError):
            part.unlink(missing_ok=True)


@lru_cache(maxsize=1)
def _umask() -> int:
    """Read once: the only way to read it is to set it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def sha256_of(path: Path) -> str:
    """Hex digest, read in blocks. Raises OSError."""
    if is_remote(path):
        return hashlib.sha256(read_behind(path)).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
