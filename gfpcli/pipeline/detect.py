"""Faces of several frames at once, by a detector that knows square pixels only."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from gfpcli.pipeline.align import stretch_of
from gfpcli.pipeline.faults import or_failed
from gfpcli.pipeline.paste import resize_background
from gfpcli.pipeline.steps import Detected, Observer, Share
from gfpcli.types import Detector, Face, Failed, Follower, Frame, Image, Landmarker

N_DIGITS = 2  # of a pixel's fraction
NO_MEMORY = "not enough memory to look for faces; try --det-size 640"


def detect_together(detector: Detector, group: Sequence[Frame], observer: Observer) -> list[Detected | Failed]:
    """The faces of each frame, by one call of the detector; where that fails, by one call for each frame."""
    if not group:
        return []
    start = time.monotonic()
    with observer("detect"):
        found = or_failed(group[0], lambda: detector([square_pixels(frame) for frame in group]), NO_MEMORY)
    if isinstance(found, Failed):
        if len(group) == 1:
            return [found]
        return [each for frame in group for each in detect_together(detector, [frame], observer)]
    share = (time.monotonic() - start) / len(group)
    return [Detected(frame, _in_frame(faces, frame), share) for frame, faces in zip(group, found, strict=True)]


def follow_together(follower: Follower, frame: Frame, faces: Sequence[Face]) -> list[Face | None]:
    """Where faces of a frame shortly before or after are in this one."""
    moved = follower(square_pixels(frame), [_in_square(face, frame) for face in faces])
    return [face and _in_frame([face], frame)[0] for face in moved]


def faces_as_planned(frame: Frame, landmarker: Landmarker) -> Detected:
    """The faces of a frame's plan; the landmarks of those that have none are looked for in their boxes."""
    planned = frame.planned or ()
    start = time.monotonic()
    missing = [np.array(each.box) for each in planned if not each.landmarks and each.action == "restore"]
    found = iter(landmarker(frame.image, missing) if missing else ())
    faces = [
        next(found)
        if not each.landmarks and each.action == "restore"
        else Face(np.array(each.box), np.array(each.landmarks or np.zeros((5, 2))), each.score)
        for each in planned
    ]
    shares = tuple(Share(each.strength) for each in planned)
    return Detected(frame, tuple(faces), time.monotonic() - start, shares)


def square_pixels(frame: Frame) -> Image:
    """The frame's image; one whose pixels are not square is enlarged along one axis until they are."""
    if frame.pixel_aspect == 1:
        return frame.image
    stretch = stretch_of(frame.pixel_aspect)
    height, width = frame.image.shape[:2]
    return resize_background(frame.image, (round(height * stretch[1]), round(width * stretch[0])))


def _in_square(face: Face, frame: Frame) -> Face:
    """A face of the frame, in pixels of `square_pixels`."""
    stretch = stretch_of(frame.pixel_aspect)
    return Face(face.box * np.tile(stretch, 2), (face.landmarks + 0.5) * stretch - 0.5, face.score)


def _in_frame(faces: Sequence[Face], frame: Frame) -> tuple[Face, ...]:
    """Faces of `square_pixels`, in pixels of the frame: in hundredths, so that a plan says exactly what was used."""
    stretch = stretch_of(frame.pixel_aspect)
    return tuple(
        Face(
            np.round(face.box / np.tile(stretch, 2), N_DIGITS),
            np.round((face.landmarks + 0.5) / stretch - 0.5, N_DIGITS),
            face.score,
        )
        for face in faces
    )
