"""A run on a real terminal (a pseudo-terminal), and what other settings of it make of that."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

import pytest

pexpect = pytest.importorskip("pexpect")
ROOT = Path(__file__).parents[2]
BUILTIN = ("--model", "compact", "--detector", "builtin", "--mask", "soft", "--offline")
COLOUR = re.compile(r"\x1b\[[0-9;]*3[0-9]")


def on_terminal(*words: object, **settings: str) -> tuple[int, str]:
    """Exit code and what a terminal of 80 columns was sent by `gfp WORDS`."""
    environment = {**os.environ, "TERM": "xterm-256color", "PYTHONPATH": str(ROOT), **settings}
    run = pexpect.spawn(
        sys.executable, ["-m", "gfpcli", *map(str, words)], env=environment, dimensions=(30, 80), timeout=120,
        encoding="utf-8",
    )  # fmt: skip
    shown = run.read()
    run.close()
    return run.exitstatus, shown


def test_a_run_shows_a_table_and_ends_with_what_to_do_next(tmp_path: Path) -> None:
    inbox = tmp_path / "in"
    inbox.mkdir()
    shutil.copy(ROOT / "examples" / "photos" / "astronaut_small.jpg", inbox / "a.jpg")
    (inbox / "broken.jpg").write_bytes((inbox / "a.jpg").read_bytes()[:300])
    code, shown = on_terminal("restore", inbox, "-o", tmp_path / "out", *BUILTIN)
    assert code == 1 and "photo" in shown and "restoring, 1 faces" in shown and COLOUR.search(shown)
    lines = shown.splitlines()
    assert "to judge the results: add --report FILE.html" in lines[-2]
    assert "broken.jpg; the same command tries only these again" in lines[-1]
    code, shown = on_terminal("restore", inbox, "-o", tmp_path / "out", *BUILTIN, NO_COLOR="1")
    assert code == 1 and "skipped" in shown and not COLOUR.search(shown)


def test_a_quiet_run_tells_failures_only(tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no photo")
    code, shown = on_terminal("restore", tmp_path / "broken.jpg", "-o", tmp_path / "out", *BUILTIN, "-q")
    assert code == 1 and shown.startswith("failed ") and shown.count("\n") == 1
