"""The body of `gfp eval --video`: two clips to a table, or one JSON record."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from gfpcli.cli.output import json_line, json_sink
from gfpcli.clip.steadiness import Steadiness, measure_steadiness
from gfpcli.errors import InputError, UsageError
from gfpcli.options import VideoOptions
from gfpcli.weights.build import load_restorer
from gfpcli.weights.choose import choose_parts

FIGURES = {
    "flicker": "flicker, grey levels (lower)",
    "warping": "warping error, grey levels (lower)",
    "jitter": "jitter of landmarks, % of eye distance (lower)",
    "detail": "fine detail, grey levels (higher)",
}
BUILT_IN = VideoOptions(model="compact", detector="builtin", mask="soft", device="cpu", precision="fp32", offline=True)


def run_video_eval(restored: Path, reference: Path | None, json_to: str | None) -> int:
    """Compares two clips; gives the number of failures, which is 0. Raises GfpError."""
    if reference is None:
        raise UsageError("gfp eval --video compares a clip with its input: give both")
    for path in (restored, reference):
        if path.is_dir():
            raise InputError(f"{path}: is a folder; --video compares two clips")
    restorer = load_restorer(BUILT_IN, choose_parts(BUILT_IN, warn=lambda line: None))
    measured = measure_steadiness(restored, reference, restorer.detect)
    with ExitStack() as stack:
        if sink := json_sink(json_to, stack):
            record = {"restored": str(restored), "reference": str(reference), **measured.to_json()}
            sink.write(json_line(record))
    if json_to != "-":
        Console(width=None if Console().is_terminal else 100).print(table_of_steadiness(measured))
    return 0


def table_of_steadiness(measured: Steadiness) -> Table:
    """A row for each figure, with the reference's own beside."""
    counted = f"{measured.n_frames} frames, {measured.n_faces} faces"
    table = Table(counted, "restored", "reference", box=box.SIMPLE)
    for name, title in FIGURES.items():
        pair = getattr(measured, name)
        table.add_row(title, *(f"{value:.4f}" for value in pair) if pair else ("nothing to measure", ""))
    return table
