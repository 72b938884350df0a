"""RetinaFace behind the `Detector` port: its anchors, what they say, and which of it are faces (numpy only).

The network itself may run anywhere. Anchors and offsets are those of facexlib (`detection/retinaface_utils.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from gfpcli.pipeline.align import to_8_bit, warp_area
from gfpcli.pipeline.refine import LandmarkRefiner, drop_duplicates, is_near, moved_to
from gfpcli.types import Face, Image, PictureBatch

MEAN_BGR = (104.0, 117.0, 123.0)
CENTRE_UNIT, SIDE_UNIT = 0.1, 0.2  # of an anchor's side, and of its logarithm: what a network's 1 stands for
MAX_IOU = 0.4  # of two faces
MIN_EYE_DISTANCE = 5.0  # px (GFPGAN)
FAR = 4  # large images are also seen at 1/4 size, for faces larger than the anchors
VIEW = 224  # px of the square in which landmarks are measured again
VIEW_FACE = 112  # px of the face's longer side there: the middle anchors' size
VIEW_THRESHOLD = 0.3  # low: that there is a face is known
CANDIDATE_SCORE = 0.3  # score from which the landmark refiner is asked
FOLLOWED_SCORE = 0.94  # of the landmark refiner alone, from which it still sees the face that it followed
FindFaces: TypeAlias = Callable[[PictureBatch], tuple[NDArray[np.float32], ...]]
"""The network: (N, 3, H, W) BGR less MEAN_BGR to boxes (N, A, 4), scores (N, A, 2) and landmarks (N, A, 10)."""
RawFaces: TypeAlias = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]
"""Boxes (F, 4), landmarks (F, 5, 2) and scores (F,), in pixels of the image."""


@dataclass(frozen=True, slots=True)
class Anchors:
    """Where RetinaFace looks for faces: squares of a few sizes around the places of a few grids."""

    min_sizes: tuple[tuple[float, ...], ...]  # px of the squares, for each grid
    steps: tuple[int, ...]  # px between the places of each grid
    is_clipped: bool

    @classmethod
    def from_layout(cls, layout: Mapping[str, Any]) -> Anchors:
        """The anchors in facexlib's words. Raises KeyError and TypeError where some are missing."""
        return cls(tuple(map(tuple, layout["min_sizes"])), tuple(layout["steps"]), bool(layout["clip"]))

    def to_layout(self) -> dict[str, object]:
        """The same words."""
        return {"min_sizes": self.min_sizes, "steps": self.steps, "clip": self.is_clipped}

    def over(self, size: tuple[int, int]) -> NDArray[np.float32]:
        """(A, 4) centre x, y, width, height in shares of a picture of `size` (width, height)."""
        width, height = size
        grids = []
        for step, sides in zip(self.steps, self.min_sizes, strict=True):
            grid = np.empty((math.ceil(height / step), math.ceil(width / step), len(sides), 4))
            grid[..., 0] = ((np.arange(grid.shape[1]) + 0.5) * step / width)[:, None]
            grid[..., 1] = ((np.arange(grid.shape[0]) + 0.5) * step / height)[:, None, None]
            grid[..., 2:] = np.array(sides)[:, None] / (width, height)
            grids.append(grid.reshape(-1, 4))
        anchors = np.concatenate(grids).astype(np.float32)
        return np.clip(anchors, 0, 1) if self.is_clipped else anchors


