"""Files written whole or not at all: a temporary name beside the target, fsync, then a rename."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
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
    prepare_output(path, chunks).publish()


@dataclass(frozen=True, slots=True)
class PendingOutput:
    """An output before its rename: whole and on the disk under a hidden name beside its target."""

    temporary: Path
    target: Path

    def publish(self) -> None:
        """Gives the output its name; where that fails it is discarded. Raises OutputError."""
        try:
            if is_remote(self.target):
                move_behind(self.temporary, self.target)
            else:
                self.temporary.replace(self.target)
        except OSError as error:
            self.discard()
            raise OutputError(f"{self.target}: {error.strerror or error}") from error

    def discard(self) -> None:
        """Removes it, as far as that can be done."""
        if is_remote(self.temporary):
            remove_behind([self.temporary])
        else:
            with suppress(OSError):
                self.temporary.unlink(missing_ok=True)


def prepare_output(target: Path, chunks: Iterable[bytes]) -> PendingOutput:
    """Writes what shall become `target` under a hidden name beside it. Raises OutputError."""
    pending = None
    try:
        if is_remote(target):
            pending = PendingOutput(beside(target, part_prefix(target.name), PART), target)
            write_behind(pending.temporary, b"".join(chunks))
            whole, pending = pending, None
            return whole
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=part_prefix(target.name), suffix=PART, dir=target.parent)
        pending = PendingOutput(Path(name), target)
        with os.fdopen(handle, "wb") as file:
            file.writelines(chunks)
            file.flush()
            os.fsync(file.fileno())  # a name must not outlive its content when the power fails
        pending.temporary.chmod(0o666 & ~_umask())
        whole, pending = pending, None
        return whole
    except OSError as error:
        raise OutputError(f"{target}: {error.strerror or error}") from error
    finally:
        if pending:
            pending.discard()


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
