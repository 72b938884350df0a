"""`gfp bench` as a user runs it."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gfpcli.cli import bench as cli_bench
from gfpcli.cli.app import app
from gfpcli.weights.cpu import ISA_LIMIT, CpuFeatures

BUILTIN = ("--offline", "--model", "compact", "--detector", "builtin", "--rounds", "1")
WITHOUT = CpuFeatures("A processor", ("avx2",), "AVX2", "Intel AVX2")
STAGES = ["decode", "detect", "align", "net", "identity", "mask", "paste", "encode", "all"]


def bench(*words: object) -> Result:
    return CliRunner().invoke(app, ["bench", *map(str, words), *BUILTIN])


def test_the_portrait_in_the_package_gives_a_row_for_each_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli_bench, "cpu_features", lambda: WITHOUT)
    done = bench("--json", tmp_path / "b.jsonl")
    assert done.exit_code == 0, done.stderr
    assert WITHOUT.line() in done.stdout.splitlines()[0] and "without" not in done.stdout.partition("\n")[2]
    words = [line.split() for line in done.stdout.splitlines() if line.split()]
    assert [line[0] for line in words if line[0] in STAGES] == STAGES
    rows = {row["stage"]: row for row in map(json.loads, (tmp_path / "b.jsonl").read_text().splitlines())}
    assert list(rows) == STAGES
    parts = sum(rows[stage]["seconds_per_image"] for stage in STAGES[:-1])
    assert rows["all"]["seconds_per_image"] == pytest.approx(parts, abs=1e-4)
    assert rows["net"]["faces_per_s"] == pytest.approx(1 / rows["net"]["seconds_per_image"], rel=0.01)
    assert rows["all"]["peak_memory"] >= rows["net"]["peak_memory"] > 50e6
    assert rows["all"]["cpu"]["onednn_isa"] == WITHOUT.onednn_isa
    assert [path.name for path in tmp_path.iterdir()] == ["b.jsonl"]


def test_a_cpu_with_bf16_is_also_measured_as_one_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ISA_LIMIT, raising=False)
    monkeypatch.setattr(cli_bench, "cpu_features", lambda: replace(WITHOUT, onednn_isa="with bfloat16 support"))
    done = bench("--json", tmp_path / "b.jsonl", "--threads", "1")
    assert done.exit_code == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "b.jsonl").read_text().splitlines()]
    assert [row["stage"] for row in rows] == STAGES
    assert all(row["seconds_per_image_without_bf16"] > 0 for row in rows)
    assert "without" in done.stdout and os.environ.get(ISA_LIMIT) is None


def test_records_alone_go_to_stdout_and_bad_input_is_one_line(tmp_path: Path) -> None:
    done = bench("--json", "-", "--aligned")
    assert done.exit_code == 1 and done.stderr.count("\n") == 1 and "not square" in done.stderr
    (tmp_path / "bad.png").write_text("not an image")
    done = bench(tmp_path / "bad.png")
    assert (done.exit_code, done.stderr.count("\n")) == (1, 1) and "bad.png" in done.stderr
    done = bench("--threads", "-1")
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1) and "threads" in done.stderr
