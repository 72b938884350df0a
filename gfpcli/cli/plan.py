"""`gfp restore --dry-run`: what a run would find, make, need and take."""

from __future__ import annotations

import time
from pathlib import Path

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gfpcli.cli.console import tell
from gfpcli.files.atomic import sha256_of
from gfpcli.files.jobs import Job
from gfpcli.files.ledger import Ledger
from gfpcli.options import RestoreOptions
from gfpcli.photo.estimate import Estimate, InputEstimate, estimate
from gfpcli.photo.face_plan import settings_as_planned
from gfpcli.photo.references import read_references
from gfpcli.photo.sidecars import read_sidecars, settings_with
from gfpcli.weights.build import load_restorer
from gfpcli.weights.choose import choose_parts, fingerprint
from gfpcli.weights.devices import choose_devices

MOST_ROWS = 200
WIDTH = 140  # columns where there is no terminal


def tell_plan(jobs: list[Job], root: Path, options: RestoreOptions, began: float) -> None:
    """Prints the plan on stderr; writes nothing but weights that have to be downloaded.

    Args:
        root: folder of the outputs.
        began: when the command began, by the monotonic clock.

    Raises:
        GfpError: the restorer cannot be loaded, or the ledger cannot be read.
    """
    parts = choose_parts(options, warn=tell)
    ledger, settings, references = Ledger(root), fingerprint(options, parts), read_references(options, parts)
    settings = references.settings_with(settings) if references else settings
    todo = [job for job in jobs if options.force or not _is_done(job, ledger, settings)]
    restorer = load_restorer(options, parts, n_inputs=len(jobs), warn=tell)
    restorer = references.applied_to(restorer) if references else restorer
    loading_s = time.monotonic() - began
    plan = estimate(todo, restorer, options, choose_devices(options.device)[0])
    console = Console(stderr=True)
    if not console.is_terminal:
        console = Console(stderr=True, width=WIDTH)
    console.print(plan_table(plan))
    console.print(totals_of(plan, len(jobs) - len(todo), loading_s))
    tell(f"scale {options.scale:g}, model {parts.model_name}; nothing was written (--dry-run)")


def _is_done(job: Job, ledger: Ledger, settings: str) -> bool:
    try:
        settings = settings_as_planned(settings_with(settings, read_sidecars(job)[0]), job.planned)
        return ledger.state_of(job.target, sha256_of(job.source), settings) != "open"
    except OSError:
        return False  # reading it will say why


def plan_table(plan: Estimate) -> Table:
    """A row for each input; where there are too many, those that were looked at first."""
    table = Table(box=box.SIMPLE)
    for name in ("input", "px", "planned px", "faces", "output"):
        table.add_column(name, overflow="fold", justify="right" if name in ("px", "planned px", "faces") else "left")
    rows = sorted(plan.inputs, key=lambda look: look.n_found is None) if len(plan.inputs) > MOST_ROWS else plan.inputs
    for look in rows[:MOST_ROWS]:
        table.add_row(*map(escape, _cells_of(look)))
    if len(rows) > MOST_ROWS:
        table.add_row(f"... and {len(rows) - MOST_ROWS} more")
    return table


def _cells_of(look: InputEstimate) -> tuple[str, ...]:
    source = str(look.job.source)
    if look.problem:
        return source, "-", "-", "-", f"would fail: {look.problem.removeprefix(f'{source}: ')}"
    faces = "not looked at" if look.n_found is None else str(look.n_chosen)
    if look.n_found is not None and look.n_found != look.n_chosen:
        faces += f" of {look.n_found}"
    return source, _size_text(look.size), _size_text(look.planned), faces, str(look.job.target)


def _size_text(size: tuple[int, int]) -> str:
    return f"{size[1]}x{size[0]}"


def totals_of(plan: Estimate, n_done: int, loading_s: float) -> Table:
    """What all inputs come to."""
    n_failed = sum(look.problem is not None for look in plan.inputs)
    n_seen = sum(look.n_found is not None for look in plan.inputs)
    n_good = len(plan.inputs) - n_failed
    is_sample = n_seen < n_good
    seconds, work = loading_s + plan.seconds if n_good else 0.0, plan.seconds
    memory = f"about {plan.memory / 1e9:.1f} GB"
    memory += f", {plan.gpu_memory / 1e9:.1f} GB on the GPU" if plan.gpu_memory else ""
    table = Table(box=box.SIMPLE, show_header=False)
    told = f"{n_good} to restore" + (f", {n_failed} would fail" if n_failed else "")
    table.add_row("inputs", told + (f", {n_done} done before" if n_done else ""))
    sample = f", reckoned from {n_seen} of {n_good} inputs that were looked at" if is_sample else " to restore"
    table.add_row("faces", f"{'about ' if is_sample else ''}{plan.n_faces:.0f}{sample}")
    table.add_row("time", f"about {_duration(seconds)} ({work:.1f} s of work), this machine being as busy as now")
    table.add_row("memory", memory)
    return table


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
