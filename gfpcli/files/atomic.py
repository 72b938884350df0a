"""Files written whole or not at all: a temporary name beside the target, fsync, rename, fsync of the folder.

The only writer of files that stay, and the only place that turns what the system raises into errors of ours.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gfpcli.errors import GfpError, OutputError, os_reason
from gfpcli.files.storage import LOCAL, NEW_FILE, FileFacts, store_of

PART = ".part"


@contextmanager
def os_errors_as(kind: type[GfpError], subject: object, also: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Raises `kind` in place of OSError, its text `SUBJECT: what the system says`.

    Args:
        subject: mostly the path.
        also: other errors that are told in the same way, for instance PyAV's.
    """
    kinds: tuple[type[Exception], ...] = (OSError, *also)
    try:
        yield
    except kinds as error:
        raise kind(f"{subject}: {os_reason(error)}") from error


@dataclass(frozen=True, slots=True)
class PendingOutput:
    """An output before its rename: whole and on the disk under a hidden name beside its target."""

    temporary: Path
    target: Path

    def publish(self) -> None:
        """Gives the output its name, for good; where that fails it is discarded. Raises OutputError."""
        with os_errors_as(OutputError, self.target), self._discarded_on_error():
            store_of(self.target).replace(self.temporary, self.target)

    def discard(self) -> None:
        """Removes it, as far as that can be done."""
        store_of(self.temporary).remove(self.temporary)

    @contextmanager
    def _discarded_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:  # an interrupt too
            self.discard()
            raise

    def fill(self, write: Callable[[Path], None]) -> PendingOutput:
        """Itself, when `write` has filled the temporary file; removed where that raises."""
        with self._discarded_on_error():
            write(self.temporary)
        return self


def write_bytes(path: Path, data: bytes) -> None:
    """A temporary file beside `path`, then a rename. Raises OutputError."""
    write_chunks(path, [data])


def write_chunks(path: Path, chunks: Iterable[bytes]) -> None:
    """As `write_bytes`, piece by piece. Raises OutputError."""
    prepare_output(path, chunks).publish()


def write_with(path: Path, write: Callable[[Path], object]) -> None:
    """As `write_bytes`, by a function that fills the local file it is given. Raises OutputError, and what it raises."""

    def fill(temporary: Path) -> None:
        write(temporary)
        LOCAL.finish(temporary)

    _reserve(path, fill).publish()


def prepare_output(target: Path, chunks: Iterable[bytes], facts: FileFacts = NEW_FILE) -> PendingOutput:
    """Writes what shall become `target` under a hidden name beside it, with its permissions and dates.

    Raises:
        OutputError: it cannot be written.
    """
    return _reserve(target, lambda temporary: store_of(target).write(temporary, chunks, facts))


def prepare_file(made: Path, target: Path) -> PendingOutput:
    """A local file that another program made, on the disk and about to become `target`. Raises OutputError."""
    with os_errors_as(OutputError, target):
        return PendingOutput(made, target).fill(LOCAL.finish)


def part_prefix(name: str) -> str:
    """How the hidden names begin under which a file of this name is made."""
    return f".gfp-{name_hash(name)[:12]}-"


def name_hash(name: str) -> str:
    """32 hex digits, also of a name that is no Unicode."""
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def sha256_of(path: Path) -> str:
    """Hex digest of a file's content. Raises OSError."""
    return store_of(path).sha256(path)


def _reserve(target: Path, fill: Callable[[Path], None]) -> PendingOutput:
    with os_errors_as(OutputError, target):
        temporary = store_of(target).reserve(target, part_prefix(target.name), PART)
        return PendingOutput(temporary, target).fill(fill)
