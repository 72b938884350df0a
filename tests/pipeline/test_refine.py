"""Landmarks measured again, by the weights in the package, on the photos in the repository."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from gfpcli.adapters.facexlib import FacexlibDetector
from gfpcli.options import RestoreOptions
from gfpcli.pipeline.refine import LandmarkRefiner, combine, roll_of
from gfpcli.types import Face
from gfpcli.weights.build import load_detector_for
from gfpcli.weights.cache import BUILTINS

PHOTOS = sorted((Path(__file__).resolve().parents[2] / "examples" / "photos").glob("*.jpg"))


@pytest.fixture(scope="module")
def detector() -> FacexlibDetector:
    found = load_detector_for(RestoreOptions(), BUILTINS["builtin"])
    assert isinstance(found, FacexlibDetector)
    return found


@pytest.fixture(scope="module")
def refiner(detector: FacexlibDetector) -> LandmarkRefiner:
    assert detector.refiner is not None
    return detector.refiner


def off_by(face: Face, landmarks: NDArray[np.float64]) -> float:
    """Mean error of the landmarks, of the eye distance."""
    return float(np.hypot(*(face.landmarks - landmarks).T).mean() / np.hypot(*(landmarks[1] - landmarks[0])))


@pytest.mark.parametrize("path", PHOTOS, ids=lambda path: path.stem)
def test_a_box_that_is_off_leads_to_the_same_landmarks(
    path: Path, detector: FacexlibDetector, refiner: LandmarkRefiner, rng: np.random.Generator
) -> None:
    image = cv2.imread(str(path))
    face = detector([image])[0][0]
    side = max(face.box[2:] - face.box[:2])
    for _ in range(6):
        shift = side * np.tile(rng.uniform(-0.1, 0.1, 2), 2) + side * rng.uniform(0, 0.05) * np.array([-1, -1, 1, 1])
        marks = face.landmarks + rng.normal(0, 0.03 * side, (5, 2))
        (again,) = refiner(image, [Face(face.box + shift, marks, 0.9)])
        assert off_by(again, face.landmarks) < 0.06


@pytest.mark.parametrize("turn", [-25.0, 25.0])
@pytest.mark.parametrize("path", PHOTOS, ids=lambda path: path.stem)
def test_a_turned_photo_has_its_landmarks_turned(path: Path, turn: float, detector: FacexlibDetector) -> None:
    image = cv2.imread(str(path))
    face = detector([image])[0][0]
    around = (face.box[:2] + face.box[2:]) / 2
    turned = np.asarray(cv2.getRotationMatrix2D((float(around[0]), float(around[1])), turn, 1.0), np.float64)
    seen = cv2.warpAffine(image, turned, image.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)
    assert off_by(detector([seen])[0][0], face.landmarks @ turned[:, :2].T + turned[:, 2]) < 0.08
    assert roll_of(detector([seen])[0][0].landmarks) == pytest.approx(roll_of(face.landmarks) - turn, abs=4)


def test_a_mirrored_photo_has_left_and_right_exchanged(detector: FacexlibDetector) -> None:
    image = cv2.imread(str(PHOTOS[0]))
    mirrored = detector([np.ascontiguousarray(image[:, ::-1])])[0][0].landmarks[[1, 0, 2, 4, 3]]
    mirrored = mirrored * (-1, 1) + (image.shape[1] - 1, 0)
    assert off_by(detector([image])[0][0], mirrored) < 0.04


def test_many_at_once_are_as_one_by_one(detector: FacexlibDetector, refiner: LandmarkRefiner) -> None:
    image = cv2.imread(str(PHOTOS[0]))
    face = detector([image])[0][0]
    faces = [Face(face.box + shift, face.landmarks + shift, 0.5) for shift in np.linspace(0, 5, 40)]
    alone = [each for face in faces for each in refiner(image, [face])]
    for one, other in zip(refiner(image, faces), alone, strict=True):
        assert np.allclose(one.landmarks, other.landmarks, atol=0.01)
        assert one.score == pytest.approx(other.score, abs=1e-4)
    assert refiner(image, []) == ()


def test_what_is_no_face_loses_its_score(detector: FacexlibDetector, refiner: LandmarkRefiner) -> None:
    image = cv2.imread(str(PHOTOS[0]))
    face = detector([image])[0][0]
    noise = np.random.default_rng(0).integers(0, 256, image.shape, dtype=np.uint8)
    (same,), (none,) = (refiner(each, [Face(face.box, face.landmarks, 0.6)]) for each in (image, noise))
    assert same.score > 0.6 > none.score


def test_scores_are_averaged_as_logits() -> None:
    assert combine(0.5, 0.0) == 0.5
    assert combine(0.9, -np.log(9)) == pytest.approx(0.5)
    assert 0.5 < combine(1.0, -5.0) <= 1.0
