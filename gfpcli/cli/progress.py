"""What `gfp restore` and `gfp video` show of a run: outcomes as lines or bars on stderr, JSON lines, totals."""

from __future__ import annotations

import sys
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from gfpcli.cli.console import plain, tell
from gfpcli.cli.output import json_line, json_sink
from gfpcli.files.folders import LeftOut
from gfpcli.types import Listener, Outcome
from gfpcli.weights.cache import BLOCK

MOST_TOLD = 10  # faces to look at, in a line
TILES_LINE_S = 30.0  # seconds between lines about one background
BAR_WIDTH = 20  # columns
N_LAST = 8  # photos in the table
MOST_NAMED = 5  # failed inputs in the summary


@dataclass(slots=True)
class Tally:
    """Counts of a run, by status."""

    n_faces: int = 0
    n_failed: int = 0  # inputs with an error, be it of one face
    n_noted: int = 0  # outputs to which something of the input is not carried over, or changed
    by_status: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)  # the first inputs that failed
    n_kept: int = 0  # faces that stay as in the input
    n_unchanged: int = 0  # faces that were fine already
    review_below: float = 0.0  # identity score: faces below it are listed
    to_review: list[tuple[float, str]] = field(default_factory=list)  # identity and input of those

    def add(self, outcome: Outcome) -> None:
        self.n_faces += outcome.n_restored
        self.n_kept += outcome.n_kept
        self.n_unchanged += outcome.n_unchanged
        found = outcome.to_review(self.review_below)
        self.to_review += [(face.identity or 0.0, outcome.source) for face in found]
        self.by_status[outcome.status] += 1
        if outcome.error is not None:
            self.n_failed += 1
            self.failed += [outcome.source] if len(self.failed) < MOST_NAMED else []
        self.n_noted += bool(outcome.notes) and outcome.status in ("restored", "no_face")

    def line(self) -> str:
        counts = ", ".join(f"{count} {status.replace('_', ' ')}" for status, count in sorted(self.by_status.items()))
        faces = f"{self.n_faces} face{'' if self.n_faces == 1 else 's'} restored"
        kept = [f"{self.n_unchanged} left unchanged"] if self.n_unchanged else []
        kept += [f"{self.n_kept} kept as in the input"] if self.n_kept else []
        noted = [f"{self.n_noted} with notes"] if self.n_noted else []
        return "; ".join([counts or "nothing to do", faces, *kept, *noted])

    def review_line(self) -> str:
        """The faces to look at, the least alike first."""
        worst = [f"{source} ({identity:.2f})" for identity, source in sorted(self.to_review)[:MOST_TOLD]]
        more = f" and {len(self.to_review) - MOST_TOLD} more" if len(self.to_review) > MOST_TOLD else ""
        n = len(self.to_review)
        told = f"{n} face{'' if n == 1 else 's'} to look at, identity below {self.review_below:g}"
        return f"{told}: {', '.join(worst)}{more}" if worst else told


class Lines:
    """Shows a run on stderr by a line for each outcome, and for a background that takes long.

    Args:
        is_quiet: lines for failures only.
    """

    def __init__(self, *, is_quiet: bool) -> None:
        self._is_quiet = is_quiet
        self._began = self._told = time.monotonic()  # of the background

    def outcome(self, outcome: Outcome, tally: Tally) -> None:
        if not self._is_quiet or outcome.error:
            tell(line_of(outcome))

    def tiles(self, n_done: int, n_all: int) -> None:
        """Every half minute a line, with the time left."""
        now = time.monotonic()
        if n_done == 0:
            self._began = self._told = now
        elif not self._is_quiet and n_done < n_all and now - self._told >= TILES_LINE_S:
            self._told = now
            left = (now - self._began) / n_done * (n_all - n_done)
            tell(f"background: {n_done} of {n_all} tiles, about {left:.0f} s left")

    def frames(self, source: Path, n_done: int, n_all: int, n_faces: int) -> None:
        """Of one clip; 0 in all when it begins. No line: a clip's comes at its end."""


def _new_bar(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(BAR_WIDTH), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console)


