"""Pasting: exact outside the mask, in place at every scale."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from gfpcli.pipeline.align import TEMPLATE_512, cut_crop
from gfpcli.pipeline.paste import paste_faces, resize_background, soft_mask
from gfpcli.types import Face

Make = Callable[[int, int], NDArray[np.uint8]]


def face_of(zoom: float) -> Face:
    return Face(np.array([60, 60, 240, 260.0]), TEMPLATE_512 * zoom + 20, 0.99)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_scale_1_leaves_every_pixel_outside_the_mask(smooth_image: Make, dtype: type) -> None:
    image = smooth_image(300, 300).astype(dtype) * (257 if dtype is np.uint16 else 1)
    crop = cut_crop(image, face_of(0.5), 256)
    canvas = resize_background(image, image.shape[:2])
    paste_faces(canvas, [np.zeros_like(crop.image)], [crop], [soft_mask(256)], scale=(1, 1))
    changed = (canvas != image).any(axis=2)
    assert 5_000 < changed.sum() < 45_000
    assert not changed[:20].any() and not changed[:, :30].any() and not changed[285:].any()


def test_identity_at_scale_2_is_within_a_grey_level() -> None:
    from skimage import data

    image = np.ascontiguousarray(data.astronaut()[..., ::-1])
    points = np.array([[199, 109], [244, 107], [223, 137], [204, 153], [241, 151.0]])
    crop = cut_crop(image, Face(np.array([170, 60, 270, 180.0]), points, 1.0), 512)
    canvas = resize_background(image, (1024, 1024))
    before = canvas.copy()
    paste_faces(canvas, [crop.image], [crop], [soft_mask(512)], scale=(2, 2))
    inside = (canvas != before).any(axis=2)
    assert inside.sum() > 5_000
    assert np.abs(canvas[inside].astype(float) - before[inside]).mean() <= 1.0


def test_strength_0_is_the_canvas_itself(smooth_image: Make) -> None:
    image = smooth_image(300, 300)
    canvas = image.copy()
    crop = cut_crop(image, face_of(0.5), 256)
    paste_faces(canvas, [255 - crop.image], [crop], [soft_mask(256)], scale=(1, 1), strength=0)
    assert (canvas == image).all()


def test_overlapping_faces_share_and_neither_hides_the_other() -> None:
    image = np.full((300, 400, 3), 100, np.uint8)
    left = cut_crop(image, face_of(0.5), 256)
    right = cut_crop(image, Face(np.array([100, 60, 300, 260.0]), TEMPLATE_512 * 0.5 + (90, 20), 0.9), 256)
    white, black = np.full_like(left.image, 200), np.zeros_like(left.image)
    mask = soft_mask(256)
    both = image.copy()
    paste_faces(both, [white, black], [left, right], [mask, mask], scale=(1, 1))
    turned = image.copy()
    paste_faces(turned, [black, white], [right, left], [mask, mask], scale=(1, 1))
    assert np.abs(both.astype(int) - turned).max() <= 1  # the order does not matter
    assert both[160, 120].mean() > 190 and both[160, 270].mean() < 10
    same = image.copy()
    paste_faces(same, [left.image, right.image], [left, right], [mask, mask], scale=(1, 1))
    assert np.abs(same.astype(int) - image).max() <= 1


@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_where_faces_overlap_their_weights_are_shared_not_added(strength: float) -> None:
    image = np.full((300, 400, 3), 100, np.uint8)
    faces = [face_of(0.5), Face(np.array([100, 60, 300, 260.0]), TEMPLATE_512 * 0.5 + (90, 20), 0.9)]
    crops = [cut_crop(image, face, 256) for face in faces]
    bright, mask = np.full((256, 256, 3), 150, np.uint8), soft_mask(256)
    canvas = image.copy()
    paste_faces(canvas, [bright, bright], crops, [mask, mask], scale=(1, 1), strength=strength)
    assert canvas.max() == 100 + round(50 * strength)  # 200 in the middle where both weights count whole


@pytest.mark.parametrize("level", [0, 1, 128, 255])
def test_a_face_on_16_bit_has_the_whole_range(level: int) -> None:
    image = np.full((300, 300, 3), 1000, np.uint16)
    crop = cut_crop(image, face_of(0.5), 256)
    paste_faces(image, [np.full_like(crop.image, level)], [crop], [soft_mask(256)], scale=(1, 1))
    assert (image[160, 150] == 257 * level).all()


def test_a_face_larger_than_the_network_keeps_its_detail_where_it_was_clean(rng: np.random.Generator) -> None:
    image = rng.integers(0, 200, (900, 900, 3), np.uint8)  # finer than any 256 px crop
    face = Face(np.array([150, 150, 750, 800.0]), TEMPLATE_512 * 1.7, 0.99)
    crop = cut_crop(image, face, 256)
    canvas = image.copy()
    paste_faces(canvas, [crop.image], [crop], [soft_mask(256)], scale=(1, 1))
    assert (canvas == image).all()
    smooth = np.full_like(crop.image, 100)  # the network cleaned everything: what is finer was noise, too
    paste_faces(canvas, [smooth], [crop], [soft_mask(256)], scale=(1, 1))
    assert np.abs(canvas[420:520, 390:470].astype(int) - 100).max() <= 1
