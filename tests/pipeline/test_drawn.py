"""The map of what was drawn: 0 where nothing changed and outside of faces, and stronger where more detail is new."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from gfpcli.pipeline.drawn import FULL, drawn_detail, face_map, frame_map
from gfpcli.types import Crop, Face

SmoothImage = Callable[[int, int], NDArray[np.uint8]]
FACE = Face(np.zeros(4), np.zeros((5, 2)), 1.0)


def with_detail(image: NDArray[np.uint8], levels: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """New detail in the left half only."""
    made = image.astype(np.float32)
    made[:, :64] += rng.choice([-levels, levels], (128, 64, 1))
    return np.clip(np.round(made), 0, 255).astype(np.uint8)


def test_only_new_detail_counts(smooth_image: SmoothImage, rng: np.random.Generator) -> None:
    crop = np.asarray(smooth_image(128, 128) // 2 + 60, np.uint8)
    assert not drawn_detail(crop, crop).any()
    assert drawn_detail(crop, crop + np.uint8(20)).max() < 0.1  # lighter, but no detail
    weak, strong = (drawn_detail(crop, with_detail(crop, levels, rng)) for levels in (4, 12))
    assert weak[:, :48].mean() > 20 * weak[:, 80:].mean() + 1
    assert 2.5 < strong[:, :48].mean() / weak[:, :48].mean() < 3.5


def test_the_map_follows_mask_and_strength_and_lies_in_the_face_s_place(
    smooth_image: SmoothImage, rng: np.random.Generator
) -> None:
    image = np.asarray(smooth_image(128, 128) // 2 + 60, np.uint8)
    crop = Crop(FACE, image, np.array([[2.0, 0, -40], [0, 2, -20]]))  # the frame's (20, 10) to (84, 74)
    face, mask = with_detail(image, 12, rng), np.ones((128, 128), np.float32)
    mask[64:] = 0
    whole, half = face_map(crop, face, mask, 1.0), face_map(crop, face, mask, 0.5)
    expected = drawn_detail(image, face)[:64] * 255 / FULL
    assert np.abs(whole[:64] - expected).max() <= 0.5 and not whole[64:].any()
    assert np.abs(half[:64] - expected / 2).max() <= 0.5 and not face_map(crop, face, mask, 0.0).any()
    frame = np.zeros((100, 120, 3), np.uint8)
    for scale in (1, 2):
        placed = frame_map([whole, half], [crop, crop], (100 * scale, 120 * scale), frame)
        inside = np.zeros(placed.shape, bool)
        inside[9 * scale : 43 * scale, 19 * scale : 85 * scale] = True
        assert placed[inside].max() > 0.8 * whole.max() and not placed[~inside].any()
        assert abs(placed[20 * scale, 40 * scale].astype(int) - whole[20, 40]) < 12  # the larger of the two
    assert not frame_map([], [], (10, 12), frame).any()
