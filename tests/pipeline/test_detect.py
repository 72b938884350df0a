"""Faces of several frames at once: pixels that are not square, and detectors that fail."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from gfpcli.pipeline.detect import detect_together, square_pixels
from gfpcli.pipeline.restorer import Restorer, unobserved
from gfpcli.pipeline.steps import Detected
from gfpcli.types import Face, Failed, Frame, Image
from tests.pipeline.test_restorer import FACES, Model, frames, restorer

Make = Callable[[int, int], NDArray[np.uint8]]


def corners(images: Sequence[Image]) -> list[tuple[Face, ...]]:
    """A face as large as each image, its landmarks at the lower right corner."""
    return [
        (Face(np.array([0.0, 0, *image.shape[1::-1]]), np.tile(np.array(image.shape[1::-1]) - 1.0, (5, 1)), 0.9),)
        for image in images
    ]


@pytest.mark.parametrize("n_detect", [1, 8])
def test_the_detector_sees_square_pixels_and_faces_come_back_in_the_frame(smooth_image: Make, n_detect: int) -> None:
    seen: list[tuple[int, ...]] = []

    def detector(images: Sequence[Image]) -> list[tuple[Face, ...]]:
        seen.extend(image.shape[:2] for image in images)
        return corners(images)

    given = [replace(frame, pixel_aspect=aspect) for frame in frames(smooth_image, 1) for aspect in (1.0, 2.0, 0.5)]
    parts: Restorer = replace(restorer(Model()), detector=detector, n_detect=n_detect)
    found = [each for each in parts.detect(given) if isinstance(each, Detected)]
    assert seen == [(120, 240), (120, 480), (240, 240)] and [each.frame for each in found] == given
    for each in found:
        (face,) = each.faces
        assert np.allclose(face.box, [0, 0, 240, 120]) and np.abs(face.landmarks - (239, 119)).max() < 0.3


def test_square_pixels_are_passed_as_they_are(smooth_image: Make) -> None:
    (frame,) = frames(smooth_image, 1)
    assert square_pixels(frame) is frame.image


def test_one_frame_that_the_detector_fails_on_fails_alone(smooth_image: Make) -> None:
    given = frames(smooth_image, 3)

    def detector(images: Sequence[Image]) -> list[tuple[Face, ...]]:
        if any(image is given[1].image for image in images):
            raise RuntimeError("CUDA error: out of memory")
        return [FACES for _ in images]

    out = detect_together(detector, given, unobserved)
    assert [type(each) for each in out] == [Detected, Failed, Detected] and isinstance(out[1], Failed)
    assert str(out[1].error) == "frame 1: not enough memory to look for faces; try --det-size 640"
    assert isinstance(out[0], Detected) and out[0].frame is given[0]
    for found, face in zip(out[0].faces, FACES, strict=True):
        assert (found.box == face.box).all() and np.abs(found.landmarks - face.landmarks).max() <= 0.005
        assert (found.landmarks == np.round(found.landmarks, 2)).all(), "a plan says what was used"


def test_aligned_pictures_are_not_looked_at() -> None:
    def never(images: Sequence[Image]) -> list[tuple[Face, ...]]:
        raise AssertionError

    parts = replace(restorer(Model(), aligned=True), detector=never)
    frame = Frame(0, np.zeros((64, 64, 3), np.uint8), "face")
    assert [type(each) for each in parts.detect([frame])] == [Detected]
