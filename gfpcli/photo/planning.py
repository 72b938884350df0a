"""`gfp faces`: looks at the faces of photos, without restoring them, and makes a plan of what a run would do."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from gfpcli.errors import CheckpointError, FaceError, failure_line
from gfpcli.files.jobs import Job
from gfpcli.options import RestoreOptions
from gfpcli.photo.codec import decode_frame, read_file
from gfpcli.photo.contact_sheet import SheetFace, thumb_of
from gfpcli.photo.persons import persons_of
from gfpcli.photo.references import read_references
from gfpcli.pipeline.align import cut_crop
from gfpcli.pipeline.quality import quality_of, strength_for
from gfpcli.pipeline.restorer import Restorer
from gfpcli.pipeline.steps import AlignedFaces
from gfpcli.pipeline.who import ALIKE, product_at
from gfpcli.stream import map_ahead
from gfpcli.types import Crop, Face, FaceOutcome, Failed, Frame, Identifier, Listener, PlannedFace, PlannedPhoto
from gfpcli.weights.build import devices_of, load_identifier_for, load_restorer
from gfpcli.weights.choose import choose_parts

Gauge: TypeAlias = Callable[[Crop], tuple[float, float]]
"""Measures a crop: its blur, and the strength that the run would choose."""


@dataclass(frozen=True, slots=True, eq=False)
class SeenFace:
    """One face that was found, with what tells whose it is; no large picture is kept."""

    planned: PlannedFace
    vector: NDArray[np.float32] | None  # (D,) unit; None where the face cannot be cut out
    thumb: bytes  # for the contact sheet; empty without a crop


@dataclass(frozen=True, slots=True, eq=False)
class SeenPhoto:
    """One photo that was looked at."""

    photo: PlannedPhoto
    faces: tuple[SeenFace, ...] = ()
    problem: str | None = None  # why it could not be looked at


def look_at(
    jobs: Iterable[Job], restorer: Restorer, identify: Identifier, gauge: Gauge, n_threads: int = 2
) -> Iterator[SeenPhoto]:
    """Each photo with its faces, in the order of the jobs. One that cannot be read has a problem, and no faces."""
    waiting: deque[SeenPhoto] = deque()  # read or failed, in order

    def frames() -> Iterator[Frame]:
        read = map_ahead(_read_job, enumerate(jobs), workers=n_threads, depth=n_threads + 2, weigh_result=_n_bytes_of)
        for seen, frame in read:
            waiting.append(seen)
            if frame is not None:
                yield frame

    for found in map(restorer.align, restorer.detect(frames())):
        while waiting[0].problem:
            yield waiting.popleft()
        yield _seen(waiting.popleft(), found, restorer.model.size, identify, gauge)
    yield from waiting


def _read_job(numbered: tuple[int, Job]) -> tuple[SeenPhoto, Frame | None]:
    """A photo decoded, in a thread; without its picture where that fails."""
    index, job = numbered
    try:
        data = read_file(job.source) if job.data is None else job.data
        frame = decode_frame(data, str(job.source), index)
    except Exception as error:
        return SeenPhoto(PlannedPhoto(job.name, "", 0, 0), problem=failure_line(job.source, error)), None
    height, width = frame.image.shape[:2]
    return SeenPhoto(PlannedPhoto(job.name, hashlib.sha256(data).hexdigest(), width, height)), frame


def _n_bytes_of(read: tuple[SeenPhoto, Frame | None]) -> int:
    return read[1].image.nbytes if read[1] is not None else 0


def _seen(seen: SeenPhoto, found: AlignedFaces | Failed, size: int, identify: Identifier, gauge: Gauge) -> SeenPhoto:
    """The photo with what is to be known of each face."""
    if isinstance(found, Failed):
        return replace(seen, problem=str(found.error))
    looks = [
        _look(face, outcome, _crop_of(found.frame, face, size), identify, gauge)
        for face, outcome in zip(found.faces, found.outcomes, strict=True)
    ]
    return replace(seen, faces=tuple(looks))


def _crop_of(frame: Frame, face: Face, size: int) -> Crop | None:
    """The face cut out, also one that is left alone: it belongs to a person too."""
    try:
        return cut_crop(frame.image, face, size, frame.pixel_aspect)
    except (FaceError, cv2.error, np.linalg.LinAlgError):
        return None


def _look(face: Face, outcome: FaceOutcome, crop: Crop | None, identify: Identifier, gauge: Gauge) -> SeenFace:
    planned = planned_face(face, is_restored=outcome.status == "restored")
    if crop is None:
        return SeenFace(planned, None, b"")
    blur, strength = gauge(crop)
    planned = replace(planned, blur=round(blur, 2), planned_strength=round(strength, 3))
    return SeenFace(planned, identify([crop.image])[0], thumb_of(crop.image))


def planned_face(face: Face, *, is_restored: bool) -> PlannedFace:
    """A face as a plan tells it, in hundredths of a pixel."""
    return PlannedFace(
        tuple(np.round(face.box, 2).tolist()), tuple(map(tuple, np.round(face.landmarks, 2).tolist())),
        round(face.score, 4), "restore" if is_restored else "skip",
    )  # fmt: skip


def with_persons(photos: list[SeenPhoto], alike: float) -> list[SeenPhoto]:
    """The photos with the number of each face's person. `alike`: as of `persons_of`."""
    vectors = [face.vector for photo in photos for face in photo.faces if face.vector is not None]
    numbers = iter(persons_of(np.stack(vectors), alike) if vectors else [])

    def named(face: SeenFace) -> SeenFace:
        return face if face.vector is None else replace(face, planned=replace(face.planned, person=next(numbers)))

    return [replace(photo, faces=tuple(map(named, photo.faces))) for photo in photos]


