"""Files that arrive in a folder: when something changes there, and which files are whole."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import psutil

TICK_S = 0.5  # seconds between looks while something is awaited
RESCAN_S = 30.0  # seconds after which a folder is looked at anyway: network file systems tell of no changes
WRITERS = "wa+"  # in the mode of a file that is open: its content may change
FileState: TypeAlias = tuple[int, int]
"""Size in bytes, and time of the last change in ns."""


@dataclass(slots=True)
class Arrivals:
    """Tells which files have become whole: neither size nor date changed for a while, and nobody writes into them.

    Args:
        settle_s: for how long, in seconds.
        clock: seconds, monotonic.
    """

    settle_s: float
    clock: Callable[[], float] = time.monotonic
    _seen: dict[Path, tuple[FileState, float]] = field(default_factory=dict)  # those awaited: last look, and since when
    _given: dict[Path, FileState] = field(default_factory=dict)

    def whole(self, paths: Iterable[Path]) -> list[Path]:
        """Those of `paths` that are whole now and were not given before, or have changed since."""
        now, settled, seen = self.clock(), [], {}
        for path in paths:
            with suppress(OSError):  # gone meanwhile
                facts = path.stat()
                look = facts.st_size, facts.st_mtime_ns
                if self._given.get(path) == look:
                    continue
                before, since = self._seen.get(path, (None, now))
                seen[path] = look, since if before == look else now
                if now - seen[path][1] >= self.settle_s:
                    settled.append(path)
        busy = being_written() if settled else set()
        done = [path for path in settled if path.resolve() not in busy]
        self._given |= {path: seen.pop(path)[0] for path in done}
        self._seen = seen
        return done

    def is_waiting(self) -> bool:
        """Whether files are awaited that are not whole yet."""
        return bool(self._seen)


def being_written() -> set[Path]:
    """Every file that a process of this machine has open for writing, as far as the system tells: Linux does."""
    files = set()
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            files |= {Path(each.path) for each in process.open_files() if set(getattr(each, "mode", "")) & set(WRITERS)}
    return files


def changes_in(folder: Path, is_waiting: Callable[[], bool]) -> Iterator[None]:
    """Yields at once, whenever something changes below a folder, and twice a second while files are awaited.

    Raises:
        KeyboardInterrupt: Ctrl-C.
    """
    from watchfiles import watch

    yield
    looked = time.monotonic()
    ticks = watch(
        folder, watch_filter=None, rust_timeout=int(TICK_S * 1000), yield_on_timeout=True, raise_interrupt=True,
        ignore_permission_denied=True,
    )  # fmt: skip
    for changed in ticks:
        if changed or is_waiting() or time.monotonic() - looked > RESCAN_S:
            yield
            looked = time.monotonic()
