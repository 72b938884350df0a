"""The body of `gfp eval`: pairs of pictures to a table and records."""

from __future__ import annotations

import json
import math
from contextlib import ExitStack
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from gfpcli.cli.console import tell
from gfpcli.cli.output import json_sink
from gfpcli.errors import InputError
from gfpcli.train.evaluate import NEEDED_WEIGHTS, Features, cached_judges, compare_files, fid_of, means_of, pairs_of

UNITS = {
    "psnr": "PSNR, dB (higher)", "ssim": "SSIM (higher)", "niqe": "NIQE (lower)", "lpips": "LPIPS (lower)",
    "deg": "Deg., identity (lower)", "fid": "FID (lower)",
}  # fmt: skip


def run_eval(restored: Path, reference: Path, json_to: str | None) -> int:
    """Compares all pairs; gives the number of pictures that could not be compared. Raises GfpError."""
    found = pairs_of(restored, reference)
    judges = cached_judges(tell)
    features, rows, n_failed = Features(), [], len(found.lonely)
    for line in (*found.notes, *found.lonely):
        tell(line)
    with ExitStack() as stack:
        sink = json_sink(json_to, stack)
        for one, other in found.pairs:
            try:
                values = compare_files(one, other, judges, features)
            except InputError as error:
                tell(str(error))
                n_failed += 1
                continue
            rows.append(values)
            if sink:
                sink.write(json.dumps({"restored": str(one), "reference": str(other), **finite(values)}) + "\n")
        if not rows:
            raise InputError(f"{restored}: nothing could be compared")
        means = means_of(rows) | ({"fid": fid_of(features)} if judges.inception else {})
        if sink:
            sink.write(json.dumps({"mean": finite(means), "pairs": len(rows)}) + "\n")
    if json_to != "-":
        Console(width=None if Console().is_terminal else 100).print(table_of_means(means, len(rows)))
    return n_failed


def finite(values: dict[str, float]) -> dict[str, float | None]:
    """JSON has no infinity: null in its place."""
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def table_of_means(means: dict[str, float], n_pairs: int) -> Table:
    """All six metrics, those that are missing as such."""
    table = Table("metric", f"mean of {n_pairs}", box=box.SIMPLE)
    for name, unit in UNITS.items():
        if name not in means:
            table.add_row(unit, f"not there (gfp models pull {NEEDED_WEIGHTS[name]})")
        else:
            table.add_row(unit, f"{means[name]:.4f}")
    return table