@dataclass(frozen=True, slots=True)
class RetinaFaceDetector:
    """A RetinaFace network that sees images at most `longest` px large (0 = full size)."""

    net: FindFaces
    anchors: Anchors
    threshold: float  # least score of a face, 0..1
    longest: int
    refiner: LandmarkRefiner | None = None  # None: this network itself measures the landmarks a second time

    def __call__(self, images: Sequence[Image], /) -> list[tuple[Face, ...]]:
        """Faces of (H, W, 3) BGR images, best score first, without nested boxes.

        Images that the network sees at the same size go through it together.
        """
        shown = [to_8_bit(image) for image in images]
        threshold = self.threshold if self.refiner is None else min(self.threshold, CANDIDATE_SCORE)
        found = self.candidates(shown, threshold)
        return [self._refined(image, faces) for image, faces in zip(shown, found, strict=True)]

    def follow(self, image: Image, faces: Sequence[Face], /) -> tuple[Face | None, ...]:
        """A `Follower`: by the landmark network, or without one by this network's close look."""
        shown = to_8_bit(image)
        if self.refiner is None:
            return tuple(self._followed(shown, face) for face in faces)
        moved = self.refiner.follow(shown, faces)
        least = max(self.threshold, FOLLOWED_SCORE)
        return tuple(face if face and face.score > least and is_plausible(face) else None for face in moved)

    def _refined(self, image: NDArray[np.uint8], candidates: tuple[Face, ...]) -> tuple[Face, ...]:
        """The candidates that are faces, with their landmarks measured again."""
        if self.refiner is None:
            faces = drop_nested(tuple(face for face in candidates if is_plausible(face)))
            return tuple(self._measured_again(image, face) for face in faces)
        refined = self.refiner.faces_among(image, candidates, self.threshold)
        kept = [face for face in refined if face.score > self.threshold and is_plausible(face)]
        return drop_nested(drop_duplicates(tuple(sorted(kept, key=lambda face: -face.score))))

    def candidates(self, images: Sequence[NDArray[np.uint8]], threshold: float) -> list[tuple[Face, ...]]:
        """The faces that the network alone finds in each (H, W, 3) BGR image, best score first."""
        sizes = [self._sizes_of(image) for image in images]
        found: list[list[RawFaces]] = [[] for _ in images]
        for level in range(2):
            own = [(size[level], i) for i, size in enumerate(sizes) if level < len(size)]
            for size, group in groupby(sorted(own), key=lambda pair: pair[0]):
                at = [i for _, i in group]
                for i, each in zip(at, self._detect_at([images[i] for i in at], size, threshold), strict=True):
                    found[i].append(each)
        return [_best_of(each) for each in found]

    def _sizes_of(self, image: NDArray[np.uint8]) -> list[tuple[int, int]]:
        """The sizes (width, height) at which the network sees an image; a large one also at 1 / FAR of the first."""
        height, width = image.shape[:2]
        longest = max(height, width)
        zoom = min(1.0, self.longest / longest) if self.longest else 1.0
        zooms = [zoom, zoom / FAR] if longest * zoom > 480 else [zoom]
        return [(max(1, round(width * each)), max(1, round(height * each))) for each in zooms]

    def _followed(self, image: NDArray[np.uint8], face: Face) -> Face | None:
        seen = self._seen_close(image, face)
        if seen is None or seen.score <= self.threshold or not is_plausible(seen):
            return None
        return moved_to(face, seen.landmarks, seen.score) if is_near(face, seen.landmarks, seen.landmarks) else None

    def _measured_again(self, image: NDArray[np.uint8], face: Face) -> Face:
        """The face with landmarks from where the network is most exact: upright, in the middle, at one size."""
        seen = self._seen_close(image, face)
        return Face(face.box, seen.landmarks, face.score) if seen else face

    def _seen_close(self, image: NDArray[np.uint8], face: Face) -> Face | None:
        """The face with the landmarks and the score of a close look; None where none is in the middle of that."""
        eyes = face.landmarks[1] - face.landmarks[0]
        centre = (face.box[:2] + face.box[2:]) / 2
        turn = float(np.degrees(np.arctan2(eyes[1], eyes[0])))
        zoom = VIEW_FACE / max(face.box[2:] - face.box[:2])
        view = np.asarray(cv2.getRotationMatrix2D((float(centre[0]), float(centre[1])), turn, float(zoom)), np.float64)
        view[:, 2] += VIEW / 2 - centre
        square = warp_area(image, view, VIEW)
        ((boxes, points, scores),) = self._detect_at([square], (VIEW, VIEW), VIEW_THRESHOLD)
        if not len(scores):
            return None
        off = np.hypot(*((boxes[:, :2] + boxes[:, 2:]) / 2 - VIEW / 2).T)
        best = int((scores - off / VIEW_FACE).argmax())
        if off[best] > VIEW_FACE / 4:
            return None  # a neighbour
        back = np.asarray(cv2.invertAffineTransform(view), np.float64)
        return Face(face.box, points[best] @ back[:, :2].T + back[:, 2], float(scores[best]))

    def _detect_at(
        self, images: Sequence[NDArray[np.uint8]], size: tuple[int, int], threshold: float
    ) -> list[RawFaces]:
        """What the network finds in each image, seen at `size` (width, height)."""
        small = [shrunk(image, size).astype(np.float32) - np.array(MEAN_BGR, np.float32) for image in images]
        boxes, scores, points = self.net(np.stack(small).transpose(0, 3, 1, 2))
        anchors, found = self.anchors.over(size), []
        for i, image in enumerate(images):
            keep = scores[i, :, 1] > threshold
            pixels = np.array(image.shape[1::-1], np.float32)
            corners = boxes_of(boxes[i, keep], anchors[keep]) * np.tile(pixels, 2)
            marks = points_of(points[i, keep], anchors[keep]) * pixels - np.float32(0.5)
            found.append((corners, marks, scores[i, keep, 1]))
        return found


