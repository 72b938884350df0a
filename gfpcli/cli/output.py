"""What commands share about outputs: what stands in their place, and where records go."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TextIO

from gfpcli.cli.progress import Record
from gfpcli.errors import OutputError, UsageError
from gfpcli.files.atomic import os_errors_as
from gfpcli.files.formats import PICTURE_SUFFIXES, VIDEOS
from gfpcli.files.storage import is_url


def json_sink(json_to: str | None, stack: ExitStack) -> TextIO | None:
    """Where records go, closed with `stack`.

    Raises:
        UsageError: it is named like a photo or a video, which it would replace.
        OutputError: it cannot be written.
    """
    if json_to is None or json_to == "-":
        return sys.stdout if json_to else None
    if is_url(json_to):
        raise UsageError(f"--json {json_to}: is written on this machine; give a path")
    if Path(json_to).suffix.lower() in (*PICTURE_SUFFIXES, *VIDEOS):
        raise UsageError(f"--json {json_to}: is named like a photo or a video; choose a name such as records.jsonl")
    with os_errors_as(OutputError, json_to):
        Path(json_to).parent.mkdir(parents=True, exist_ok=True)
        return stack.enter_context(Path(json_to).open("w", encoding="utf-8"))


def json_line(record: Record) -> str:
    """As it is read best; names that are no Unicode as escapes, from which they can be read back."""
    line = json.dumps(record, ensure_ascii=False)
    try:
        line.encode()
    except UnicodeEncodeError:
        line = json.dumps(record)
    return f"{line}\n"
