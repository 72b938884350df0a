"""What `gfp restore` and `gfp video` show: records as lines or a bar on stderr, and the totals."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from gfpcli.cli.console import plain, tell
from gfpcli.weights.cache import BLOCK

Record = dict[str, Any]  # one JSON line, as the contract of `--json` says
Watch: TypeAlias = Callable[[int, int, int], None]
Tiles: TypeAlias = Callable[[int, int], None]
"""Hears how many tiles of a background are done, of how many."""
TELL_EVERY = 30.0  # seconds between lines about one background


@dataclass(slots=True)
class Tally:
    """Counts of a run, by status."""

    n_faces: int = 0
    n_failed: int = 0  # inputs with an error, be it of one face
    by_status: dict[str, int] = field(default_factory=dict)

    def add(self, record: Record) -> None:
        self.n_faces += sum(face["status"] == "restored" for face in record["faces"])
        status = record["status"]
        self.by_status[status] = self.by_status.get(status, 0) + 1
        self.n_failed += record["error"] is not None

    def line(self) -> str:
        counts = ", ".join(f"{count} {status.replace('_', ' ')}" for status, count in sorted(self.by_status.items()))
        return f"{counts or 'nothing to do'}; {self.n_faces} face{'' if self.n_faces == 1 else 's'} restored"


def show_progress(n_jobs: int, stack: ExitStack, *, quiet: bool) -> tuple[Callable[[Record, Tally], None], Tiles]:
    """A bar on a terminal, plain lines without one; with `quiet` only failures. What hears of records, and of tiles."""
    console = Console(stderr=True)
    if quiet or not console.is_terminal:

        def line(record: Record, tally: Tally) -> None:
            if not quiet or record["error"]:
                tell(line_of(record))

        return line, (lambda n_done, n_all: None) if quiet else tile_lines()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = stack.enter_context(Progress(*columns, console=console))
    task = bar.add_task("restoring", total=n_jobs)
    background = bar.add_task("background tiles", total=None, visible=False)

    def advance(record: Record, tally: Tally) -> None:
        if record["error"]:
            bar.console.print(plain(line_of(record)), markup=False, highlight=False, soft_wrap=True)
        bar.update(task, advance=1, description=f"restoring, {tally.n_faces} faces")

    def tiles(n_done: int, n_all: int) -> None:
        if n_done == 0:
            bar.reset(background, total=n_all)
        bar.update(background, completed=n_done, visible=n_done < n_all and n_all > 1)

    return advance, tiles


def tile_lines() -> Tiles:
    """Every half minute a line about a background that takes long, with the time left."""
    start = told = time.monotonic()

    def watch(n_done: int, n_all: int) -> None:
        nonlocal start, told
        now = time.monotonic()
        if n_done == 0:
            start = told = now
        elif n_done < n_all and now - told >= TELL_EVERY:
            told = now
            left = (now - start) / n_done * (n_all - n_done)
            tell(f"background: {n_done} of {n_all} tiles, about {left:.0f} s left")

    return watch


def line_of(record: Record) -> str:
    """One plain line for a record."""
    if record["status"] == "failed":
        return f"failed    {record['error']}"
    if record["status"] == "skipped":
        return f"skipped   {record['input']} ({record.get('note') or 'done before'})"
    n_restored = sum(face["status"] == "restored" for face in record["faces"])
    count = f"{n_restored} face{'' if n_restored == 1 else 's'}"
    more = "".join(f"; {record[key]}" for key in ("error", "note") if record.get(key))
    return f"{record['status']:9} {record['input']} -> {record['output']} ({count}){more}"


def tell_download(done: int, total: int | None) -> None:
    """A line on stderr each time another 32 MB have come."""
    if total and done // 2**25 != (done - BLOCK) // 2**25:
        tell(f"downloading: {done / 1e6:.0f} of {total / 1e6:.0f} MB")


Begin: TypeAlias = Callable[[Path], tuple[Watch, Callable[[Record], None]]]
"""Called with a clip; gives what hears of its progress (frames done, frames in all, faces restored) and of its end."""


def show_clips(stack: ExitStack, *, quiet: bool) -> Begin:
    """A bar for each clip on a terminal, a line for each without one; with `quiet` only failures."""
    console = Console(stderr=True)
    if quiet or not console.is_terminal:

        def end(record: Record) -> None:
            if not quiet or record["error"]:
                tell(line_of_clip(record))

        return lambda source: (lambda n_done, n_all, n_faces: None, end)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = stack.enter_context(Progress(*columns, console=console))

    def begin(source: Path) -> tuple[Watch, Callable[[Record], None]]:
        start, task = time.monotonic(), bar.add_task(source.name, total=None)
        first: list[int] = []  # frames that were done before

        def watch(n_done: int, n_all: int, n_faces: int) -> None:
            if not first:
                first.append(n_done)
                bar.reset(task, total=n_all, completed=n_done)
            rate = (n_done - first[0]) / max(time.monotonic() - start, 1e-9)
            bar.update(task, completed=n_done, description=f"{source.name}  {rate:.1f} frames/s  {n_faces} faces")

        def end(record: Record) -> None:
            bar.remove_task(task)
            bar.console.print(plain(line_of_clip(record)), markup=False, highlight=False, soft_wrap=True)

        return watch, end

    return begin


def line_of_clip(record: Record) -> str:
    """One plain line for a clip's record."""
    if record["status"] in ("failed", "skipped"):
        return line_of(record)
    if record["status"] == "previewed":
        return f"previewed {record['input']} -> {record['output']} ({record['notes'][0]})"
    told = [f"{record['n_frames']} frames, {record['n_faces']} faces, {record['fps']:g} frames/s", *record["notes"]]
    told += [record["error"]] if record["error"] else []
    return f"{record['status']:9} {record['input']} -> {record['output']} ({'; '.join(told)})"
