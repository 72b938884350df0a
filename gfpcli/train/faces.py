"""Every picture looked at once: which faces it gives to training, and where their landmarks are.

Aligned faces are used as they are; from other pictures the faces are cut out and kept in the run's folder. What was
found is cached beside the run, by file name, so that a second start looks only at pictures that are new.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from gfpcli.errors import CheckpointError, FaceError, InputError
from gfpcli.files.atomic import write_bytes
from gfpcli.pipeline.align import TEMPLATE_512, cut_crop
from gfpcli.train.sources import Source
from gfpcli.types import Detector

CACHE = "faces.json"
CUT = "faces"  # folder of the faces that were cut out
ALIGNED_WITHIN = 0.06  # of the size: how far landmarks may lie from the template's, on average
MIN_FACE = 0.25  # of the training size: eyes closer than those of such a face teach nothing
CANVAS = 1.5  # an aligned face fills its picture, which detectors do not expect: it is shown with a border
SHOWN = 128  # px of the aligned face there; larger is no more exact

Landmarks = list[list[float]]


@dataclass(frozen=True, slots=True)
class TrainingFace:
    """One face: the picture it is read from, and its landmarks (5, 2) there, px."""

    name: str
    is_cut: bool  # read from the run's folder, not from the data
    landmarks: Landmarks


@dataclass(frozen=True, slots=True)
class Looked:
    """What one picture gave: faces, or the reason why none."""

    faces: tuple[TrainingFace, ...] = ()
    problem: str | None = None


def look_at_all(
    source: Source, run: Path, size: int, detector: Detector, told: Callable[[int, int], None]
) -> dict[str, Looked]:
    """What every picture gives, by name; `told` hears (done, all).

    Raises:
        OutputError: the run's folder cannot be written.
    """
    known = _read_cache(run / CACHE, size)
    result: dict[str, Looked] = {}
    for done, name in enumerate(source.names, start=1):
        before = known.get(name)
        result[name] = before if before and is_whole(before, run) else look_at(source, name, run, size, detector)
        told(done, len(source.names))
    facts = {name: asdict(looked) for name, looked in result.items() if looked.faces}  # problems are looked at again
    write_bytes(run / CACHE, json.dumps({"size": size, "pictures": facts}).encode())
    return result


def is_whole(looked: Looked, run: Path) -> bool:
    """Whether the faces that were cut out are still there."""
    return all((run / CUT / face.name).is_file() for face in looked.faces if face.is_cut)


def look_at(source: Source, name: str, run: Path, size: int, detector: Detector) -> Looked:
    """One picture: as it is where it is an aligned face, else the faces cut out of it into `run/faces`."""
    try:
        image = source.read(name)
    except InputError as error:
        return Looked(problem=str(error))
    height, width = image.shape[:2]
    if height == width:
        found = aligned_landmarks(image, detector)
        if found is not None:
            if height < size * MIN_FACE:
                return Looked(problem=f"{name}: {width} px is too small to train at {size} px")
            return Looked((TrainingFace(name, False, np.round(found, 2).tolist()),))
    (faces,) = detector([image])
    if not faces:
        return Looked(problem=f"{name}: no face found")
    kept = []
    for index, face in enumerate(faces):
        try:
            crop = cut_crop(image, face, size)
        except FaceError:
            continue
        zoom = float(np.sqrt(abs(np.linalg.det(crop.frame_to_crop[:, :2]))))
        if zoom > 1 / MIN_FACE:
            continue
        target = f"{name.replace('/', '__')}_{index:02d}.png"
        write_bytes(run / CUT / target, cv2.imencode(".png", crop.image)[1].tobytes())
        marks = face.landmarks @ crop.frame_to_crop[:, :2].T + crop.frame_to_crop[:, 2]
        kept.append(TrainingFace(target, True, np.round(marks, 2).tolist()))
    return Looked(tuple(kept)) if kept else Looked(problem=f"{name}: its faces are too small to train at {size} px")


def aligned_landmarks(image: NDArray[np.uint8], detector: Detector) -> NDArray[np.float64] | None:
    """(5, 2) px where a square picture is an aligned face, else None."""
    size = image.shape[0]
    pad = round(size * (CANVAS - 1) / 2)
    zoom = min(1.0, SHOWN / size)
    small = np.asarray(cv2.resize(image, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA), np.uint8)
    edge = round(pad * zoom)
    shown = cv2.copyMakeBorder(small, edge, edge, edge, edge, cv2.BORDER_REFLECT_101)
    (faces,) = detector([np.asarray(shown, np.uint8)])
    target = TEMPLATE_512 * (size / 512)
    for face in faces:
        marks = (face.landmarks - edge) / zoom
        if np.hypot(*(marks - target).T).mean() <= ALIGNED_WITHIN * size:
            return np.asarray(marks, np.float64)
    return None


def _read_cache(path: Path, size: int) -> dict[str, Looked]:
    """What an earlier start found; nothing where there is none, or it was for another size.

    Raises:
        CheckpointError: the file is damaged.
    """
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["size"] != size:
            return {}
        return {
            name: Looked(tuple(TrainingFace(**face) for face in facts["faces"]), facts["problem"])
            for name, facts in content["pictures"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path}: damaged; delete it, and the pictures are looked at again") from error
