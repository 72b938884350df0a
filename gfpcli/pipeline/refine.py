"""Landmarks of detected faces measured again in upright views, with the probability that each is a face at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from gfpcli.model.views import FACE_SIDE, MEAN_SHAPE, VIEW_SIZE
from gfpcli.pipeline.align import invert, to_8_bit, warp_area
from gfpcli.pipeline.arrays import to_batch
from gfpcli.types import Affine, Face, Image, PictureBatch

MIRRORED = [1, 0, 2, 4, 3]  # landmarks of a mirrored face
SECOND_VIEWS = ((1.0, 0.0),)  # size, and turn in degrees, relative to the view that landmarks give
THIRD_VIEWS = ((0.9, -6.0), (0.9, 6.0), (1.1, -6.0), (1.1, 6.0))
MOST_MOVED = 0.3  # of a face's side from frame to frame: farther off it is not followed
MOST_UNSURE = 0.1  # of a face's side: by which two measurements of its landmarks may differ
MOST_GROWN = 1.3  # by which a face may become larger or smaller from frame to frame
BOX_TURNS = (0, 1, 2, 3)  # quarters in which a box without landmarks is looked at
BOX_TURN_MARGIN = 2.0  # logit by which a turned face must be likelier than an upright one
VIEW_ZOOM = 0.6  # of a face that was averaged over squares: how exact its blur is, landmarks do not show
DUPLICATE = 0.2  # of the box's longer side: landmarks nearer than this are those of one face
MOST_RISEN, MOST_LOGIT = 12.0, 8.0  # by how much the second score may pass the first, and what it may be at most
N_AT_ONCE = 16  # faces in one batch: bounded memory in a crowd

Points = NDArray[np.float64]  # (N, 5, 2) xy, pixels of the image
FindLandmarks: TypeAlias = Callable[[PictureBatch], tuple[NDArray[np.float32], ...]]
"""`LandmarkNet` in whatever runtime: (N, 3, 80, 80) to landmarks (N, 5, 2) in pixels of the square, and logits (N,)."""


@dataclass(frozen=True, slots=True, eq=False)
class FirstLook:
    """What one view tells of a face."""

    face: Face  # as it was given
    points: Points  # (5, 2)
    logit: float

    @property
    def rough(self) -> Face:
        """The face by this view."""
        return Face(self.face.box, self.points, combine(self.face.score, self.logit))

    @property
    def best_score(self) -> float:
        """0..1: what further views can make of its score."""
        return combine(self.face.score, (self.logit + min(self.logit + MOST_RISEN, MOST_LOGIT)) / 2)


@dataclass(frozen=True, slots=True)
class LandmarkRefiner:
    """Measures landmarks three times: in a view by the face's box, in one by the first result, in four by the second.

    The nearer a face lies to the middle of its view, the smaller the error; the four errors differ, so their mean is
    smaller than each. All views but the first are also measured mirrored.
    """

    net: FindLandmarks

    def __call__(self, image: NDArray[np.uint8], faces: Sequence[Face], /) -> tuple[Face, ...]:
        """The same faces in the same order, with new landmarks; a score is the mean, as logit, of old and new."""
        return self._look_again(image, self._look(image, faces))

    def faces_among(self, image: NDArray[np.uint8], candidates: Sequence[Face], least: float) -> tuple[Face, ...]:
        """The candidates that may be faces, as by a call. The others are seen in the first of eleven views only.

        Others are those whose score can no longer come to `least`, and those that show the face of a likelier one in
        another box: a third of what a detector finds with its low threshold.
        """
        looks = [each for each in self._look(image, candidates) if each.best_score > least]
        looks.sort(key=lambda each: -each.rough.score)
        single = drop_duplicates(tuple(each.rough for each in looks))
        kept = [each for each in looks if any(each.points is face.landmarks for face in single)]
        return self._look_again(image, kept)

    def follow(self, image: NDArray[np.uint8], faces: Sequence[Face], /) -> tuple[Face | None, ...]:
        """The faces of a frame shortly before or after in this image: the same boxes and landmarks, moved.

        Each is measured where it was before, then around what that gave. None for one that went too far to be sure that
        it is the same, or whose landmarks do not fit. Scores are those of the network alone.
        """
        followed: list[Face | None] = []
        for start in range(0, len(faces), N_AT_ONCE):
            followed += self._follow(image, faces[start : start + N_AT_ONCE])
        return tuple(followed)

    def _follow(self, image: NDArray[np.uint8], faces: Sequence[Face]) -> list[Face | None]:
        sides = [_side_of(face) for face in faces]
        views = [view_of(face.landmarks.mean(axis=0), roll_of(face.landmarks), side)
                 for face, side in zip(faces, sides, strict=True)]  # fmt: skip
        first, _ = self._measure(image, views, is_mirrored=False)
        points, logits = self._measure_around(image, first, sides, THIRD_VIEWS)
        return [
            moved_to(face, new, probability_of(logit)) if is_near(face, rough, new) else None
            for face, rough, new, logit in zip(faces, first, points, logits, strict=True)
        ]

    def _look(self, image: NDArray[np.uint8], faces: Sequence[Face]) -> list[FirstLook]:
        """Each face in the view that its box gives."""
        looks: list[FirstLook] = []
        for start in range(0, len(faces), N_AT_ONCE):
            group = faces[start : start + N_AT_ONCE]
            views = [view_of((face.box[:2] + face.box[2:]) / 2, roll_of(face.landmarks), _side_of(face))
                     for face in group]  # fmt: skip
            points, logits = self._measure(image, views, is_mirrored=False)
            looks += map(FirstLook, group, points, map(float, logits))
        return looks

    def _look_again(self, image: NDArray[np.uint8], looks: Sequence[FirstLook]) -> tuple[Face, ...]:
        """The faces with what the further views tell."""
        refined: list[Face] = []
        for start in range(0, len(looks), N_AT_ONCE):
            group = looks[start : start + N_AT_ONCE]
            sides = [_side_of(each.face) for each in group]
            points, _ = self._measure_around(image, np.array([each.points for each in group]), sides, SECOND_VIEWS)
            points, logits = self._measure_around(image, points, sides, THIRD_VIEWS)
            refined += [
                Face(look.face.box, each, combine(look.face.score, (look.logit + logit) / 2))
                for look, each, logit in zip(group, points, logits, strict=True)
            ]
        return tuple(refined)

    def _measure_around(
        self, image: NDArray[np.uint8], points: Points, sides: Sequence[float], around: Sequence[tuple[float, float]]
    ) -> tuple[Points, NDArray[np.float64]]:
        """Mean landmarks and logits (N,) of several views around landmarks already known, also mirrored."""
        views = [
            view_of(each.mean(axis=0), roll_of(each) + turn, side * size)
            for each, side in zip(points, sides, strict=True)
            for size, turn in around
        ]
        found, logits = self._measure(image, views, is_mirrored=True)
        found = found.reshape(-1, len(around), 5, 2).mean(axis=1)  # (N * views, 5, 2) to (N, 5, 2)
        return found, logits.reshape(-1, len(around)).mean(axis=1)

    def _measure(
        self, image: NDArray[np.uint8], views: Sequence[Affine], *, is_mirrored: bool
    ) -> tuple[Points, NDArray[np.float64]]:
        """Landmarks in pixels of the image, and logits (N,); with `is_mirrored` the mean with the mirrored view."""
        squares = [warp_area(image, view, VIEW_SIZE, VIEW_ZOOM) for view in views]
        n = len(squares)
        points, logits = self.net(to_batch([*squares, *(square[:, ::-1] for square in squares if is_mirrored)]))
        if is_mirrored:
            points = np.mean([points[:n], mirror(points[n:])], axis=0)
            logits = np.mean([logits[:n], logits[n:]], axis=0)
        backs = [invert(view) for view in views]
        in_image = [each @ back[:, :2].T + back[:, 2] for each, back in zip(points, backs, strict=True)]
        return np.array(in_image), logits.astype(np.float64)


@dataclass(frozen=True, slots=True)
class BoxLandmarker:
    """A `Landmarker`: the faces in boxes that a person drew, in whichever of four turns they look most like faces."""

    load: Callable[[], LandmarkRefiner]  # called when it is first needed; cached by whoever gives it

    def __call__(self, image: Image, boxes: Sequence[NDArray[np.float64]], /) -> tuple[Face, ...]:
        """A face for each box (4,), its score by the network alone."""
        turned = [[_upright_in(box, turn) for turn in BOX_TURNS] for box in boxes]
        found = self.load()(to_8_bit(image), [face for faces in turned for face in faces])
        n = len(BOX_TURNS)
        return tuple(_best_turn(found[start : start + n]) for start in range(0, len(found), n))


def _side_of(face: Face) -> float:
    """The longer side of its box, px."""
    return float(max(face.box[2:] - face.box[:2]))


def _upright_in(box: NDArray[np.float64], turn: int) -> Face:
    """A face of the mean shape that fills a box, turned by `turn` quarters."""
    shape = np.array(MEAN_SHAPE).reshape(5, 2) * max(box[2:] - box[:2])
    cos, sin = ((1, 0), (0, 1), (-1, 0), (0, -1))[turn]
    return Face(box, shape @ np.array([[cos, sin], [-sin, cos]]) + (box[:2] + box[2:]) / 2, 0.5)


def _best_turn(faces: Sequence[Face]) -> Face:
    """The upright face, unless a turned one is far more likely. Scores are means with the 0.5 they began with."""
    logits = [2 * logit_of(face.score) for face in faces]
    best = max(range(len(faces)), key=lambda i: logits[i] - (BOX_TURN_MARGIN if i else 0))
    return Face(faces[best].box, faces[best].landmarks, probability_of(logits[best]))


def drop_duplicates(faces: tuple[Face, ...]) -> tuple[Face, ...]:
    """Faces, best first, without those whose landmarks are those of a better one: two boxes on one face."""
    kept: list[Face] = []
    for face in faces:
        off = [np.hypot(*(face.landmarks - other.landmarks).T).mean() for other in kept]
        if all(each > DUPLICATE * max(other.box[2:] - other.box[:2]) for each, other in zip(off, kept, strict=True)):
            kept.append(face)
    return tuple(kept)


def is_near(face: Face, rough: NDArray[np.float64], landmarks: NDArray[np.float64]) -> bool:
    """Whether landmarks (5, 2) that were measured twice, first roughly, can be those of a face shortly after."""
    side = float(max(face.box[2:] - face.box[:2]))
    moved = np.hypot(*(landmarks - face.landmarks).T).mean()
    grown = landmark_spread(landmarks) / max(landmark_spread(face.landmarks), 1e-6)
    is_sure = np.hypot(*(landmarks - rough).T).mean() < MOST_UNSURE * side
    return bool(is_sure and moved < MOST_MOVED * side and 1 / MOST_GROWN < grown < MOST_GROWN)


def moved_to(face: Face, landmarks: NDArray[np.float64], score: float) -> Face:
    """The face with new landmarks (5, 2), its box moved along with them.

    The box keeps its size: that of a face that turns aside only seems to change by its landmarks.
    """
    step = (landmarks - face.landmarks).mean(axis=0)
    return Face(face.box + np.tile(step, 2), landmarks, score)


def landmark_spread(landmarks: NDArray[np.float64]) -> float:
    """How far five landmarks lie apart: their root mean square distance from their middle."""
    return float(np.sqrt(np.square(landmarks - landmarks.mean(axis=0)).sum(axis=1).mean()))


def mirror(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Landmarks (N, 5, 2) of a mirrored square, left and right exchanged."""
    return points[:, MIRRORED] * np.array((-1, 1), np.float32) + np.array((VIEW_SIZE - 1, 0), np.float32)


