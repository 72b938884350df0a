"""What is known of a finished file: by the label in it, and by the ledger in its folder or one above."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from gfpcli.errors import GfpError, InputError, OutputError, os_reason
from gfpcli.files.atomic import os_errors_as, sha256_of
from gfpcli.files.folders import is_own, kind_or_none, search
from gfpcli.files.formats import PICTURE_SUFFIXES, VIDEOS
from gfpcli.files.kinds import kind_of_bytes
from gfpcli.files.ledger import Entry, Ledger
from gfpcli.files.storage import REMOTE, is_remote, is_url, local_word, matches, store_of
from gfpcli.photo.codec import decode_photo, read_file
from gfpcli.photo.embed import read_carried
from gfpcli.photo.label import Label, read_label

Finding: TypeAlias = Literal["unchanged", "edited", "label_only", "not_gfp", "damaged", "missing"]
"""`label_only`: the file says that gfp made it, and no ledger knows it, so that it may have been edited since.
`missing`: the ledger knows it, and it is gone, or the run was stopped before it had its name."""
VERDICTS: dict[Finding, str] = {
    "unchanged": "unchanged", "edited": "edited", "label_only": "label only", "not_gfp": "not gfp's",
    "damaged": "damaged", "missing": "missing",
}  # fmt: skip
LabelReader: TypeAlias = Callable[[Path], Label | None]


@dataclass(frozen=True, slots=True)
class Verified:
    """What is known of a file."""

    path: Path
    verdict: Finding
    sha256: str | None = None  # of its content now; None where it cannot be read
    label: Label | None = None  # in the file
    entry: Entry | None = None  # the ledger's
    error: str | None = None  # one line: why it cannot be read

    @property
    def made_with(self) -> dict[str, Any]:
        """What the ledger tells of the run; by the label where the ledger does not know the file."""
        if self.entry is None:
            return self.label.to_json() if self.label else {}
        with suppress(ValueError, RecursionError):
            facts = json.loads(self.entry.made_with or "{}")
            return facts if isinstance(facts, dict) else {}
        return {}

    @property
    def n_drawn(self) -> int | None:
        """Faces that were drawn in it; None where nobody knows."""
        if self.label:
            return self.label.n_faces
        with suppress(ValueError, TypeError, AttributeError, RecursionError):
            faces = json.loads(self.entry.faces) if self.entry and self.entry.faces else None
            return None if faces is None else sum(face.get("status") == "restored" for face in faces)
        return None

    def to_json(self) -> dict[str, Any]:
        """The record that `--json` writes."""
        entry, facts = self.entry, self.made_with
        told = {
            name: facts.get(name)
            for name in ("version", "model", "model_sha256", "strength", "background", "scale", "settings")
        }
        return {
            "file": str(self.path), "status": self.verdict, "sha256": self.sha256,
            "input": entry.source or None if entry else None,
            "input_sha256": entry.input_sha256 or None if entry else None,
            **told, "faces_drawn": self.n_drawn, "has_label": self.label is not None, "error": self.error,
        }  # fmt: skip

    def line(self) -> str:
        """What is told of it, without the verdict."""
        facts, entry = self.made_with, self.entry
        if self.verdict in ("damaged", "not_gfp") or entry is None and self.error:
            return self.error or str(self.path)
        source = f" from {entry.source} (SHA-256 {entry.input_sha256[:12]})" if entry and entry.source else ""
        words = [f"gfp {facts['version']}{source}" if "version" in facts else f"gfp{source}"]
        scale = facts.get("scale")
        told = {**facts, "scale": f"{scale:g}" if isinstance(scale, float | int) else None}
        words += [f"{name} {told[name]}" for name in ("model", "strength", "scale", "background") if told.get(name)]
        words += [] if self.n_drawn is None else [f"{self.n_drawn} face{'' if self.n_drawn == 1 else 's'} drawn"]
        how = {
            "edited": "changed since it was made by ", "label_only": "no ledger knows it; its label says: ",
            "missing": "gone, or never finished: ",
        }.get(self.verdict, "")  # fmt: skip
        return f"{self.path}: {how}{', '.join(words)}"


@dataclass(frozen=True, slots=True)
class Verifier:
    """Looks at files; ledgers are read once.

    Args:
        label_of_clip: reads the label of a video file, or raises InputError.
    """

    label_of_clip: LabelReader
    ledgers: dict[Path, Ledger] = field(default_factory=dict)

    def verify(self, words: Iterable[str]) -> Iterator[Verified]:
        """Each output among files, folders, globs and URLs; of a folder also what its ledger knows and is gone.

        In folders, what is neither a picture nor a video nor known to a ledger is passed over.

        Raises:
            InputError: a store does not answer.
            UsageError: a URL of an unknown kind.
        """
        for word in map(local_word, words):
            with os_errors_as(InputError, word):
                places = matches(word)
            for place in places:
                yield from self._below(place, is_url(word))

    def _below(self, place: Path, is_behind_url: bool) -> Iterator[Verified]:
        """A file, or what is in a folder. Raises InputError."""
        with os_errors_as(InputError, place):
            store = store_of(place)
            if not store.is_folder(place):
                yield self.verify_file(place) if store.exists(place) else self._nothing_at(place)
                return
            found = _files_behind(place) if is_behind_url else None
        closed: list[Path] = []
        if found is None:
            searched = search(place, None, frozenset(), takes_hidden=True)
            found, closed = searched.files, searched.closed
        yield from (Verified(each, "damaged", error=f"{each}: cannot be opened") for each in closed)
        yield from (self.verify_file(each) for each in found if self._is_wanted(each))
        yield from self._missing(place, found)

    def _nothing_at(self, path: Path) -> Verified:
        """Where a file was asked for and none is."""
        ledger = self._ledger_of(_absolute(path))
        entry = ledger.entry_of(_absolute(path)) if ledger else None
        return Verified(path, "missing", entry=entry, error=f"{path}: no such file or folder")

    def _missing(self, folder: Path, found: Iterable[Path]) -> Iterator[Verified]:
        """What the ledger in a folder knows and is not there. Raises InputError."""
        ledger, there = self._ledger(_absolute(folder)), {str(_absolute(each)) for each in found}
        for output in sorted(each for each in ledger.outputs() if str(each) not in there):
            with os_errors_as(InputError, output):
                if not store_of(output).exists(output):
                    shown = folder / output.relative_to(ledger.folder).as_posix()
                    yield Verified(shown, "missing", entry=ledger.entry_of(output))

    def verify_file(self, path: Path) -> Verified:
        """What is known of one file."""
        place = _absolute(path)
        try:
            digest = sha256_of(place)
        except OSError as error:
            return Verified(path, "damaged", error=f"{path}: {os_reason(error)}")
        ledger = self._ledger_of(place)
        entry = ledger.entry_of(place) if ledger else None
        is_made = ledger is not None and ledger.has_made(place, digest)
        try:
            label = self._label_in(path, is_whole=not is_made)
        except GfpError as error:
            if not is_made:
                return Verified(path, "damaged", digest, None, entry, str(error))
            label = None  # a sidecar, or what is kept beside an output
        verdict: Finding = "unchanged" if is_made else "edited" if entry else "label_only" if label else "not_gfp"
        return Verified(path, verdict, digest, label, entry)

    def _label_in(self, path: Path, *, is_whole: bool) -> Label | None:
        """A file's label. Raises InputError where it is damaged, of which the pixels tell only with `is_whole`."""
        if not is_remote(path) and (kind := kind_or_none(path)) and kind.role == "video":
            return self.label_of_clip(path)
        data = read_file(path)
        kind = kind_of_bytes(data, str(path))
        if is_whole and (kind.role == "picture" or path.suffix.lower() in PICTURE_SUFFIXES):
            decode_photo(data, str(path), 0)
        packet = read_carried(data, kind.format).xmp
        return read_label(packet) if packet else None

    def _is_wanted(self, path: Path) -> bool:
        """Whether a file of a folder may be an output."""
        if path.suffix.lower() in (*PICTURE_SUFFIXES, *VIDEOS):
            return True
        kind = None if is_remote(path) else kind_or_none(path)
        is_shown = kind is not None and kind.role in ("picture", "video")
        return is_shown or self._ledger_of(_absolute(path)) is not None

    def _ledger_of(self, place: Path) -> Ledger | None:
        """The nearest ledger above an absolute place that knows it."""
        return next((each for each in map(self._ledger, place.parents) if each.entry_of(place)), None)

    def _ledger(self, folder: Path) -> Ledger:
        """The ledger in a folder; an empty one where none is there, or it cannot be read."""
        if folder not in self.ledgers:
            try:
                self.ledgers[folder] = Ledger(folder)
            except OutputError:
                self.ledgers[folder] = Ledger(folder, ())
        return self.ledgers[folder]


def counted(verdicts: Iterable[Finding]) -> Mapping[Finding, int]:
    """How many files there are of each verdict, those of none left out."""
    found = list(verdicts)
    return {each: found.count(each) for each in VERDICTS if each in found}


def _absolute(path: Path) -> Path:
    """A local path from the root on, its links kept; a URL as it is."""
    return path if is_remote(path) else Path(os.path.abspath(path))  # noqa: PTH100


def _files_behind(folder: Path) -> list[Path]:
    """The files below a URL without those that gfp keeps for itself. Raises OSError."""
    return [each for each in REMOTE.files(folder) if not any(map(is_own, each.relative_to(folder).parts))]
