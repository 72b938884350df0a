"""XMP files beside photos, in which programs keep what they do not write into the photo."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence, Set
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from gfpcli.errors import os_reason
from gfpcli.files.atomic import PendingOutput, prepare_output
from gfpcli.files.jobs import Job, identity, resolved
from gfpcli.files.storage import FileFacts, store_of
from gfpcli.photo.geometry import Placement
from gfpcli.photo.xmp import MAX_PACKET_BYTES, EditedXmp, edit_xmp

SIDECAR_SUFFIXES = (".xmp", ".XMP")


@dataclass(frozen=True, slots=True)
class Sidecar:
    """A photo's sidecar as it was read."""

    source: Path
    target: Path  # its copy beside the output
    data: bytes
    facts: FileFacts


def sidecar_names(photo: Path) -> tuple[Path, ...]:
    """The names that a photo's sidecar can have: `a.xmp` (Adobe's) and `a.jpg.xmp` (darktable's, digiKam's)."""
    names = ((photo.with_suffix(suffix), photo.with_name(f"{photo.name}{suffix}")) for suffix in SIDECAR_SUFFIXES)
    return tuple(name for both in names for name in both)


def find_sidecars(photo: Path) -> tuple[Path, ...]:
    """The photo's sidecars that exist, each file once even where the disk ignores case."""
    found: dict[tuple[int, int], Path] = {}
    for path in sidecar_names(photo):
        if path != photo and os.path.isfile(path):  # noqa: PTH113  (pathlib raises for a name that is too long)
            facts = path.stat()
            found.setdefault((facts.st_dev, facts.st_ino), path)
    return tuple(found.values())


def sidecar_output(sidecar: Path, photo: Path, output: Path) -> Path:
    """Where the copy of a photo's sidecar belongs beside its output, by the same naming rule."""
    has_both = sidecar.name.startswith(f"{photo.name}.")
    return output.with_name(f"{output.name}{sidecar.suffix}") if has_both else output.with_suffix(sidecar.suffix)


def edit_sidecar(data: bytes, placement: Placement, *, keeps_print_size: bool = True) -> EditedXmp:
    """The bytes of the copy: a sidecar is an XMP packet, corrected as `edit_xmp` does."""
    is_turned = placement.orientation != 1
    return edit_xmp(data, placement, resets_orientation=is_turned, keeps_print_size=keeps_print_size)


def assign_sidecars(jobs: Sequence[Job], raws: Set[Path]) -> list[Job]:
    """Each sidecar to one job only. Of photos that share `a.xmp` the camera raw gets it, else the first one.

    The notes of the other jobs name the owner; a sidecar whose copy would replace an input is left where it is.
    """
    if not any(job.sidecars for job in jobs):
        return list(jobs)
    owners: dict[str, Job] = {}
    for job in sorted(jobs, key=lambda job: job.source not in raws):
        for sidecar in job.sidecars:
            owners.setdefault(str(sidecar), job)
    inputs = [place for job in jobs for place in (job.source, *job.sidecars)]
    taken = {resolved(place) for place in inputs}, {identity(place) for place in inputs} - {None}
    return [_assigned(job, owners, *taken) if job.sidecars else job for job in jobs]


def _assigned(job: Job, owners: dict[str, Job], names: Set[str], files: Set[tuple[int, int] | None]) -> Job:
    own, notes = [], []
    for sidecar in job.sidecars:
        owner, target = owners[str(sidecar)], sidecar_output(sidecar, job.source, job.target)
        if owner is not job:
            notes.append(f"{sidecar.name} is taken for the sidecar of {owner.source.name}")
        elif resolved(target) in names or identity(target) in files:
            notes.append(f"{sidecar.name} is left as it is: its copy would replace an input")
        else:
            own.append(sidecar)
    return replace(job, sidecars=tuple(own), notes=(*job.notes, *notes))


def read_sidecars(job: Job) -> tuple[tuple[Sidecar, ...], tuple[str, ...]]:
    """The job's sidecars, and notes on those that cannot be read."""
    read, notes = [], []
    for path in job.sidecars:
        store, target = store_of(path), sidecar_output(path, job.source, job.target)
        try:
            if store.size(path) > MAX_PACKET_BYTES:
                raise OSError("is larger than any sidecar")
            read.append(Sidecar(path, target, store.read(path), store.facts(path)))
        except OSError as error:
            notes.append(f"{path.name} is not copied: {os_reason(error)}")
    return tuple(read), tuple(notes)


def settings_with(settings: str, sidecars: Sequence[Sidecar]) -> str:
    """The settings of a photo's output: they change with its sidecars, so that a changed one is copied again."""
    if not sidecars:
        return settings
    digests = [hashlib.sha256(each.data).hexdigest() for each in sidecars]
    return hashlib.sha256(" ".join([settings, *digests]).encode()).hexdigest()[: len(settings)]


def prepare_sidecars(
    sidecars: Sequence[Sidecar], placement: Placement, pending: ExitStack, *, keeps_times: bool
) -> Iterator[tuple[PendingOutput, str] | str]:
    """Writes the corrected copies under hidden names.

    Args:
        placement: of the photo's pixels in its output.
        pending: discards the copies when it is closed.

    Yields:
        Each with the SHA-256 of its content, or a note on one that cannot be copied, or not whole.

    Raises:
        OutputError: one cannot be written.
    """
    for each in sidecars:
        edited = edit_sidecar(each.data, placement)
        if edited.removed:
            yield f"left out of {each.source.name}: {', '.join(edited.removed)}"
        if edited.packet is None:
            yield f"{each.source.name} is not copied" + (f": {edited.damage}" if edited.damage else "")
            continue
        facts = each.facts if keeps_times else replace(each.facts, times_ns=None)
        output = prepare_output(each.target, [edited.packet], facts)
        pending.callback(output.discard)
        yield output, hashlib.sha256(edited.packet).hexdigest()
