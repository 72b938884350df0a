"""Means, their intervals and counts, and the tables that are made of them."""

from __future__ import annotations

import csv
import io
import math

import numpy as np
import pytest

from gfpcli.train.summary import TABLE_COLUMNS, Metric, Summary, csv_of, escaped, latex_of, summary_of

METRICS = {"psnr": Metric("PSNR, dB", True, "peak 255, 50 % & more"), "lmd": Metric("LMD", False, "px")}


def test_infinite_and_missing_values_are_counted_and_not_averaged() -> None:
    found = summary_of([20.0, 30.0, math.inf, math.nan, math.nan])
    assert (found.mean, found.n_pictures, found.n_infinite, found.n_missing) == (25.0, 2, 1, 2)
    none = summary_of([math.inf])
    assert math.isnan(none.mean) and none.interval is None and none.n_infinite == 1
    assert summary_of([3.0]).interval is None


def test_the_interval_covers_the_mean_as_often_as_it_says() -> None:
    rng = np.random.default_rng(7)
    values = [list(rng.normal(10, 2, 40)) for _ in range(60)]
    intervals = [summary_of(each).interval for each in values]
    assert intervals[0] == summary_of(values[0]).interval  # a fixed seed
    covered = sum(low <= 10 <= high for low, high in filter(None, intervals))
    assert 50 <= covered <= 60
    widths = [high - low for low, high in filter(None, intervals)]
    assert np.mean(widths) == pytest.approx(2 * 1.96 * 2 / math.sqrt(40), rel=0.1)


def test_tables_for_a_spreadsheet_and_for_a_paper() -> None:
    summaries = {"psnr": Summary(25.123456789, (24.0, 26.0), 9, 1, 2), "lmd": Summary(math.nan, None, 0, 0, 12)}
    one, other = csv.DictReader(io.StringIO(csv_of(summaries, METRICS)))
    assert tuple(one) == TABLE_COLUMNS and one["definition"] == "peak 255, 50 % & more"
    assert (float(one["mean"]), one["low"], one["infinite"], one["missing"]) == (25.123456789, "24.0", "1", "2")
    assert (other["mean"], other["low"], other["better"], other["missing"]) == ("", "", "lower", "12")
    latex = latex_of(summaries, METRICS)
    assert r"PSNR, dB $\uparrow$ & 25.1235 & 24.0000 to 26.0000 & 9 & 1 & 2 \\" in latex
    assert r"LMD $\downarrow$ & -- & -- & 0 & 0 & 12 \\" in latex and r"95\% interval" in latex
    assert all(line.startswith("% ") for line in latex.splitlines()[:2])
    assert escaped("a_b & 5 %{\\}") == r"a\_b \& 5 \%\{\textbackslash{}\}"
