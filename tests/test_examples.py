"""The examples run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def test_bench_prints_a_line_for_each_stage() -> None:
    done = subprocess.run([sys.executable, EXAMPLES / "bench.py"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["decode", "detect", "net", "paste", "encode"]