def boxes_of(offsets: NDArray[np.float32], anchors: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the network says of each anchor (F, 4) to boxes (F, 4) x0, y0, x1, y1, in shares of the picture."""
    centres = anchors[:, :2] + offsets[:, :2] * CENTRE_UNIT * anchors[:, 2:]
    # in doubles, then rounded: numpy's exponential of floats is a last digit off in two of five, torch's in one of 100
    sides = anchors[:, 2:] * np.exp(offsets[:, 2:] * SIDE_UNIT, dtype=np.float64).astype(np.float32)
    low = centres - sides / 2
    return np.concatenate([low, sides + low], axis=1)


def points_of(offsets: NDArray[np.float32], anchors: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the network says of each anchor (F, 10) to landmarks (F, 5, 2), in shares of the picture."""
    return anchors[:, None, :2] + offsets.reshape(-1, 5, 2) * CENTRE_UNIT * anchors[:, None, 2:]


def _best_of(found: Sequence[RawFaces]) -> tuple[Face, ...]:
    """The faces found at all sizes of an image without overlapping boxes, best score first."""
    boxes, points, scores = (np.concatenate(part) for part in zip(*found, strict=True))
    faces = zip(boxes.astype(np.float64), points.astype(np.float64), map(float, scores), strict=True)
    return without_overlaps([Face(*face) for face in faces])


def without_overlaps(faces: Sequence[Face]) -> tuple[Face, ...]:
    """The faces without those that overlap with a better one, best score first."""
    boxes = [(*face.box[:2], *(face.box[2:] - face.box[:2])) for face in faces]
    kept = cv2.dnn.NMSBoxes(boxes, [face.score for face in faces], 0.0, MAX_IOU) if faces else ()
    return tuple(faces[int(i)] for i in kept)


def is_plausible(face: Face) -> bool:
    """Whether eyes and mouth are far enough apart to align by."""
    left, right, _, mouth_left, mouth_right = face.landmarks
    eyes, mouth = (left + right) / 2, (mouth_left + mouth_right) / 2
    return bool(np.hypot(*(right - left)) >= MIN_EYE_DISTANCE and np.hypot(*(mouth - eyes)) > 2)


def drop_nested(faces: tuple[Face, ...]) -> tuple[Face, ...]:
    """Faces, best first, without those that lie to four fifths inside (or around) a better one."""
    kept: list[Face] = []
    for face in faces:
        if all(_covered(face, other) < 0.8 for other in kept):
            kept.append(face)
    return tuple(kept)


def _covered(face: Face, other: Face) -> float:
    """Shared area over the smaller box's area."""
    low, high = np.maximum(face.box[:2], other.box[:2]), np.minimum(face.box[2:], other.box[2:])
    areas = [np.prod(each.box[2:] - each.box[:2]) for each in (face, other)]
    return float(np.prod(np.maximum(high - low, 0)) / max(min(areas), 1e-6))


def shrunk(picture: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """At (width, height), by area means; the picture itself where it has that size."""
    if picture.shape[1::-1] == size:
        return picture
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
