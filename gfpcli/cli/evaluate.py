"""The body of `gfp eval`: pairs of pictures to a table and records."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from gfpcli.adapters.basicsr import inception
from gfpcli.adapters.lpips import lpips_metric
from gfpcli.cli.console import tell
from gfpcli.cli.output import json_sink
from gfpcli.errors import InputError
from gfpcli.model.checkpoint import read_state
from gfpcli.photo.codec import read_frame
from gfpcli.photo.inputs import find_images
from gfpcli.pipeline.align import to_8_bit
from gfpcli.train.build import load_arcface
from gfpcli.train.evaluate import Features, Judges, compare, fid_of
from gfpcli.weights.cache import ready

NEEDS = {"lpips": "vgg16", "deg": "arcface-r18", "fid": "inception-fid"}
UNITS = {
    "psnr": "PSNR, dB (higher)", "ssim": "SSIM (higher)", "niqe": "NIQE (lower)", "lpips": "LPIPS (lower)",
    "deg": "Deg., identity (lower)", "fid": "FID (lower)",
}  # fmt: skip


def run_eval(restored: Path, reference: Path, json_to: str | None) -> int:
    """Compares all pairs; gives the number of pictures that could not be compared. Raises GfpError."""
    pairs, notes, lonely = pairs_of(restored, reference)
    judges = load_judges()
    features, rows, n_failed = Features(), [], len(lonely)
    for line in (*notes, *lonely):
        tell(line)
    with ExitStack() as stack:
        sink = json_sink(json_to, stack)
        for one, other in pairs:
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
        Console(width=None if Console().is_terminal else 100).print(table_of(means, len(rows)))
    return n_failed


def compare_files(one: Path, other: Path, judges: Judges, features: Features) -> dict[str, float]:
    """The metrics of two files. Raises InputError: unreadable, or of different sizes."""
    pictures = [to_8_bit(read_frame(path, 0).image) for path in (one, other)]
    if pictures[0].shape != pictures[1].shape:
        sizes = " and ".join(f"{picture.shape[1]}x{picture.shape[0]}" for picture in pictures)
        raise InputError(f"{one}: not the size of {other} ({sizes})")
    return compare(pictures[0], pictures[1], judges, features)


def pairs_of(restored: Path, reference: Path) -> tuple[list[tuple[Path, Path]], list[str], list[str]]:
    """Files of the same name in two folders, else of the same stem.

    Returns:
        The pairs, a note for each that agrees in its stem only, and a line for each restored picture that has no
        reference, or several.

    Raises:
        InputError: a path does not exist or holds no images.
    """
    if restored.is_file() and reference.is_file():
        return [(restored, reference)], [], []
    if restored.is_file() or reference.is_file():
        raise InputError(f"{restored} and {reference}: give two pictures or two folders")
    by_name, by_stem = {}, defaultdict(list)
    for path, relative in find_images([str(reference)], None):
        by_name[relative] = path
        by_stem[relative.with_suffix("")].append(path)
    pairs, notes, lonely = [], [], []
    for path, relative in find_images([str(restored)], None):
        others = [by_name[relative]] if relative in by_name else by_stem[relative.with_suffix("")]
        if len(others) != 1:
            names = f": {', '.join(other.name for other in others)}" if others else ""
            lonely.append(f"{path}: {'several pictures' if others else 'no picture'} of that name in {reference}{names}")
            continue
        pairs.append((path, others[0]))
        if relative not in by_name:
            notes.append(f"{path}: compared with {others[0]}, which has another suffix")
    return pairs, notes, lonely


def load_judges() -> Judges:
    """The networks whose weights are in the cache; says what the others need.

    Raises:
        WeightsError: a file in the cache is not what it should be.
    """
    files = {metric: ready(name) for metric, name in NEEDS.items()}
    for metric, path in files.items():
        if path is None:
            tell(f"{metric}: left out, its weights are not here; gfp models pull {NEEDS[metric]}")
    vgg, arcface, fid = files["lpips"], files["deg"], files["fid"]
    return Judges(
        lpips_metric(read_state(vgg), source=str(vgg)) if vgg else None,
        load_arcface(arcface) if arcface else None,
        inception(fid) if fid else None,
    )


def means_of(rows: list[dict[str, float]]) -> dict[str, float]:
    """Over the pairs that have a finite value: equal pictures have no PSNR, small ones no NIQE."""
    means = {}
    for name in rows[0]:
        values = np.array([row[name] for row in rows])
        kept = values[np.isfinite(values)]
        means[name] = float(kept.mean()) if len(kept) else float(values[0])
    return means


def finite(values: dict[str, float]) -> dict[str, float | None]:
    """JSON has no infinity: null in its place."""
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def table_of(means: dict[str, float], n_pairs: int) -> Table:
    """All six metrics, those that are missing as such."""
    table = Table("metric", f"mean of {n_pairs}", box=box.SIMPLE)
    for name, unit in UNITS.items():
        if name not in means:
            table.add_row(unit, f"not there (gfp models pull {NEEDS[name]})")
        else:
            table.add_row(unit, f"{means[name]:.4f}")
    return table
