"""What a run of `gfp restore` shows: records as lines or a bar on stderr, and the totals."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from gfpcli.cli.console import tell
from gfpcli.weights import BLOCK

Record = dict[str, Any]  # one JSON line, as the contract of `--json` says


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


def show_progress(n_jobs: int, stack: ExitStack, *, quiet: bool) -> Callable[[Record, Tally], None]:
    """A bar on a terminal, plain lines without one; with `quiet` only failures."""
    console = Console(stderr=True)
    if quiet or not console.is_terminal:

        def line(record: Record, tally: Tally) -> None:
            if not quiet or record["error"]:
                tell(line_of(record))

        return line
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = stack.enter_context(Progress(*columns, console=console))
    task = bar.add_task("restoring", total=n_jobs)

    def advance(record: Record, tally: Tally) -> None:
        if record["error"]:
            bar.console.print(line_of(record), markup=False, highlight=False, soft_wrap=True)
        bar.update(task, advance=1, description=f"restoring, {tally.n_faces} faces")

    return advance


def line_of(record: Record) -> str:
    """One plain line for a record."""
    if record["status"] == "failed":
        return f"failed    {record['error']}"
    if record["status"] == "skipped":
        return f"skipped   {record['input']} (done before)"
    n_restored = sum(face["status"] == "restored" for face in record["faces"])
    count = f"{n_restored} face{'' if n_restored == 1 else 's'}"
    more = "".join(f"; {record[key]}" for key in ("error", "note") if record.get(key))
    return f"{record['status']:9} {record['input']} -> {record['output']} ({count}){more}"


def tell_download(done: int, total: int | None) -> None:
    """A line on stderr each time another 32 MB have come."""
    if total and done // 2**25 != (done - BLOCK) // 2**25:
        tell(f"downloading: {done / 1e6:.0f} of {total / 1e6:.0f} MB")
