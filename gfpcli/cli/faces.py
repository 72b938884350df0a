"""The body of `gfp faces`: photos to a table of their faces, a plan and a contact sheet."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gfpcli.cli.console import plain, tell
from gfpcli.cli.plan import MOST_ROWS, WIDTH
from gfpcli.cli.progress import tell_download, tell_files_left_out
from gfpcli.errors import OutputError, UsageError
from gfpcli.files.atomic import os_errors_as, write_bytes
from gfpcli.files.storage import is_url
from gfpcli.options import FacesOptions
from gfpcli.photo.batch import plan_photos
from gfpcli.photo.contact_sheet import MOST_IN_ROW, MOST_PERSONS, persons_sheet
from gfpcli.photo.face_plan import plan_text, read_plan
from gfpcli.photo.planning import SeenPhoto, look_at_photos, plan_of, sheet_rows
from gfpcli.types import Listener, PlannedFace

PLAN_COLUMNS = ("photo", "person", "px", "at", "score", "blur", "strength", "action")
NO_OUTPUT = Path("faces.gfp-none")  # photos are found as for a run, of which no output is made


def run_faces(inputs: list[str], output: str, options: FacesOptions) -> int:
    """Prints the table and writes the plan; gives the number of photos that could not be looked at.

    Raises:
        GfpError: nothing could be started, or a file cannot be written.
    """
    is_to_stdout = output == "-"
    if not is_to_stdout:
        _check_target("--output", output, ".json", options)
    if options.sheet:
        _check_target("--sheet", options.sheet, ".png", options)
    plan = plan_photos(inputs, NO_OUTPUT, options)
    quiet = options.quiet
    listener = Listener(warn=tell) if quiet else Listener(warn=tell, download=tell_download)
    photos = look_at_photos(plan.jobs, options, listener, lambda photo: _tell(photo, quiet=quiet))
    text = plan_text(plan_of(photos))
    if is_to_stdout:
        sys.stdout.write(text)
    else:
        _write_plan(Path(output), text)
    if options.sheet:
        _write_sheet(Path(options.sheet), photos)
    if not quiet:
        console = Console(stderr=is_to_stdout)
        console = console if console.is_terminal else Console(stderr=is_to_stdout, width=WIDTH)
        console.print(table_of_faces(photos))
        tell_files_left_out(plan.left_out)
        tell(_totals(photos) + ("" if is_to_stdout else f"; plan in {output}"))
    return sum(photo.problem is not None for photo in photos)


def _tell(photo: SeenPhoto, *, quiet: bool) -> None:
    if photo.problem:
        tell(f"failed    {photo.problem}")
    elif not quiet and sys.stderr.isatty():
        tell(f"{len(photo.faces)} faces in {photo.photo.photo}")


def _check_target(flag: str, word: str, suffix: str, options: FacesOptions) -> None:
    """Refuses what would be replaced. Raises UsageError and OutputError."""
    if is_url(word):
        raise UsageError(f"{flag} {word}: is written on this machine; give a path")
    path = Path(word)
    if path.suffix.lower() != suffix:
        raise UsageError(f"{flag} {word}: the name must end in {suffix}")
    with os_errors_as(OutputError, path):
        if path.is_dir():
            raise UsageError(f"{flag} {word}: this is a folder")
        if path.exists() and not options.force:
            raise OutputError(f"{word}: is there already, and somebody may have edited it: choose another, or --force")


def _write_plan(path: Path, text: str) -> None:
    """Writes the plan, and reads it back. Raises OutputError."""
    with os_errors_as(OutputError, path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, text.encode())
    if plan_text(read_plan(path).values()) != text:
        raise OutputError(f"{path}: is not what was written")


def _write_sheet(path: Path, photos: Sequence[SeenPhoto]) -> None:
    """Writes the contact sheet, and reads it back. Raises OutputError."""
    rows = sheet_rows(photos)
    sheet = persons_sheet(rows)
    with os_errors_as(OutputError, path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, cv2.imencode(".png", sheet)[1].tobytes())
    with os_errors_as(OutputError, path):
        seen = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    if seen is None or not np.array_equal(sheet, seen):
        raise OutputError(f"{path}: is not what was written")
    if len(rows) > MOST_PERSONS or any(len(row) > MOST_IN_ROW for row in rows):
        tell(f"{path}: shows the first {MOST_IN_ROW} faces of at most {MOST_PERSONS} persons")


def table_of_faces(photos: Sequence[SeenPhoto]) -> Table:
    """A row for each face."""
    table = Table(box=box.SIMPLE)
    for name in PLAN_COLUMNS:
        table.add_column(name, overflow="fold", justify="left" if name in ("photo", "person", "action") else "right")
    rows = [(photo.photo.photo, face.planned) for photo in photos for face in photo.faces]
    for name, face in rows[:MOST_ROWS]:
        table.add_row(*map(escape, _face_cells(name, face)))
    if len(rows) > MOST_ROWS:
        table.add_row(f"... and {len(rows) - MOST_ROWS} more")
    return table


def _face_cells(name: str, face: PlannedFace) -> tuple[str, ...]:
    x0, y0, x1, y1 = face.box
    blur = "-" if face.blur is None else f"{face.blur:.1f}"
    strength = "-" if face.planned_strength is None else f"{face.planned_strength:.2f}"
    person = "-" if face.person is None else f"person {face.person}"
    size, place = f"{x1 - x0:.0f}x{y1 - y0:.0f}", f"{x0:.0f}, {y0:.0f}"
    return plain(name), person, size, place, f"{face.score:.2f}", blur, strength, face.action


def _totals(photos: Sequence[SeenPhoto]) -> str:
    faces = [face.planned for photo in photos for face in photo.faces]
    n_persons = len({face.person for face in faces} - {None})
    n_failed = sum(photo.problem is not None for photo in photos)
    parts = [(len(photos), "photo"), (len(faces), "face"), (n_persons, "person")]
    told = ", ".join(f"{count} {word}{'' if count == 1 else 's'}" for count, word in parts)
    return told + (f", {n_failed} failed" if n_failed else "")