def plan_of(photos: Iterable[SeenPhoto]) -> list[PlannedPhoto]:
    """The entries of those that could be looked at."""
    return [
        replace(each.photo, faces=tuple(face.planned for face in each.faces)) for each in photos if not each.problem
    ]


def sheet_rows(photos: Iterable[SeenPhoto]) -> list[list[SheetFace]]:
    """The faces of each person, for a contact sheet."""
    rows: dict[int, list[SheetFace]] = {}
    for photo in photos:
        for face in photo.faces:
            if face.planned.person is not None:
                shown = SheetFace(face.thumb, photo.photo.photo.rpartition("/")[2], face.planned.action == "skip")
                rows.setdefault(face.planned.person, []).append(shown)
    return [rows[number] for number in sorted(rows)]


def gauge_for(options: RestoreOptions) -> Gauge:
    """Measures blur, and gives the strength that `--strength` asks for or leaves to what is measured."""
    fixed = options.fixed_strength

    def gauge(crop: Crop) -> tuple[float, float]:
        quality = quality_of(crop)
        return quality.blur, strength_for(quality) if fixed is None else fixed

    return gauge


def look_at_photos(
    jobs: Sequence[Job], options: RestoreOptions, listener: Listener, told: Callable[[SeenPhoto], None]
) -> list[SeenPhoto]:
    """The photos with their faces and persons; `told` hears of each as soon as it was looked at.

    Raises:
        GfpError: the networks cannot be loaded, or a photo of `--only` or `--not` cannot be used.
    """
    parts = choose_parts(options, warn=listener.warn, progress=listener.download)
    references = read_references(options, parts)
    restorer = load_restorer(options, parts, warn=listener.warn)
    if parts.identifier is None:
        raise CheckpointError("this run has no identity network")
    identifier, scale = load_identifier_for(options, parts.identifier, devices_of(options, parts)[0])
    restorer = references.applied_to(restorer) if references else restorer
    seen = []
    for photo in look_at(jobs, restorer, identifier, gauge_for(options), options.n_threads):
        seen.append(photo)
        told(photo)
    return with_persons(seen, product_at(scale, ALIKE))