class PhotoTable(Lines):
    """The last photos, with a bar over all of them and one over the tiles of a background; lines for failures only."""

    def __init__(self, console: Console, stack: ExitStack, n_inputs: int) -> None:
        super().__init__(is_quiet=False)
        self._console = console
        self._bar = _new_bar(console)
        self._photos = self._bar.add_task("restoring", total=n_inputs)
        self._tiles = self._bar.add_task("background tiles", total=None, visible=False)
        self._last: deque[Outcome] = deque(maxlen=N_LAST)
        self._first: float | None = None  # when the first photo was done that was not done before
        self._n_new = -1  # photos since then
        stack.enter_context(Live(self, console=console))

    def __rich__(self) -> Group:
        table = Table(box=None, padding=(0, 2, 0, 0), expand=True)
        table.add_column("", no_wrap=True)
        table.add_column("photo", no_wrap=True, ratio=1)
        for name in ("faces", "seconds"):
            table.add_column(name, justify="right", no_wrap=True)
        room = max(self._console.width - 36, 8)
        for each in self._last:
            costs = (_faces_told(each), f"{each.seconds:.2f}") if each.seconds else ("", "")
            table.add_row(each.status.replace("_", " "), Text(end_of(plain(each.source), room)), *costs)
        return Group(table, self._bar) if self._last else Group(self._bar)

    def outcome(self, outcome: Outcome, tally: Tally) -> None:
        if outcome.error:
            self._console.print(plain(line_of(outcome)), markup=False, highlight=False, soft_wrap=True)
        self._last.append(outcome)
        told = [f"{tally.n_faces} faces", *self._rate(outcome)]
        self._bar.update(self._photos, advance=1, description=", ".join(["restoring", *told]))

    def tiles(self, n_done: int, n_all: int) -> None:
        if n_done == 0:
            self._bar.reset(self._tiles, total=n_all)
        self._bar.update(self._tiles, completed=n_done, visible=n_done < n_all and n_all > 1)

    def _rate(self, outcome: Outcome) -> list[str]:
        """Photos a second, once two are done that were not done before."""
        now = time.monotonic()
        if outcome.status != "skipped":
            self._n_new += 1
            self._first = self._first or now
        return [f"{self._n_new / max(now - self._first, 1e-9):.1f} photos/s"] if self._first and self._n_new > 0 else []


def _faces_told(outcome: Outcome) -> str:
    """How many faces of a photo were restored, and of how many, where some were fine already or were left alone."""
    n_found = len(outcome.faces)
    return f"{outcome.n_restored} of {n_found}" if outcome.n_restored < n_found else str(n_found)


class ClipBars(Lines):
    """A bar for each clip that is being restored, and a line at its end."""

    def __init__(self, console: Console, stack: ExitStack) -> None:
        super().__init__(is_quiet=False)
        self._bar = stack.enter_context(_new_bar(console))
        self._clips: dict[str, tuple[TaskID, float]] = {}  # by source; when it began, by the monotonic clock
        self._first: dict[str, int] = {}  # frames that were done before

    def outcome(self, outcome: Outcome, tally: Tally) -> None:
        self._first.pop(outcome.source, None)
        if clip := self._clips.pop(outcome.source, None):
            self._bar.remove_task(clip[0])
        self._bar.console.print(plain(line_of(outcome)), markup=False, highlight=False, soft_wrap=True)

    def frames(self, source: Path, n_done: int, n_all: int, n_faces: int) -> None:
        clip = str(source)
        if clip not in self._clips:
            self._clips[clip] = self._bar.add_task(self._name(source), total=None), time.monotonic()
        if not n_all:
            return
        task, began = self._clips[clip]
        if clip not in self._first:
            self._first[clip] = n_done
            self._bar.reset(task, total=n_all, completed=n_done)
        rate = (n_done - self._first[clip]) / max(time.monotonic() - began, 1e-9)
        told = f"{self._name(source)}  {rate:.1f} frames/s  {n_faces} faces"
        self._bar.update(task, completed=n_done, description=told)

    def _name(self, source: Path) -> str:
        """As much of a clip's name as leaves room for the bar, which would else be pushed off a narrow terminal."""
        return end_of(plain(source.name), max(self._bar.console.width - 64, 12))


