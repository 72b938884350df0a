"""Frames whose faces a plan tells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from gfpcli.pipeline.guard import Guard
from gfpcli.pipeline.refine import BoxLandmarker
from gfpcli.types import Face, Failed, Frame, Image, PlannedFace, Restored
from gfpcli.weights.build import load_landmark_refiner
from tests.conftest import ROOT
from tests.pipeline.test_restorer import FACES, Model, frames, restorer

Make = Callable[[int, int], NDArray[np.uint8]]


def planned(face: Face, **more: object) -> PlannedFace:
    landmarks = tuple(map(tuple, face.landmarks.tolist()))
    return PlannedFace(tuple(face.box.tolist()), landmarks, face.score, **more)  # type: ignore[arg-type]


def never(images: Sequence[Image]) -> list[tuple[Face, ...]]:
    raise AssertionError("a planned frame is not looked at")


def test_a_plan_takes_the_place_of_the_detector(smooth_image: Make) -> None:
    (frame,) = frames(smooth_image, 1)
    as_found = restorer(Model()).restore(frame)
    exact = replace(frame, planned=tuple(planned(Face(f.box, np.round(f.landmarks, 2), f.score)) for f in FACES))
    out = replace(restorer(Model(), faces="largest", min_face=9999.0), detector=never).restore(exact)
    assert (out.image == as_found.image).all(), "it is obeyed over --faces and --min-face"
    assert [each.status for each in out.outcomes] == ["restored", "restored"]


def test_each_face_has_its_action_and_strength(smooth_image: Make) -> None:
    (frame,) = frames(smooth_image, 1)
    plan = planned(FACES[0], strength=0.25), planned(FACES[1], action="skip")
    whole = restorer(Model()).restore(replace(frame, planned=tuple(map(planned, FACES))))
    out = replace(restorer(Model()), detector=never).restore(replace(frame, planned=plan))
    assert [each.status for each in out.outcomes] == ["restored", "skipped"]
    assert out.outcomes[0].strength == 0.25 and (out.image[:, 120:] == frame.image[:, 120:]).all()
    change, full = (each.image[40:70, 40:80].astype(float) - frame.image[40:70, 40:80] for each in (out, whole))
    assert 0.2 < change.mean() / full.mean() < 0.3


def test_a_person_s_word_is_obeyed_over_the_guard(smooth_image: Make) -> None:
    """A guard that takes no output for the same person."""
    vectors = iter(np.eye(64, dtype=np.float32))
    guard = Guard(1.0, lambda crops: np.stack([next(vectors) for _ in crops]), limits=((0.0, 0.5),))
    parts = replace(restorer(Model()), guard=guard, detector=never)
    (frame,) = frames(smooth_image, 1)
    out = parts.restore(replace(frame, planned=(planned(FACES[0], strength=0.6), planned(FACES[1]))))
    assert [(each.status, each.strength) for each in out.outcomes] == [("restored", 0.6), ("kept", 0.0)]


def test_planned_and_unplanned_frames_keep_their_order(smooth_image: Make) -> None:
    given = frames(smooth_image, 5)
    for i in (0, 3):
        given[i] = replace(given[i], planned=(planned(FACES[0]),))
    out = list(replace(restorer(Model()), n_detect=3).stream(given))
    assert [len(each.found) for each in out if isinstance(each, Restored)] == [1, 2, 2, 1, 2]
    assert [each.frame.name for each in out] == [each.name for each in given]


def test_a_restorer_without_a_landmarker_fails_the_frame_only(smooth_image: Make) -> None:
    (frame,) = frames(smooth_image, 1)
    (out,) = restorer(Model()).stream([replace(frame, planned=(PlannedFace((10.0, 10.0, 50.0, 60.0)),))])
    assert isinstance(out, Failed) and "looks for landmarks" in str(out.error)


@pytest.mark.parametrize("turn", [0, 1, 2, 3])
def test_landmarks_are_found_in_a_box_that_was_drawn_by_hand(turn: int) -> None:
    """The built-in network, in a portrait turned by quarters; the box is rough."""
    portrait = cv2.imread(str(ROOT / "examples/photos/grace_hopper.jpg"))
    assert portrait is not None
    landmarker = BoxLandmarker(load_landmark_refiner)
    box = np.array([170.0, 60, 330, 270])
    upright = landmarker(portrait, [box])[0]
    image, height, width = np.ascontiguousarray(np.rot90(portrait, turn)), *portrait.shape[:2]

    def turned(points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Points (N, 2) of the portrait in the turned one."""
        for k in range(turn):
            edge = width if k % 2 == 0 else height
            points = np.column_stack([points[:, 1], edge - 1 - points[:, 0]])
        return points

    corners = turned(box.reshape(2, 2))
    (found,) = landmarker(image, [np.concatenate([corners.min(axis=0), corners.max(axis=0)])])
    assert np.abs(found.landmarks - turned(upright.landmarks)).max() < 0.04 * (box[3] - box[1])
    assert found.score > 0.9


def test_no_face_in_a_box_has_a_low_score() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    (found,) = BoxLandmarker(load_landmark_refiner)(noise, [np.array([40.0, 40, 160, 160])])
    assert found.score < 0.5 and np.isfinite(found.landmarks).all()


def test_a_box_without_landmarks_is_restored(smooth_image: Make) -> None:
    def landmarker(image: Image, boxes: Sequence[NDArray[np.float64]]) -> tuple[Face, ...]:
        return tuple(Face(box, FACES[0].landmarks, 0.7) for box in boxes)

    (frame,) = frames(smooth_image, 1)
    added, left = PlannedFace(tuple(FACES[0].box.tolist())), PlannedFace((1.0, 1.0, 9.0, 9.0), action="skip")
    plan = planned(FACES[1]), added, left
    out = replace(restorer(Model()), landmarker=landmarker).restore(replace(frame, planned=plan))
    assert [each.status for each in out.outcomes] == ["restored", "restored", "skipped"]
    assert out.found[1].score == 0.7 and isinstance(frame, Frame)
    both = restorer(Model()).restore(replace(frame, planned=(planned(FACES[1]), planned(FACES[0]))))
    assert (out.image == both.image).all()
