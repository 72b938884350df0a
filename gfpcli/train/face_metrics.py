"""Metrics of the faces in a pair of pictures: the distance of their landmarks, and whether they show one person."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from gfpcli.errors import CheckpointError, FaceError
from gfpcli.options import RestoreOptions
from gfpcli.pipeline.align import cut_crop
from gfpcli.pipeline.refine import LandmarkRefiner
from gfpcli.pipeline.retinaface import RetinaFaceDetector
from gfpcli.types import Face, Identifier
from gfpcli.weights.build import load_detector_for
from gfpcli.weights.cache import BUILTINS
from gfpcli.weights.identifier import load_identifier

CROP_SIZE = 256  # px
BORDER = 0.25  # of the longer side: detectors miss faces that fill the picture


@dataclass(frozen=True, slots=True)
class FaceJudge:
    """Finds the faces of the true picture and measures them in both pictures with the same networks."""

    detector: RetinaFaceDetector
    refiner: LandmarkRefiner
    identifier: Identifier | None = None  # None: identity is not measured

    def __call__(self, restored: NDArray[np.uint8], true: NDArray[np.uint8], /) -> dict[str, float]:
        """`lmd`, px, and `identity`, a cosine: means over the faces of two (H, W, 3) BGR pictures of equal size.

        NaN without a face.
        """
        edge = round(max(true.shape[:2]) * BORDER)
        shown, truth = (with_border(each, edge) for each in (restored, true))
        (found,) = self.detector([truth])
        faces = [face for face in found if is_inside(face, edge, truth.shape)]
        values = {"lmd": self._landmark_distance(shown, truth, faces)}
        if self.identifier:
            values["identity"] = likeness(self.identifier, shown, truth, faces)
        return values

    def _landmark_distance(
        self, shown: NDArray[np.uint8], truth: NDArray[np.uint8], faces: Sequence[Face]
    ) -> float:
        if not faces:
            return math.nan
        moved = self.refiner(shown, faces)
        again = self.refiner(truth, faces)  # as in the restored picture: by the same views
        return float(np.mean([distance_of(*both) for both in zip(moved, again, strict=True)]))


def likeness(
    identifier: Identifier, restored: NDArray[np.uint8], true: NDArray[np.uint8], faces: Sequence[Face]
) -> float:
    """Mean cosine between the identity features of each face in both pictures, both cut by the true face's landmarks.

    NaN where no face can be cut.
    """
    cosines = []
    for face in faces:
        with suppress(FaceError):
            one, other = (cut_crop(picture, face, CROP_SIZE).image for picture in (restored, true))
            vectors = identifier([one, other])  # unit vectors
            cosines.append(float(vectors[0] @ vectors[1]))
    return float(np.mean(cosines)) if cosines else math.nan


def with_border(picture: NDArray[np.uint8], edge: int) -> NDArray[np.uint8]:
    """The (H, W, 3) picture with `edge` px of itself, mirrored, on each side."""
    return np.asarray(cv2.copyMakeBorder(picture, edge, edge, edge, edge, cv2.BORDER_REFLECT_101), np.uint8)


def is_inside(face: Face, edge: int, shape: tuple[int, ...]) -> bool:
    """Whether the middle of a face lies in the picture, not in the mirrored border of `edge` px around it."""
    x, y = (face.box[:2] + face.box[2:]) / 2
    return bool(edge <= x < shape[1] - edge and edge <= y < shape[0] - edge)


def distance_of(one: Face, other: Face) -> float:
    """Mean distance of the landmarks, px."""
    return float(np.hypot(*(one.landmarks - other.landmarks).T).mean())


def load_face_judge() -> FaceJudge:
    """With the networks in the package. Raises CheckpointError."""
    path = BUILTINS["builtin"]
    detector = load_detector_for(RestoreOptions(detector="builtin", device="cpu"), path)
    if detector.refiner is None:
        raise CheckpointError(f"{path}: holds no landmark network")
    identifier, _ = load_identifier(BUILTINS["identity"], torch.device("cpu"))
    return FaceJudge(detector, detector.refiner, identifier)
