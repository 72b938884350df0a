"""How strongly faces are restored, and that they stay the same person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from gfpcli.errors import FaceError
from gfpcli.pipeline.align import TEMPLATE_512
from gfpcli.pipeline.guard import LEVELS, Guard, pasted, without_coarse
from gfpcli.pipeline.identity import IdentityScale
from gfpcli.pipeline.steps import AlignedFaces, FacesRestored, Share
from gfpcli.types import Crop, Face, FaceOutcome, Frame
from gfpcli.weights.autotune import probe_faces

FACE = Face(np.array([0, 0, 64, 64.0]), TEMPLATE_512 / 8, 0.9)
FRAME = Frame(0, np.zeros((64, 64, 3), np.uint8), "")
SCALE = IdentityScale((0.0, 1.0), (0.0, 1.0))


def identifier(crops: Sequence[NDArray[np.uint8]], /) -> NDArray[np.float32]:
    """Whose face it is is said by its mean grey level: a quarter turn from 0 to 255."""
    angles = np.array([crop.mean() for crop in crops]) / 255 * np.pi / 2
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def crop_of(level: int) -> Crop:
    return Crop(FACE, np.full((64, 64, 3), level, np.uint8), np.eye(2, 3))


def guard(limit: float, strength: float | None = 1.0) -> Guard:
    return Guard(strength, identifier, SCALE, ((0.0, limit),))


def test_a_face_that_stays_the_same_person_is_pasted_as_asked() -> None:
    crop, face = crop_of(100), np.full((64, 64, 3), 110, np.uint8)
    made = guard(0.9).decide([(crop, face)], Share())
    assert (made.strength, made.coarse, made.is_kept) == (1, 1, False) and 0.9 < (made.identity or 0) < 1
    assert guard(0.9).decide([(crop, face)], Share(strength=0.3)).strength == 0.3
    assert Guard(0.7).decide([(crop, face)], Share()).identity is None, "nothing is measured where nothing guards"


def test_the_input_s_coarse_band_comes_back_first() -> None:
    """The change is a coarse one only: without it the fine band is pasted whole."""
    crop, face = crop_of(10), np.full((64, 64, 3), 210, np.uint8)
    face[::2] -= 8  # fine
    face[1::2] += 8
    made = guard(0.99).decide([(crop, face)], Share())
    assert (made.strength, made.coarse, made.is_kept) == (1, 0, False) and (made.identity or 0) >= 0.99
    (judged,) = [guard(0.99).judged(restored([crop], [face]))]
    shown = np.asarray(judged.faces[0], int)
    assert abs(shown[20:40].mean() - 10) < 4 and shown[30, 30, 0] < shown[31, 30, 0], "the fine change is there"


def test_a_face_that_cannot_be_brought_over_the_limit_is_kept() -> None:
    crop = crop_of(10)
    face = crop.image.copy()
    face[16:48:2] = 255  # fine bands that change the mean
    out = guard(0.9999).judged(restored([crop], [face]))
    (verdict,) = out.verdicts
    assert verdict.is_kept and verdict.strength == 0 and verdict.identity is not None and verdict.identity < 0.9999


def test_a_tiny_face_must_stay_more_alike_than_a_large_one() -> None:
    crop, face = crop_of(100), np.full((64, 64, 3), 180, np.uint8)
    tiny, between = (replace(crop, frame_to_crop=zoom * np.eye(2, 3)) for zoom in (4, 2))
    graded = Guard(1.0, identifier, SCALE, ((16.0, 0.999), (48.0, 0.85)))
    assert [graded.decide([(each, face)], Share()).coarse for each in (crop, between, tiny)] == [1, 0.5, 0]


def test_a_fade_multiplies_and_does_not_ask_the_guard_again() -> None:
    crop, face = crop_of(100), np.full((64, 64, 3), 110, np.uint8)
    out = guard(0.5).judged(restored([crop], [face], (Share(strength=0.8, fade=0.25),)))
    assert out.verdicts[0].strength == pytest.approx(0.2)
    failed = guard(0.5).judged(restored([crop], [FaceError("no")]))
    assert isinstance(failed.faces[0], FaceError) and failed.verdicts[0].strength == 0


def test_auto_takes_less_of_a_sharp_face_than_of_a_blurred_one() -> None:
    image = probe_faces(256)[0]
    blurred = np.asarray(cv2.GaussianBlur(image, (0, 0), 3), np.uint8)
    whole = np.zeros_like(image)

    def strength_of(picture: NDArray[np.uint8], strength: float | None = None) -> float:
        return Guard(strength).decide([(Crop(FACE, picture, np.eye(2, 3)), whole)], Share()).strength

    assert strength_of(blurred) > 0.9 and strength_of(image) < 0.3
    assert strength_of(image, 0.9) == 0.9, "a number means that number"


def test_bands_are_mixed_as_said() -> None:
    crop, face = crop_of(100).image, np.full((64, 64, 3), 200, np.uint8)
    assert (pasted(crop, face, 1, 1, 1) == face).all() and (pasted(crop, face, 0.5, 1, 1) == 150).all()
    assert (pasted(crop, face, 1, 0, 1) == 100).all(), "an even change is coarse"
    assert (without_coarse(crop, face, 0) == face).all() and (without_coarse(crop, face, 0.5) == 150).all()
    assert [fine for _, fine in LEVELS] == sorted((fine for _, fine in LEVELS), reverse=True)


def restored(
    crops: list[Crop], faces: list[NDArray[np.uint8] | FaceError], shares: tuple[Share, ...] = ()
) -> FacesRestored:
    outcomes = tuple(FaceOutcome("restored") for _ in crops)
    aligned = AlignedFaces(FRAME, tuple(crop.face for crop in crops), outcomes, tuple(crops), shares=shares)
    return FacesRestored(aligned, tuple(faces))