def roll_of(landmarks: NDArray[np.float64]) -> float:
    """How far a face is turned in the image, degrees, by the line from eyes to mouth and by those across the face."""
    left, right, _, mouth_left, mouth_right = landmarks
    down = (mouth_left + mouth_right - left - right) / 2
    across = right - left + mouth_right - mouth_left + (down[1], -down[0])
    return float(np.degrees(np.arctan2(across[1], across[0])))


def view_of(
    centre: NDArray[np.float64], turn: float, side: float, *, size: int = VIEW_SIZE, face: float = FACE_SIDE
) -> Affine:
    """The similarity (2, 3) that brings a face of `side` px, turned by `turn` degrees, upright into a square.

    Args:
        size: edge of the square, px.
        face: what `side` becomes in it, px.
    """
    zoom = face / max(side, 1.0)
    view = np.asarray(cv2.getRotationMatrix2D((float(centre[0]), float(centre[1])), turn, zoom), np.float64)
    view[:, 2] += (size - 1) / 2 - centre
    return view


def combine(score: float, logit: float) -> float:
    """The mean of a score and a logit, as a score."""
    return probability_of((logit_of(score) + logit) / 2)


def probability_of(logit: float) -> float:
    """0..1: the probability that a logit stands for."""
    return float(1 / (1 + np.exp(-logit)))


def logit_of(score: float) -> float:
    """The logit of a score; those of 0 and 1 are finite."""
    sure = min(max(score, 1e-6), 1 - 1e-6)
    return float(np.log(sure / (1 - sure)))
