"""Metrics of the faces in a pair of pictures: the distance of their landmarks."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from gfpcli.adapters.facexlib import FacexlibDetector
from gfpcli.errors import CheckpointError
from gfpcli.options import RestoreOptions
from gfpcli.pipeline.refine import LandmarkRefiner
from gfpcli.types import Face
from gfpcli.weights.build import load_detector_for
from gfpcli.weights.cache import BUILTINS

BORDER = 0.25  # of the longer side: detectors miss faces that fill the picture


@dataclass(frozen=True, slots=True)
class FaceJudge:
    """Finds the faces of the true picture and measures their landmarks in both pictures with the same network."""

    detector: FacexlibDetector
    refiner: LandmarkRefiner

    def __call__(self, restored: NDArray[np.uint8], true: NDArray[np.uint8], /) -> dict[str, float]:
        """`lmd`, px, the mean over the faces of two (H, W, 3) BGR pictures of equal size; NaN without a face."""
        edge = round(max(true.shape[:2]) * BORDER)
        shown, truth = (with_border(each, edge) for each in (restored, true))
        (found,) = self.detector([truth])
        faces = [face for face in found if is_inside(face, edge, truth.shape)]
        if not faces:
            return {"lmd": math.nan}
        moved = self.refiner(shown, faces)
        again = self.refiner(truth, faces)  # as in the restored picture: by the same views
        return {"lmd": float(np.mean([distance_of(*both) for both in zip(moved, again, strict=True)]))}


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
    """With the detector in the package. Raises CheckpointError."""
    path = BUILTINS["builtin"]
    detector = load_detector_for(RestoreOptions(detector="builtin", device="cpu"), path)
    if detector.refiner is None:
        raise CheckpointError(f"{path}: holds no landmark network")
    return FaceJudge(detector, detector.refiner)
