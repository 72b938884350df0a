"""What the network made of one face in consecutive frames, calmed: each pixel is averaged with the same pixel of the
frames around it as far as those agree, so that what comes and goes is calmed and movement stays. The finest detail
stays the frame's own: faces are not aligned well enough to average it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from gfpcli.clip.track import same_face
from gfpcli.errors import FaceError
from gfpcli.pipeline.steps import FacesRestored
from gfpcli.stream import windows
from gfpcli.types import Failed

REACH = 2  # frames before and behind that take part
LEVELS = 8.0  # grey levels that may be noise at --smooth 1
BLUR = 1 / 128  # of the face's size: how far around a pixel frames are compared, and what finer detail is left alone


def settle(
    drawn: Iterator[FacesRestored | Failed], cuts: Set[int], *, smooth: float
) -> Iterator[FacesRestored | Failed]:
    """The frames with calmed faces; `cuts` are the indices of frames that begin a shot. `smooth` 0 changes none."""
    if smooth == 0:
        yield from drawn
        return
    for window, at in windows(drawn, REACH):
        own = window[at]
        if isinstance(own, Failed):
            yield own
            continue
        before = _shot_of([window[i] for i in range(at, -1, -1)], cuts, is_backward=True)
        behind = _shot_of(window[at:], cuts, is_backward=False)
        around = [[*_same(own, i, before), *_same(own, i, behind)] for i in range(len(own.faces))]
        faces = tuple(
            face if isinstance(face, FaceError) else calm(face, others, smooth)
            for face, others in zip(own.faces, around, strict=True)
        )
        yield replace(own, faces=faces)


def _shot_of(frames: Sequence[FacesRestored | Failed], cuts: Set[int], *, is_backward: bool) -> list[FacesRestored]:
    """The frames after the first, as far as its shot goes."""
    shot: list[FacesRestored] = []
    for last, each in zip(frames, frames[1:], strict=False):
        if isinstance(each, Failed) or isinstance(last, Failed):
            break
        if (last if is_backward else each).aligned.frame.index in cuts:
            break
        shot.append(each)
    return shot


def _same(own: FacesRestored, i: int, others: Sequence[FacesRestored]) -> Iterator[NDArray[np.uint8]]:
    """What was made of the i-th face in the frames that follow each other from `own` on."""
    face = own.aligned.crops[i].face
    for other in others:
        found = same_face(face, [crop.face for crop in other.aligned.crops])
        made = next((m for m, crop in zip(other.faces, other.aligned.crops, strict=True) if crop.face is found), None)
        if found is None or made is None or isinstance(made, FaceError):
            return
        yield made
        face = found


def calm(face: NDArray[np.uint8], others: Sequence[NDArray[np.uint8]], smooth: float) -> NDArray[np.uint8]:
    """(S, S, 3) BGR: a face moved to the mean with others of its alignment, each weighted by how alike it is there."""
    own = face.astype(np.float32)
    total, weights = own.copy(), np.ones(own.shape[:2], np.float32)
    for other in others:
        away = cv2.GaussianBlur(np.abs(other - own).mean(axis=2), (0, 0), BLUR * len(own))
        weight = np.exp(-0.5 * np.square(away / (LEVELS * smooth)))
        total += weight[..., None] * other
        weights += weight
    step = cv2.GaussianBlur(total / weights[..., None] - own, (0, 0), BLUR * len(own))
    return np.asarray(np.clip(np.round(own + step), 0, 255), np.uint8)
