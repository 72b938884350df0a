"""Restored faces averaged over consecutive frames, so that they flicker less.

Each pixel of an aligned face is averaged with the same pixel of the frames around, weighted by how well those agree, so
that movement stays. Detail finer than `BLUR` is not averaged: faces are not aligned well enough for that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from gfpcli.clip.track import match_face
from gfpcli.errors import FaceError
from gfpcli.pipeline.steps import FacesRestored
from gfpcli.stream import windows
from gfpcli.types import Failed

AVERAGED_REACH = 2  # frames before and after that take part
NOISE_LEVELS = 8.0  # grey levels of difference that may be noise at --smooth 1
BLUR = 1 / 128  # of the face's size: sigma of the comparison, and of the correction that is added


def deflicker(
    restored: Iterator[FacesRestored | Failed], cuts: Set[int], *, smooth: float
) -> Iterator[FacesRestored | Failed]:
    """The frames with averaged faces, as many and in the same order; no face is averaged across a cut.

    Args:
        cuts: indices of the frames that start a shot.
        smooth: 0..1; 0 changes nothing.
    """
    if smooth == 0:
        yield from restored
        return
    for window, at in windows(restored, AVERAGED_REACH):
        own = window[at]
        if isinstance(own, Failed):
            yield own
            continue
        before = rest_of_shot([window[i] for i in range(at, -1, -1)], cuts, is_backward=True)
        after = rest_of_shot(window[at:], cuts, is_backward=False)
        around = [[*_follow_face(own, i, before), *_follow_face(own, i, after)] for i in range(len(own.faces))]
        faces = tuple(
            face if isinstance(face, FaceError) else average_face(face, others, smooth)
            for face, others in zip(own.faces, around, strict=True)
        )
        yield replace(own, faces=faces)


def rest_of_shot(
    frames: Sequence[FacesRestored | Failed], cuts: Set[int], *, is_backward: bool
) -> list[FacesRestored]:
    """The frames after the first one of `frames`, up to the end of its shot or a frame that failed."""
    shot: list[FacesRestored] = []
    for last, each in zip(frames, frames[1:], strict=False):
        if isinstance(each, Failed) or isinstance(last, Failed):
            break
        if (last if is_backward else each).aligned.frame.index in cuts:
            break
        shot.append(each)
    return shot


def _follow_face(own: FacesRestored, i: int, others: Sequence[FacesRestored]) -> Iterator[NDArray[np.uint8]]:
    """The restored (S, S, 3) images of the i-th face of `own` in the consecutive frames `others`, while it is found."""
    face = own.aligned.crops[i].face
    for other in others:
        match = match_face(face, [crop.face for crop in other.aligned.crops])
        made = next((m for m, crop in zip(other.faces, other.aligned.crops, strict=True) if crop.face is match), None)
        if match is None or made is None or isinstance(made, FaceError):
            return
        yield made
        face = match


def average_face(face: NDArray[np.uint8], others: Sequence[NDArray[np.uint8]], smooth: float) -> NDArray[np.uint8]:
    """(S, S, 3) BGR: the face moved towards its mean with others of the same alignment, each pixel weighted by
    how little the two differ around it."""
    own = face.astype(np.float32)
    total, weights = own.copy(), np.ones(own.shape[:2], np.float32)
    for other in others:
        difference = cv2.GaussianBlur(np.abs(other - own).mean(axis=2), (0, 0), BLUR * len(own))
        weight = np.exp(-0.5 * np.square(difference / (NOISE_LEVELS * smooth)))
        total += weight[..., None] * other
        weights += weight
    correction = cv2.GaussianBlur(total / weights[..., None] - own, (0, 0), BLUR * len(own))
    return np.asarray(np.clip(np.round(own + correction), 0, 255), np.uint8)
