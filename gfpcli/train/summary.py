"""The values of many pictures as means with intervals and counts, and these as CSV and LaTeX."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

N_RESAMPLES = 2000
CONFIDENCE = 0.95
TABLE_COLUMNS = ("metric", "better", "mean", "low", "high", "pictures", "infinite", "missing", "definition")
LATEX_SIGNS = {"\\": r"\textbackslash{}", **{sign: f"\\{sign}" for sign in "&%$#_{}"}, "~": r"\textasciitilde{}",
               "^": r"\textasciicircum{}"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Summary:
    """The mean over the pictures with a finite value; how many have another one is told beside it."""

    mean: float  # NaN where no picture has a finite value
    interval: tuple[float, float] | None  # of the mean; None with fewer than two finite values
    n_pictures: int  # in the mean
    n_infinite: int = 0  # equal pictures have no finite PSNR
    n_missing: int = 0  # too small for NIQE, no face, ...


@dataclass(frozen=True, slots=True)
class Metric:
    """What is said of a metric."""

    title: str
    is_higher_better: bool
    definition: str


def summary_of(values: Sequence[float]) -> Summary:
    """Mean and bootstrap interval of one metric's values, a NaN for each picture that has none."""
    every = np.array(values, np.float64)
    kept = every[np.isfinite(every)]
    mean = float(kept.mean()) if len(kept) else math.nan
    n_infinite = int(np.isinf(every).sum())
    return Summary(mean, bootstrap_interval(kept), len(kept), n_infinite, len(every) - len(kept) - n_infinite)


def bootstrap_interval(values: np.ndarray) -> tuple[float, float] | None:
    """The percentile bootstrap of the mean: N_RESAMPLES draws with replacement, always the same ones."""
    if len(values) < 2:
        return None
    rng = np.random.default_rng(0)
    means = [values[rng.integers(0, len(values), len(values))].mean() for _ in range(N_RESAMPLES)]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means, (tail, 1 - tail))
    return float(low), float(high)


def csv_of(summaries: Mapping[str, Summary], metrics: Mapping[str, Metric]) -> str:
    """A line for each metric; numbers in full, a cell is empty where there is none."""
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(TABLE_COLUMNS)
    for name, found in summaries.items():
        metric = metrics[name]
        ends = found.interval or ("", "")
        mean = found.mean if math.isfinite(found.mean) else ""
        better = "higher" if metric.is_higher_better else "lower"
        table.writerow((name, better, mean, *ends, found.n_pictures, found.n_infinite, found.n_missing,
                        metric.definition))  # fmt: skip
    return out.getvalue()


def latex_of(summaries: Mapping[str, Summary], metrics: Mapping[str, Metric]) -> str:
    """A tabular that needs no package; the definitions stand above it as comments."""
    lines = [f"% {metrics[name].title}: {metrics[name].definition}" for name in summaries]
    lines += [r"\begin{tabular}{lrrrrr}", r"\hline",
              rf"metric & mean & {CONFIDENCE:.0%} interval & pictures & infinite & missing \\".replace("%", r"\%"),
              r"\hline"]  # fmt: skip
    for name, found in summaries.items():
        arrow = r"$\uparrow$" if metrics[name].is_higher_better else r"$\downarrow$"
        ends = "--" if found.interval is None else "{:.4f} to {:.4f}".format(*found.interval)
        mean = f"{found.mean:.4f}" if math.isfinite(found.mean) else "--"
        counts = f"{found.n_pictures} & {found.n_infinite} & {found.n_missing}"
        lines.append(rf"{escaped(metrics[name].title)} {arrow} & {mean} & {ends} & {counts} \\")
    return "\n".join([*lines, r"\hline", r"\end{tabular}", ""])


def escaped(text: str) -> str:
    """Text as LaTeX prints it."""
    return "".join(LATEX_SIGNS.get(sign, sign) for sign in text)