@dataclass(slots=True)
class RunView:
    """What is shown and kept of one run."""

    json_to: str | None
    is_quiet: bool
    is_forced: bool  # `--json` may replace what holds something else
    is_video: bool = False
    has_bars: bool = True  # on a terminal
    is_stdout_taken: bool = False  # by a picture: records for stdout go to stderr
    tally: Tally = field(default_factory=Tally)
    _stack: ExitStack = field(default_factory=ExitStack)  # of the bars and of the file of records
    _display: Lines = field(default_factory=partial(Lines, is_quiet=True))
    _sink: TextIO | None = None

    @property
    def is_on_terminal(self) -> bool:
        """Whether a person looks on."""
        return isinstance(self._display, PhotoTable | ClipBars)

    @contextmanager
    def listening(self) -> Iterator[Listener]:
        """What the run is given."""
        with self._stack:
            yield Listener(
                warn=Listener().warn if self.is_quiet else tell, begin=self._begin, outcome=self._take,
                tiles=lambda *counts: self._display.tiles(*counts),
                frames=lambda *counts: self._display.frames(*counts),
                download=Listener().download if self.is_quiet else tell_download,
            )  # fmt: skip

    def _begin(self, n_inputs: int) -> None:
        """The output folder is held now: files may be replaced, bars may be shown."""
        is_to_stderr = self.json_to == "-" and self.is_stdout_taken
        self._sink = sys.stderr if is_to_stderr else json_sink(self.json_to, self._stack, is_forced=self.is_forced)
        console = Console(stderr=True)
        if self.is_quiet or not self.has_bars or not console.is_terminal:
            self._display = Lines(is_quiet=self.is_quiet)
        elif self.is_video:
            self._display = ClipBars(console, self._stack)
        else:
            self._display = PhotoTable(console, self._stack, n_inputs)

    def _take(self, outcome: Outcome) -> None:
        self.tally.add(outcome)
        if self._sink:
            self._sink.write(json_line(outcome.to_json()))
            self._sink.flush()
        self._display.outcome(outcome, self.tally)


def next_steps(tally: Tally, report_to: Path | None) -> list[str]:
    """What can be done after a run over photos, a line each."""
    steps = []
    if report_to:
        steps.append(f"to judge the results: open {report_to}")
    elif tally.by_status["restored"]:
        steps.append("to judge the results: add --report FILE.html (no photo is made again)")
    if tally.n_failed:
        more = f" and {tally.n_failed - len(tally.failed)} more" if tally.n_failed > len(tally.failed) else ""
        steps.append(f"failed: {', '.join(tally.failed)}{more}; the same command tries only these again")
    return steps


def end_of(name: str, most: int) -> str:
    """A name cut to its last `most` characters: there it differs from its neighbours."""
    return name if len(name) <= most else f"…{name[1 - most:]}"


def line_of(outcome: Outcome) -> str:
    """One plain line for an outcome."""
    if outcome.status == "failed":
        return f"failed    {outcome.error}"
    if outcome.status == "skipped":
        return f"skipped   {outcome.source} ({'; '.join(outcome.notes) or 'done before'})"
    start, clip = f"{outcome.status:9} {outcome.source} -> {outcome.output}", outcome.clip
    errors = [outcome.error] if outcome.error else []
    if outcome.status == "previewed" and clip:
        return f"{start} ({outcome.notes[0]})"
    if clip:
        counts = f"{clip.n_frames} frames, {clip.n_faces} faces, {clip.fps:g} frames/s"
        return f"{start} ({'; '.join([counts, *outcome.notes, *errors])})"
    count = f"{outcome.n_restored} face{'' if outcome.n_restored == 1 else 's'}"
    unchanged = f", {outcome.n_unchanged} left unchanged" if outcome.n_unchanged else ""
    return "; ".join([f"{start} ({count}{unchanged})", *errors, *outcome.notes])


def tell_files_left_out(left_out: LeftOut) -> None:
    """The files of searched folders that are no inputs, by number."""
    for line in left_out.lines():
        tell(line)


def tell_download(done: int, total: int | None) -> None:
    """A line on stderr each time another 32 MB have come."""
    if total and done // 2**25 != (done - BLOCK) // 2**25:
        tell(f"downloading: {done / 1e6:.0f} of {total / 1e6:.0f} MB")
