"""Faces that do not stand upright: a detector that looks again at what it doubts, and at the whole picture turned.

A detector that learnt from upright faces may find one that is upside down, with its eyes where the mouth is. A close
look at the face in each turn tells which way up it is: the right one scores higher.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from gfpcli.pipeline.align import invert, to_8_bit, warp_area
from gfpcli.pipeline.refine import logit_of, roll_of, view_of
from gfpcli.pipeline.retinaface import without_overlaps
from gfpcli.types import Affine, Detector, Face, Image

TURNS = (180, 90, 270)  # degrees counterclockwise that bring a face upright: `--turns N` tries the first N
SURE = 0.995  # score of a face that certainly stands upright; fewer than one in ten photos have none
LEAST_SCORE = 0.9  # of a turned face: many looks must not add false faces
MARGIN = 2.0  # logit by which a turned face scores higher the right way up, in a picture that may be upright
MOST_ROLL = 60.0  # degrees by which an upright face may lean
N_DOUBTED = 4  # of the faces of a picture without a sure one: pictures are turned as a whole
N_CLOSE_LOOKS = 8  # faces looked at in one call: bounded memory in a crowd
CLOSE_VIEW, CLOSE_FACE = 224, 112  # px: the square of a close look, and the face's longer side in it


@dataclass(frozen=True, slots=True)
class TurningDetector:
    """A detector of upright faces that also finds turned ones.

    Pictures with a sure upright face cost no further call of the detector, unless another face in them lies.
    """

    detector: Detector
    n_turns: int  # 1 to 3: how many of TURNS

    def __call__(self, images: Sequence[Image], /) -> list[tuple[Face, ...]]:
        """Faces of (H, W, 3) BGR images, best score first, their landmarks in pixels of the image as it is."""
        found = self.detector(images)
        return [self._turned_too(to_8_bit(image), tuple(faces)) for image, faces in zip(images, found, strict=True)]

    def _turned_too(self, image: NDArray[np.uint8], upright: tuple[Face, ...]) -> tuple[Face, ...]:
        """The faces of one picture, of which `upright` were found in it as it is."""
        doubted = _doubted(upright)
        turned = self._turned(image, doubted, MARGIN)
        if upright and (any(map(_is_sure, upright)) or not any(turned)):
            return _with_turned(upright, doubted, turned)
        candidates = without_overlaps([*upright, *self._in_turned_pictures(image)])
        return _with_turned(upright, candidates, self._turned(image, candidates, 0.0))

    def _in_turned_pictures(self, image: NDArray[np.uint8]) -> list[Face]:
        """What the detector finds in the picture turned, in pixels of the picture as it is."""
        found: list[Face] = []
        for turn in TURNS[: self.n_turns]:  # one at a time: a batch would take three times the memory
            (faces,) = self.detector([np.ascontiguousarray(np.rot90(image, turn // 90))])
            back = invert(_picture_to_turned(image, turn))
            found += [_moved(face, back) for face in faces]
        return found

    def _turned(self, image: NDArray[np.uint8], faces: Sequence[Face], margin: float) -> list[Face | None]:
        """Each face as it is seen the right way up; None for one that is seen best as the picture is, or not well.

        Args:
            margin: that the logit of a turned face must be higher the right way up than as the picture is.
        """
        found: list[Face | None] = []
        for start in range(0, len(faces), N_CLOSE_LOOKS):
            found += self._turned_at_once(image, faces[start : start + N_CLOSE_LOOKS], margin)
        return found

    def _turned_at_once(self, image: NDArray[np.uint8], faces: Sequence[Face], margin: float) -> list[Face | None]:
        views = [_view_of(face, turn) for face in faces for turn in (0, *TURNS[: self.n_turns])]
        seen = self.detector([warp_area(image, view, CLOSE_VIEW) for view in views])
        n_views = 1 + self.n_turns
        found: list[Face | None] = []
        for start in range(0, len(views), n_views):
            middle = [_middle_of(each) for each in seen[start : start + n_views]]
            scores = [each.score if each else 0.0 for each in middle]
            best = int(np.argmax(scores))
            is_turned = scores[best] > LEAST_SCORE and logit_of(scores[best]) - logit_of(scores[0]) > margin
            face = middle[best] if is_turned else None
            found.append(_moved(face, invert(views[start + best])) if face else None)
        return found


def _doubted(faces: Sequence[Face]) -> list[Face]:
    """The faces to look at again: those that lie by their landmarks, and the best ones where none is sure."""
    is_unsure = not any(map(_is_sure, faces))
    return [face for i, face in enumerate(faces) if not _is_upright(face) or is_unsure and i < N_DOUBTED]


def _with_turned(
    upright: tuple[Face, ...], looked_at: Sequence[Face], turned: Sequence[Face | None]
) -> tuple[Face, ...]:
    """The faces as they were found, but for those that lie: these as they were seen the right way up."""
    if not any(turned):
        return upright
    lying = [face for face, new in zip(looked_at, turned, strict=True) if new]
    stay = [face for face in upright if not any(face is each for each in lying)]
    return without_overlaps([*stay, *(new for new in turned if new)])


def _is_upright(face: Face) -> bool:
    return abs(roll_of(face.landmarks)) <= MOST_ROLL


def _is_sure(face: Face) -> bool:
    return face.score >= SURE and _is_upright(face)


def _view_of(face: Face, turn: int) -> Affine:
    """The similarity (2, 3) to a close look at a face, turned by `turn` degrees."""
    centre = (face.box[:2] + face.box[2:] - 1) / 2
    side = float(max(face.box[2:] - face.box[:2]))
    return view_of(centre, turn, side, size=CLOSE_VIEW, face=CLOSE_FACE)


def _middle_of(faces: Sequence[Face]) -> Face | None:
    """The best upright face in the middle of a close look, which is no neighbour."""
    off = [np.hypot(*((face.box[:2] + face.box[2:] - CLOSE_VIEW) / 2)) for face in faces]
    near = [face for face, each in zip(faces, off, strict=True) if each <= CLOSE_FACE / 4 and _is_upright(face)]
    return max(near, key=lambda face: face.score, default=None)


def _picture_to_turned(image: Image, turn: int) -> Affine:
    """The (2, 3) affine of `np.rot90` by `turn` degrees."""
    height, width = image.shape[:2]
    affine = np.asarray(cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), turn, 1), np.float64)
    grown = (height - width) / 2 if turn % 180 else 0.0
    affine[:, 2] += (grown, -grown)
    return affine


def _moved(face: Face, affine: Affine) -> Face:
    """The face by an affine whose turn is a multiple of 90 degrees, so that its box stays one."""
    corners = (face.box.reshape(2, 2) - 0.5) @ affine[:, :2].T + affine[:, 2] + 0.5
    landmarks = face.landmarks @ affine[:, :2].T + affine[:, 2]
    return Face(np.concatenate([corners.min(axis=0), corners.max(axis=0)]), landmarks, face.score)
