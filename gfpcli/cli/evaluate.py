"""The body of `gfp eval`: pairs of pictures to a table, records and files."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TextIO

from rich import box
from rich.console import Console
from rich.table import Table

from gfpcli.cli.console import tell
from gfpcli.cli.output import json_line, json_sink
from gfpcli.errors import InputError, UsageError
from gfpcli.files.atomic import write_bytes
from gfpcli.options import EvalOptions
from gfpcli.photo.inputs import find_images
from gfpcli.train.evaluate import (
    N_INCEPTION,
    NEEDED_WEIGHTS,
    Features,
    Judges,
    cached_judges,
    fid_of,
    measure_files,
    metrics_of,
    statistics_of_files,
)
from gfpcli.train.fid import FeatureStatistics, read_statistics, save_statistics
from gfpcli.train.pairing import Pairing, pairs_of
from gfpcli.train.summary import CONFIDENCE, N_RESAMPLES, Metric, Summary, csv_of, latex_of, summary_of

Rows = list[dict[str, float]]
Summaries = dict[str, Summary]


def run_eval(restored: Path, reference: Path | None, options: EvalOptions) -> int:
    """Compares all pairs; gives the number of pictures that could not be compared. Raises GfpError."""
    if (reference is None) != options.no_reference:
        raise UsageError("give RESTORED and REFERENCE, or RESTORED and --no-reference")
    found = pairs_of(restored, reference)
    judges = cached_judges(tell, options)
    for line in (*found.notes, *found.lonely):
        tell(line)
    statistics = fid_statistics(options.fid_stats, reference, judges) if options.fid_stats else None
    features = Features()
    with ExitStack() as stack:
        sink = json_sink(options.json, stack)
        rows = measure_all(found, judges, options, features, sink)
        if not rows:
            raise InputError(f"{restored}: nothing could be compared")
        summaries = {name: summary_of([row[name] for row in rows]) for name in rows[0]}
        if judges.inception and (reference or statistics):
            summaries["fid"] = Summary(fid_of(features, statistics), None, len(features.restored))
        metrics = metrics_of(options)
        if sink:
            sink.write(json_line(record_of_means(summaries, metrics, len(rows))))
    write_tables(summaries, metrics, options)
    if options.json != "-":
        show(summaries, metrics, options)
    return len(found.lonely) + len(found.pairs) - len(rows)


def measure_all(
    found: Pairing, judges: Judges, options: EvalOptions, features: Features, sink: TextIO | None
) -> Rows:
    """The metrics of each pair that can be compared; what cannot is told, and all of it written to `sink`."""
    rows: Rows = []
    for one, other in found.pairs:
        record: dict[str, Any] = {"restored": str(one)} | ({"reference": str(other)} if other else {})
        try:
            rows.append(measure_files(one, other, judges, options, features))
            record |= finite(rows[-1])
        except InputError as error:
            tell(str(error))
            record["error"] = str(error)
        if sink:
            sink.write(json_line(record))
    return rows


def fid_statistics(path: Path, reference: Path | None, judges: Judges) -> FeatureStatistics:
    """Reads the statistics in a file, or makes them from all pictures of the reference and writes them there.

    Raises:
        UsageError: there is neither a file nor a reference.
        InputError, OutputError: a file that cannot be read or written.
    """
    if path.exists():
        statistics = read_statistics(path, N_INCEPTION)
        of = f"{statistics.n_pictures} pictures" if statistics.n_pictures else "pictures that another program saw"
        tell(f"{path}: FID's statistics of {of}")
        return statistics
    if reference is None or judges.inception is None:
        raise UsageError(f"--fid-stats {path}: is not there; it is made with a REFERENCE")
    statistics = statistics_of_files([each for each, _ in find_images([str(reference)], None)], judges.inception)
    save_statistics(path, statistics)
    tell(f"{path}: FID's statistics of {statistics.n_pictures} pictures, written")
    return statistics


def finite(values: Mapping[str, float]) -> dict[str, float | None]:
    """JSON has no infinity: null in its place."""
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def record_of_means(summaries: Summaries, metrics: Mapping[str, Metric], n_pairs: int) -> dict[str, Any]:
    """The last record: means, their intervals, what is not in them, and how each metric is defined."""
    return {
        "mean": finite({name: each.mean for name, each in summaries.items()}),
        "pairs": n_pairs,
        "interval": {name: each.interval for name, each in summaries.items()},
        "confidence": CONFIDENCE,
        "infinite": {name: each.n_infinite for name, each in summaries.items()},
        "missing": {name: each.n_missing for name, each in summaries.items()},
        "definitions": {name: metric.definition for name, metric in metrics.items()},
    }


def write_tables(summaries: Summaries, metrics: Mapping[str, Metric], options: EvalOptions) -> None:
    """The table of means as the files that were asked for. Raises OutputError."""
    if options.csv:
        write_bytes(options.csv, csv_of(summaries, metrics).encode())
    if options.latex:
        write_bytes(options.latex, latex_of(summaries, metrics).encode())


def show(summaries: Summaries, metrics: Mapping[str, Metric], options: EvalOptions) -> None:
    """The table of means and the definitions, on stdout."""
    console = Console(width=None if Console().is_terminal else 120)
    console.print(table_of_means(summaries, metrics))
    for name, metric in metrics.items():
        way = "--fid-stats" if options.no_reference else f"gfp models pull {NEEDED_WEIGHTS.get(name)}"
        told = metric.definition if name in summaries else f"left out; {way}"
        console.print(f"{metric.title}: {told}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"interval: of the mean, {CONFIDENCE:.0%}, by {N_RESAMPLES} bootstrap resamples of the pictures with "
                  "a fixed seed", highlight=False, soft_wrap=True)  # fmt: skip


def table_of_means(summaries: Summaries, metrics: Mapping[str, Metric]) -> Table:
    """A row for each metric, those that are left out as such."""
    table = Table("metric", "mean", f"interval, {CONFIDENCE:.0%}", "pictures", "infinite", "missing", box=box.SIMPLE)
    for name, metric in metrics.items():
        title = f"{metric.title} ({'higher' if metric.is_higher_better else 'lower'})"
        found = summaries.get(name)
        if found is None:
            table.add_row(title, "left out")
            continue
        ends = "" if found.interval is None else "{:.4f} to {:.4f}".format(*found.interval)
        counts = [str(n) for n in (found.n_pictures, found.n_infinite, found.n_missing)]
        table.add_row(title, f"{found.mean:.4f}", ends, *counts)
    return table
