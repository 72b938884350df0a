"""What was done with which settings: a file of JSON lines in the output folder.

A line is appended when an output is whole. A line cut short by a crash is ignored, so its input is simply done again.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gfpcli.errors import OutputError
from gfpcli.weights import sha256_of

LEDGER = ".gfp-ledger.jsonl"


@dataclass(frozen=True, slots=True)
class Entry:
    """One finished output."""

    output: str  # path relative to the ledger's folder
    input_sha256: str
    settings: str  # fingerprint of everything that changes pixels or files
    output_sha256: str
    faces: str = ""  # JSON of the records of its faces, without their landmarks; kept as text, which is small


class Ledger:
    """The finished outputs of a folder, by their relative path.

    Raises:
        OutputError: the ledger cannot be read or written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / LEDGER
        self._entries: dict[str, Entry] = {}
        if self.path.exists():
            try:
                lines = self.path.read_text(encoding="utf-8", errors="replace").splitlines()
            except OSError as error:
                raise OutputError(f"{self.path}: {error.strerror or error}") from error
            for line in lines:
                self._take(line)

    def _take(self, line: str) -> None:
        try:
            entry = Entry(**json.loads(line))
        except (ValueError, TypeError):
            return  # cut short, or not ours
        self._entries[entry.output] = entry

    def is_done(self, output: Path, input_sha256: str, settings: str) -> bool:
        """True where `output` was made from this content with these settings and is still as it was written."""
        entry = self._entries.get(self._key(output))
        if entry is None or (entry.input_sha256, entry.settings) != (input_sha256, settings):
            return False
        try:
            return sha256_of(output) == entry.output_sha256
        except OSError:
            return False  # gone

    def faces_of(self, output: Path) -> list[dict[str, Any]]:
        """The records of a finished output's faces; none where they are not known, or were tampered with."""
        entry = self._entries.get(self._key(output))
        try:
            faces = json.loads(entry.faces) if entry else []
            return [face for face in faces if _is_face(face)]
        except (ValueError, TypeError, RecursionError):
            return []

    def add(self, output: Path, input_sha256: str, settings: str, faces: Sequence[Mapping[str, Any]] = ()) -> None:
        """Records a finished output. `faces` are as `--json` tells them."""
        short = [{key: value for key, value in face.items() if key != "landmarks"} for face in faces]
        try:
            entry = Entry(self._key(output), input_sha256, settings, sha256_of(output), json.dumps(short))
            with self.path.open("a+b") as file:
                if file.tell():
                    file.seek(-1, os.SEEK_END)
                    if file.read(1) != b"\n":
                        file.write(b"\n")  # the last line was cut short
                file.write(json.dumps(asdict(entry)).encode() + b"\n")
        except OSError as error:
            raise OutputError(f"{self.path}: {error.strerror or error}") from error
        self._entries[entry.output] = entry

    def _key(self, output: Path) -> str:
        return output.relative_to(self.folder).as_posix()


def _is_face(face: Any) -> bool:
    """Whether a record has what a report shows."""
    numbers = [*face["box"], face["score"], face.get("seconds", 0.0)] if {"box", "score", "status"} <= set(face) else []
    return len(numbers) == 6 and all(type(each) in (int, float) and math.isfinite(each) for each in numbers)
