"""What commands share about outputs: what stands in their place, and where records go."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TextIO

from gfpcli.cli.progress import Record
from gfpcli.errors import OutputError, UsageError
from gfpcli.inputs import OTHER_SUFFIXES, SUFFIX_FORMATS, VIDEOS
from gfpcli.ledger import Ledger
from gfpcli.places import is_url


def what_stands(ledger: Ledger, target: Path, digest: str, settings: str) -> str | None:
    """Why an output is left as it is, None where it is to be made.

    Raises:
        OutputError: something stands there that is not ours.
    """
    state = ledger.state_of(target, digest, settings)
    if state == "foreign":
        raise OutputError(f"{target}: is there already and is not gfp's: choose another --output, or --force")
    changed = f"{target} was changed after gfp wrote it and is kept; --force replaces it"
    return {"done": "done before", "edited": changed}.get(state)


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
    if Path(json_to).suffix.lower() in (*SUFFIX_FORMATS, *OTHER_SUFFIXES, *VIDEOS):
        raise UsageError(f"--json {json_to}: is named like a photo or a video; choose a name such as records.jsonl")
    try:
        Path(json_to).parent.mkdir(parents=True, exist_ok=True)
        return stack.enter_context(Path(json_to).open("w", encoding="utf-8"))
    except OSError as error:
        raise OutputError(f"{json_to}: {error.strerror or error}") from error


def json_line(record: Record) -> str:
    """As it is read best; names that are no Unicode as escapes, from which they can be read back."""
    line = json.dumps(record, ensure_ascii=False)
    try:
        line.encode()
    except UnicodeEncodeError:
        line = json.dumps(record)
    return f"{line}\n"
