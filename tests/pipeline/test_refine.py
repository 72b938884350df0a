"""Landmarks measured again, by the weights in the package, on the photos in the repository."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from gfpcli.model.views import FACE_SIDE, VIEW_SIZE
from gfpcli.options import RestoreOptions
from gfpcli.pipeline.align import LARGEST_ZOOM
from gfpcli.pipeline.refine import LandmarkRefiner, combine, mirror, roll_of, view_of
from gfpcli.pipeline.retinaface import RetinaFaceDetector
from gfpcli.types import Face, PictureBatch
from gfpcli.weights.build import load_detector_for
from gfpcli.weights.cache import BUILTINS

PHOTOS = sorted((Path(__file__).resolve().parents[2] / "examples" / "photos").glob("*.jpg"))


@pytest.fixture(scope="module")
def detector() -> RetinaFaceDetector:
    found = load_detector_for(RestoreOptions(), BUILTINS["builtin"])
    assert isinstance(found, RetinaFaceDetector)
    return found


@pytest.fixture(scope="module")
def refiner(detector: RetinaFaceDetector) -> LandmarkRefiner:
    assert detector.refiner is not None
    return detector.refiner


def off_by(face: Face, landmarks: NDArray[np.float64]) -> float:
    """Mean error of the landmarks, of the eye distance."""
    return float(np.hypot(*(face.landmarks - landmarks).T).mean() / np.hypot(*(landmarks[1] - landmarks[0])))


@pytest.mark.parametrize("path", PHOTOS, ids=lambda path: path.stem)
def test_a_box_that_is_off_leads_to_the_same_landmarks(
    path: Path, detector: RetinaFaceDetector, refiner: LandmarkRefiner, rng: np.random.Generator
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
def test_a_turned_photo_has_its_landmarks_turned(path: Path, turn: float, detector: RetinaFaceDetector) -> None:
    image = cv2.imread(str(path))
    face = detector([image])[0][0]
    around = (face.box[:2] + face.box[2:]) / 2
    turned = np.asarray(cv2.getRotationMatrix2D((float(around[0]), float(around[1])), turn, 1.0), np.float64)
    seen = cv2.warpAffine(image, turned, image.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)
    assert off_by(detector([seen])[0][0], face.landmarks @ turned[:, :2].T + turned[:, 2]) < 0.08
    assert roll_of(detector([seen])[0][0].landmarks) == pytest.approx(roll_of(face.landmarks) - turn, abs=4)


def test_a_mirrored_photo_has_left_and_right_exchanged(detector: RetinaFaceDetector) -> None:
    image = cv2.imread(str(PHOTOS[0]))
    mirrored = detector([np.ascontiguousarray(image[:, ::-1])])[0][0].landmarks[[1, 0, 2, 4, 3]]
    mirrored = mirrored * (-1, 1) + (image.shape[1] - 1, 0)
    assert off_by(detector([image])[0][0], mirrored) < 0.04


def test_many_at_once_are_as_one_by_one(detector: RetinaFaceDetector, refiner: LandmarkRefiner) -> None:
    image = cv2.imread(str(PHOTOS[0]))
    face = detector([image])[0][0]
    faces = [Face(face.box + shift, face.landmarks + shift, 0.5) for shift in np.linspace(0, 5, 40)]
    alone = [each for face in faces for each in refiner(image, [face])]
    for one, other in zip(refiner(image, faces), alone, strict=True):
        assert np.allclose(one.landmarks, other.landmarks, atol=0.01)
        assert one.score == pytest.approx(other.score, abs=1e-4)
    assert refiner(image, []) == ()


def test_what_is_no_face_loses_its_score(detector: RetinaFaceDetector, refiner: LandmarkRefiner) -> None:
    image = cv2.imread(str(PHOTOS[0]))
    face = detector([image])[0][0]
    noise = np.random.default_rng(0).integers(0, 256, image.shape, dtype=np.uint8)
    (same,), (none,) = (refiner(each, [Face(face.box, face.landmarks, 0.6)]) for each in (image, noise))
    assert same.score > 0.6 > none.score


def test_scores_are_averaged_as_logits() -> None:
    assert combine(0.5, 0.0) == 0.5
    assert combine(0.9, -np.log(9)) == pytest.approx(0.5)
    assert 0.5 < combine(1.0, -5.0) <= 1.0


def test_a_view_shows_a_face_upright_in_the_middle_at_one_size() -> None:
    """`roll_of` is undone: a point beside the centre, along the face's own right, comes out at the right."""
    for side, centre, turn in ((50.0, (30.0, 40.0), 20.0), (200.0, (99.5, 7.0), -70.0), (0.2, (5.0, 5.0), 0.0)):
        view = view_of(np.array(centre), turn, side)
        zoom = FACE_SIDE / max(side, 1)
        angle = np.radians(turn)
        beside = np.array(centre) + 10 * np.array([np.cos(angle), np.sin(angle)])
        shown = view[:, :2] @ beside + view[:, 2]
        assert np.allclose(shown, [(VIEW_SIZE - 1) / 2 + 10 * zoom, (VIEW_SIZE - 1) / 2])


