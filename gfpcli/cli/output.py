"""JSON lines of a command: where they go, and that they replace no other file."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TextIO

from gfpcli.errors import OutputError, UsageError
from gfpcli.files.atomic import os_errors_as
from gfpcli.files.formats import PICTURE_SUFFIXES, VIDEOS
from gfpcli.files.storage import is_url

FIRST_KEYS = ("input", "stage", "restored", "mean", "file")  # of restore and video, bench, eval, verify
HIDDEN = ".gfp-"  # how the names of files begin that gfp keeps for itself


def json_sink(json_to: str | None, stack: ExitStack, *, is_forced: bool = False) -> TextIO | None:
    """Where records go, closed with `stack`; None where none are wanted.

    Args:
        is_forced: a file that holds something else may be replaced.

    Raises:
        UsageError: it is named like a photo, a video or a file that gfp keeps for itself.
        OutputError: it holds something else than records, or cannot be written.
    """
    if json_to is None or json_to == "-":
        return sys.stdout if json_to else None
    if is_url(json_to):
        raise UsageError(f"--json {json_to}: is written on this machine; give a path")
    path = Path(json_to)
    if path.suffix.lower() in (*PICTURE_SUFFIXES, *VIDEOS):
        raise UsageError(f"--json {json_to}: is named like a photo or a video; choose a name such as records.jsonl")
    with os_errors_as(OutputError, json_to):
        if path.name.startswith(HIDDEN) or path.resolve().name.startswith(HIDDEN):
            raise UsageError(f"--json {json_to}: gfp keeps this file for itself; choose a name such as records.jsonl")
        if not is_forced and path.is_file() and not _holds_records(path):
            raise OutputError(f"{json_to}: is there already and holds no records of gfp: choose another --json")
        path.parent.mkdir(parents=True, exist_ok=True)
        return stack.enter_context(path.open("w", encoding="utf-8"))


def _holds_records(path: Path) -> bool:
    """Whether the file is empty or begins with a record. Raises OSError."""
    with path.open("rb") as file:
        line = file.readline(1 << 20)
        if not line:
            return True
        try:
            first = json.loads(line if line.endswith(b"\n") else line + file.readline())
        except (ValueError, RecursionError):
            return False
    return isinstance(first, dict) and next(iter(first), None) in FIRST_KEYS


def json_line(record: Mapping[str, Any]) -> str:
    """As it is read best; names that are no Unicode as escapes, from which they can be read back."""
    line = json.dumps(record, ensure_ascii=False)
    try:
        line.encode()
    except UnicodeEncodeError:
        line = json.dumps(record)
    return f"{line}\n"
