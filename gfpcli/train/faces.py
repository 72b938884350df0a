"""The faces to train on, and their landmarks: each picture goes through the detector once.

Pictures that are aligned faces are used as they are; from others the faces are cropped into the run's folder. The
results are cached there by file name, size and date, so that a later start detects faces in new pictures only.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from gfpcli.errors import CheckpointError, FaceError, InputError
from gfpcli.files.atomic import write_bytes
from gfpcli.pipeline.align import TEMPLATE_512, cut_crop
from gfpcli.train.sources import PictureSource
from gfpcli.types import Detector

FACES_CACHE = "faces.json"
CACHE_VERSION = 3  # 1 held landmarks that were up to 3.5 px off, 2 took other pictures of the same names for these
CUT = "faces"  # folder of the cropped faces
ALIGNED_WITHIN = 0.06  # of the size: largest mean distance of an aligned face's landmarks from the template's
MIN_FACE = 0.25  # of the training size: smaller faces teach nothing
CANVAS = 1.5  # aligned faces are detected with a border around them: detectors miss faces that fill the picture
DETECTION_SIZE = 128  # px to which aligned faces are reduced for it; more px find no better landmarks

Landmarks = list[list[float]]


@dataclass(frozen=True, slots=True)
class TrainingFace:
    """One face: the picture it is read from, and its landmarks (5, 2) there, px."""

    name: str
    is_cut: bool  # read from the crops in the run's folder, not from the data
    landmarks: Landmarks


@dataclass(frozen=True, slots=True)
class FoundFaces:
    """The faces of one picture, or the reason why there are none."""

    faces: tuple[TrainingFace, ...] = ()
    problem: str | None = None
    stamp: tuple[int, ...] = ()  # of the picture, as `PictureSource.stamp` gave it then


def find_all_faces(
    source: PictureSource, run: Path, size: int, detector: Detector, told: Callable[[int, int], None]
) -> dict[str, FoundFaces]:
    """The faces of every picture, by name; `told` is called with (number done, number of all).

    Raises:
        OutputError: the run's folder cannot be written.
    """
    known = _read_faces_cache(run / FACES_CACHE, size)
    result: dict[str, FoundFaces] = {}
    for done, name in enumerate(source.names, start=1):
        stamp = source.stamp(name)
        found = known.get(name)
        if found is None or found.stamp != stamp or not _has_cuts(found, run):
            found = replace(find_faces_in(source, name, run, size, detector), stamp=stamp)
        result[name] = found
        told(done, len(source.names))
    facts = {name: asdict(found) for name, found in result.items() if found.faces}  # the others are tried again
    if facts:  # else there will be no run
        write_bytes(run / FACES_CACHE, json.dumps({"version": CACHE_VERSION, "size": size, "pictures": facts}).encode())
    return result


def _has_cuts(found: FoundFaces, run: Path) -> bool:
    return all((run / CUT / face.name).is_file() for face in found.faces if face.is_cut)


def find_faces_in(source: PictureSource, name: str, run: Path, size: int, detector: Detector) -> FoundFaces:
    """The faces of one picture: itself where it is an aligned face, else crops, which are written to `run/faces`."""
    try:
        image = source.read(name)
    except InputError as error:
        return FoundFaces(problem=str(error))
    height, width = image.shape[:2]
    if height == width:
        landmarks = aligned_landmarks(image, detector)
        if landmarks is not None:
            if height < size * MIN_FACE:
                return FoundFaces(problem=f"{name}: {width} px is too small to train at {size} px")
            return FoundFaces((TrainingFace(name, False, np.round(landmarks, 2).tolist()),))
    (faces,) = detector([image])
    if not faces:
        return FoundFaces(problem=f"{name}: no face found")
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
    if not kept:
        return FoundFaces(problem=f"{name}: its faces are too small to train at {size} px")
    return FoundFaces(tuple(kept))


def aligned_landmarks(image: NDArray[np.uint8], detector: Detector) -> NDArray[np.float64] | None:
    """Landmarks (5, 2), px, where a square picture is an aligned face, else None."""
    size = image.shape[0]
    pad = round(size * (CANVAS - 1) / 2)
    zoom = min(1.0, DETECTION_SIZE / size)
    small = np.asarray(cv2.resize(image, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA), np.uint8)
    edge = round(pad * zoom)
    shown = cv2.copyMakeBorder(small, edge, edge, edge, edge, cv2.BORDER_REFLECT_101)
    (faces,) = detector([np.asarray(shown, np.uint8)])
    target = TEMPLATE_512 * (size / 512)
    for face in faces:
        marks = (face.landmarks - edge + 0.5) / zoom - 0.5  # pixel centres: the first one is at (0, 0) in both images
        if np.hypot(*(marks - target).T).mean() <= ALIGNED_WITHIN * size:
            return np.asarray(marks, np.float64)
    return None


def _read_faces_cache(path: Path, size: int) -> dict[str, FoundFaces]:
    """What an earlier start found; empty without one, or where it had another size or version of the cache.

    Raises:
        CheckpointError: the file is damaged.
    """
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if (content.get("version"), content["size"]) != (CACHE_VERSION, size):
            return {}
        return {
            name: FoundFaces(tuple(TrainingFace(**face) for face in facts["faces"]), None, tuple(facts["stamp"]))
            for name, facts in content["pictures"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path}: damaged; delete it, and the faces are detected again") from error
