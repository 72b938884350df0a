"""What was done with which settings: a file of JSON lines in the output folder.

A line is on the disk before its output takes its name, so that every output of ours is known whenever a run is killed
or the power fails. A line says what the output's content will be: without that output it counts for nothing, and its
input is done again, as where a crash cut the line short.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

from gfpcli.errors import OutputError
from gfpcli.files.atomic import os_errors_as, sha256_of
from gfpcli.files.storage import StoreError, store_of
from gfpcli.types import FaceRecord

LEDGER = ".gfp-ledger.jsonl"  # behind a URL a folder, without the suffix
NOT_OURS = ": is there already and is not gfp's: choose another --output, or --force"
DONE = "done before"
CHANGED = " was changed after gfp wrote it and is kept; --force replaces it"
OFTEN_EMPTY = ("same_as", "extras", "source", "made_with")  # which a line then leaves out
State: TypeAlias = Literal["done", "open", "edited", "foreign"]
"""Of an output: as it should be; to be made (again); changed since it was made; there, but never made by us."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One finished output."""

    output: str  # path relative to the ledger's folder
    input_sha256: str
    settings: str  # fingerprint of everything that changes pixels or files
    output_sha256: str
    faces: str = ""  # JSON of the records of its faces, without their landmarks; kept as text, which is small
    same_as: str = ""  # other settings by which the output would be the same: those of the plan that says what was done
    extras: str = ""  # JSON of what `--save` kept beside it: relative paths to the SHA-256 of their content
    source: str = ""  # the input, as the run named it
    made_with: str = ""  # JSON of the version, the networks and the settings, for people


class Ledger:
    """The finished outputs of a folder, by their relative path.

    Args:
        known: what `known_of` gave elsewhere, in place of the file.

    Raises:
        OutputError: the ledger cannot be read or written.
    """

    def __init__(self, folder: Path, known: Iterable[Entry] | None = None) -> None:
        self.folder = folder
        self.path = folder / LEDGER
        self._journal = store_of(folder).journal(self.path)
        self._entries: dict[str, Entry] = {}  # the last one of each output
        self._made: dict[str, tuple[str, ...]] = {}  # each content that an output was ever given
        if known is not None:
            for entry in known:
                self._keep(entry)
            return
        with os_errors_as(OutputError, self.path):
            lines = self._journal.read()
        for line in lines:
            self._take(line)

    def _take(self, line: str) -> None:
        try:
            entry = Entry(**json.loads(line))
            if not all(isinstance(value, str) for value in asdict(entry).values()):
                return
            self._keep(replace(entry, made_with=sys.intern(entry.made_with)))
        except (ValueError, TypeError, RecursionError):
            return  # cut short, or not ours

    def _keep(self, entry: Entry) -> None:
        for name, digest in dict(json.loads(entry.extras or "{}")).items():
            self._keep(
                Entry(str(name), entry.input_sha256, "", str(digest), source=entry.source, made_with=entry.made_with)
            )
        self._entries[entry.output] = entry
        made = self._made.get(entry.output, ())
        if entry.output_sha256 not in made:
            self._made[entry.output] = (*made, entry.output_sha256)

    def known_of(self, output: Path) -> tuple[Entry, ...]:
        """All that is known of one output, for a ledger elsewhere: its last entry behind the contents it ever had."""
        key = self._key(output)
        last = self._entries.get(key)
        return () if last is None else (*(Entry(key, "", "", digest) for digest in self._made[key]), last)

    def entry_of(self, output: Path) -> Entry | None:
        """The last entry of an output, or of what is kept beside one, which has no settings."""
        return self._entries.get(self._key(output))

    def has_made(self, output: Path, output_sha256: str) -> bool:
        """Whether gfp ever gave this content to this output."""
        return output_sha256 in self._made.get(self._key(output), ())

    def outputs(self) -> frozenset[Path]:
        """Every path that was ever an output of this folder."""
        return frozenset(self.folder / name for name in self._entries)

    def state_of(self, output: Path, input_sha256: str, settings: str) -> State:
        """Whether `output` was made from this content with these settings, and what stands in its place if not."""
        key = self._key(output)
        entry = self._entries.get(key)
        if entry is None:
            return "foreign" if store_of(output).exists(output) else "open"
        try:
            digest = sha256_of(output)
        except StoreError:
            raise  # nobody knows what is there
        except OSError:
            return "open"  # gone, or not to be read
        if digest not in self._made[key]:
            return "edited"
        is_same = (entry.input_sha256, entry.output_sha256) == (input_sha256, digest)
        is_same = is_same and settings in (entry.settings, entry.same_as or entry.settings)
        return "done" if is_same else "open"

    def check_ours(self, output: Path) -> None:
        """Raises OutputError where something stands at `output` that gfp did not write, or not with this content."""
        state = self.state_of(output, "", "")
        if state in ("foreign", "edited"):
            raise OutputError(f"{output}{NOT_OURS if state == 'foreign' else CHANGED}")

    def is_gone(self, output: Path) -> bool:
        """Whether gfp made this file and it is not there any more. Raises OSError behind a URL."""
        return self._key(output) in self._entries and not store_of(output).exists(output)

    def faces_of(self, output: Path) -> tuple[FaceRecord, ...]:
        """A finished output's faces without landmarks; none where they are not known, or were tampered with."""
        entry = self._entries.get(self._key(output))
        faces = []
        with suppress(ValueError, TypeError, AttributeError, RecursionError):
            for face in json.loads(entry.faces) if entry else []:
                with suppress(ValueError, TypeError, AttributeError):
                    faces.append(FaceRecord.from_json(face))
        return tuple(faces)

    def add(
        self, output: Path, input_sha256: str, settings: str, output_sha256: str, faces: Iterable[FaceRecord] = (),
        extras: Mapping[Path, str] | None = None, *, same_as: str = "", source: str = "", made_with: str = "",
    ) -> None:  # fmt: skip
        """Records an output that is about to take its name; the line is on the disk when this returns.

        Args:
            extras: what is kept beside it, with the SHA-256 of the content; recorded with it, so that it is known as
                gfp's, and no input of a later run.
            same_as: other settings by which the output would be the same.
            source: the input's name.
            made_with: JSON of what made it; of one run always the same text.
        """
        short = json.dumps([replace(face, landmarks=()).to_json() for face in faces])
        beside = json.dumps({self._key(path): digest for path, digest in extras.items()}) if extras else ""
        key = self._key(output)
        entry = Entry(key, input_sha256, settings, output_sha256, short, same_as, beside, source, made_with)
        facts = {key: value for key, value in asdict(entry).items() if value or key not in OFTEN_EMPTY}
        with os_errors_as(OutputError, self.path):
            self._journal.append(json.dumps(facts))
        self._keep(entry)

    def _key(self, output: Path) -> str:
        return output.relative_to(self.folder).as_posix()


def what_stands(ledger: Ledger, target: Path, digest: str, settings: str) -> str | None:
    """Why an output is left as it is, None where it is to be made.

    Raises:
        OutputError: something stands there that is not ours.
    """
    state = ledger.state_of(target, digest, settings)
    if state == "foreign":
        raise OutputError(f"{target}{NOT_OURS}")
    return {"done": DONE, "edited": f"{target}{CHANGED}"}.get(state)