@pytest.mark.parametrize("turn", [0.0, 30.0, -100.0, 170.0])
def test_the_roll_of_turned_landmarks_is_their_turn(turn: float) -> None:
    angle = np.radians(turn)
    marks = np.array([[-20, -20], [20, -20], [3, 0], [-15, 25], [15, 25.0]])  # the nose counts for nothing
    turned = marks @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) * 2 + (300, 50)
    assert roll_of(turned) == pytest.approx(turn)


def test_mirrored_landmarks_change_sides() -> None:
    points = np.arange(20, dtype=np.float32).reshape(2, 5, 2)
    there = mirror(points)
    assert there[0, 0].tolist() == [VIEW_SIZE - 1 - 2, 3] and there[1, 2].tolist() == [VIEW_SIZE - 1 - 14, 15]
    assert there[0, 3].tolist() == [VIEW_SIZE - 1 - 8, 9] and (mirror(there) == points).all()


def test_scores_at_the_ends_stay_finite() -> None:
    assert combine(0.0, 0.0) == pytest.approx(1e-3, rel=2e-3)  # as of a score of 1e-6
    assert combine(1.0, 0.0) == pytest.approx(1 - combine(0.0, 0.0))
    assert combine(0.2, 3.0) == pytest.approx(1 / (1 + np.exp(-(np.log(0.25) + 3) / 2)))


class FixedNet:
    """Finds the same five landmarks in every view, and is as sure as the view is bright in the middle."""

    def __init__(self) -> None:
        self.views: list[int] = []

    def __call__(self, batch: PictureBatch) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        self.views.append(len(batch))
        middle = np.array([[-9, -9], [9, -9], [0, 0], [-7, 10], [7, 10]], np.float32) + (VIEW_SIZE - 1) / 2
        return np.stack([middle] * len(batch)), batch[:, 0, VIEW_SIZE // 2, VIEW_SIZE // 2]


def test_each_face_is_seen_in_eleven_views_of_which_the_mean_is_taken() -> None:
    """1 by its box, then 1 and 4 around the landmarks, these also mirrored; at most 16 faces at once."""
    net = FixedNet()
    refiner = LandmarkRefiner(net)
    image = np.full((200, 300, 3), 255, np.uint8)
    marks = np.array([[-9, -9], [9, -9], [0, 0], [-7, 10], [7, 10.0]])
    faces = [Face(np.array([x, 50.0, x + 60, 110]), marks + (x + 30, 80), 0.5) for x in range(40, 57)]
    refined = refiner(image, faces)
    assert net.views == [16, 1, 32, 128, 2, 8] and len(refined) == 17
    for face, each in zip(faces, refined, strict=True):
        assert np.abs(each.landmarks.mean(axis=0) - face.landmarks.mean(axis=0)).max() < 3
        assert (each.box == face.box).all() and each.score == pytest.approx(combine(0.5, 1.0))


def test_a_large_face_is_followed_by_few_pixels_to_the_same_place(
    detector: RetinaFaceDetector, refiner: LandmarkRefiner, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = cv2.resize(cv2.imread(str(PHOTOS[-1])), None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    image = np.asarray(photo, np.uint8)
    (faces,) = detector([image])
    assert faces and max(faces[0].box[2:] - faces[0].box[:2]) > 250
    quick = [face for face in refiner.follow(image, faces[:1]) if face]
    monkeypatch.setattr("gfpcli.pipeline.refine.VIEW_ZOOM", LARGEST_ZOOM)
    exact = [face for face in refiner.follow(image, faces[:1]) if face]
    assert off_by(quick[0], exact[0].landmarks) < 0.002


def test_what_cannot_be_a_face_and_a_face_found_twice_are_seen_once_only() -> None:
    """Of five candidates two are measured in all eleven views."""
    net = FixedNet()
    image = np.full((200, 400, 3), 255, np.uint8)
    image[:, 300:] = 0  # where the network's logit is -1
    marks = np.array([[-9, -9], [9, -9], [0, 0], [-7, 10], [7, 10.0]])

    def face(x: int, score: float) -> Face:
        return Face(np.array([x, 50.0, x + 60, 110]), marks + (x + 30, 80), score)

    candidates = [face(40, 0.6), face(42, 0.9), face(160, 0.7), face(330, 1e-4), face(164, 0.5)]
    found = LandmarkRefiner(net).faces_among(image, candidates, 0.5)
    assert net.views == [5, 2 * 2, 2 * 8]
    want = LandmarkRefiner(FixedNet())(image, [candidates[1], candidates[2]])
    for one, other in zip(found, want, strict=True):
        assert one.score == other.score and (one.landmarks == other.landmarks).all()
