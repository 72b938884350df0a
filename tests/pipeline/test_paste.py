"""Pasting: exact outside the mask, in place at every scale."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from gfpcli.pipeline.align import TEMPLATE_512, cut_crop
from gfpcli.pipeline.paste import (
    crop_to_canvas_of,
    paste_faces,
    resize_background,
    soft_mask,
    soft_masker,
    without_colour,
)
from gfpcli.types import Face

Make = Callable[[int, int], NDArray[np.uint8]]


def face_of(zoom: float) -> Face:
    return Face(np.array([60, 60, 240, 260.0]), TEMPLATE_512 * zoom + 20, 0.99)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_scale_1_leaves_every_pixel_outside_the_mask(smooth_image: Make, dtype: type) -> None:
    image = smooth_image(300, 300).astype(dtype) * (257 if dtype is np.uint16 else 1)
    crop = cut_crop(image, face_of(0.5), 256)
    canvas = resize_background(image, image.shape[:2])
    paste_faces(canvas, [np.zeros_like(crop.image)], [crop], [soft_mask(256)], scale=(1, 1), strengths=[1.0])
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
    paste_faces(canvas, [crop.image], [crop], [soft_mask(512)], scale=(2, 2), strengths=[1.0])
    inside = (canvas != before).any(axis=2)
    assert inside.sum() > 5_000
    assert np.abs(canvas[inside].astype(float) - before[inside]).mean() <= 1.0


def test_strength_0_is_the_canvas_itself(smooth_image: Make) -> None:
    image = smooth_image(300, 300)
    canvas = image.copy()
    crop = cut_crop(image, face_of(0.5), 256)
    paste_faces(canvas, [255 - crop.image], [crop], [soft_mask(256)], scale=(1, 1), strengths=[0.0])
    assert (canvas == image).all()


def test_overlapping_faces_share_and_neither_hides_the_other() -> None:
    image = np.full((300, 400, 3), 100, np.uint8)
    left = cut_crop(image, face_of(0.5), 256)
    right = cut_crop(image, Face(np.array([100, 60, 300, 260.0]), TEMPLATE_512 * 0.5 + (90, 20), 0.9), 256)
    white, black = np.full_like(left.image, 200), np.zeros_like(left.image)
    mask = soft_mask(256)
    both = image.copy()
    paste_faces(both, [white, black], [left, right], [mask, mask], scale=(1, 1), strengths=[1.0] * 2)
    turned = image.copy()
    paste_faces(turned, [black, white], [right, left], [mask, mask], scale=(1, 1), strengths=[1.0] * 2)
    assert np.abs(both.astype(int) - turned).max() <= 1  # the order does not matter
    assert both[160, 120].mean() > 190 and both[160, 270].mean() < 10
    same = image.copy()
    paste_faces(same, [left.image, right.image], [left, right], [mask, mask], scale=(1, 1), strengths=[1.0] * 2)
    assert np.abs(same.astype(int) - image).max() <= 1


@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_where_faces_overlap_their_weights_are_shared_not_added(strength: float) -> None:
    image = np.full((300, 400, 3), 100, np.uint8)
    faces = [face_of(0.5), Face(np.array([100, 60, 300, 260.0]), TEMPLATE_512 * 0.5 + (90, 20), 0.9)]
    crops = [cut_crop(image, face, 256) for face in faces]
    bright, mask = np.full((256, 256, 3), 150, np.uint8), soft_mask(256)
    canvas = image.copy()
    paste_faces(canvas, [bright, bright], crops, [mask, mask], scale=(1, 1), strengths=[strength] * 2)
    assert canvas.max() == 100 + round(50 * strength)  # 200 in the middle where both weights count whole


@pytest.mark.parametrize("level", [0, 1, 128, 255])
def test_a_face_on_16_bit_has_the_whole_range(level: int) -> None:
    image = np.full((300, 300, 3), 1000, np.uint16)
    crop = cut_crop(image, face_of(0.5), 256)
    paste_faces(image, [np.full_like(crop.image, level)], [crop], [soft_mask(256)], scale=(1, 1), strengths=[1.0])
    assert (image[160, 150] == 257 * level).all()


def test_a_face_larger_than_the_network_keeps_its_detail_where_it_was_clean(rng: np.random.Generator) -> None:
    image = rng.integers(0, 200, (900, 900, 3), np.uint8)  # finer than any 256 px crop
    face = Face(np.array([150, 150, 750, 800.0]), TEMPLATE_512 * 1.7, 0.99)
    crop = cut_crop(image, face, 256)
    canvas = image.copy()
    paste_faces(canvas, [crop.image], [crop], [soft_mask(256)], scale=(1, 1), strengths=[1.0])
    assert (canvas == image).all()
    smooth = np.full_like(crop.image, 100)  # the network cleaned everything: what is finer was noise, too
    paste_faces(canvas, [smooth], [crop], [soft_mask(256)], scale=(1, 1), strengths=[1.0])
    assert np.abs(canvas[420:520, 390:470].astype(int) - 100).max() <= 1


@pytest.mark.parametrize("scale", [(1, 1), (2, 2), (2, 1)], ids=str)
@pytest.mark.parametrize("corner", [(-30, 30), (190, 150), (60, -40)], ids=str)
def test_a_face_at_the_edge_is_pasted_as_in_a_larger_picture(
    smooth_image: Make, corner: tuple[int, int], scale: tuple[int, int]
) -> None:
    height, width, border = 240, 260, 200
    image = smooth_image(height, width)
    landmarks = TEMPLATE_512 * 0.4 + corner
    crop = cut_crop(image, Face(np.array([0.0, 0, width, height]), landmarks, 0.9), 256)
    moved = crop.frame_to_crop.copy()
    moved[:, 2] -= moved[:, :2] @ (border, border)
    canvas = resize_background(image, (height * scale[1], width * scale[0]))
    inside = slice(border * scale[1], -border * scale[1]), slice(border * scale[0], -border * scale[0])
    larger = np.full((canvas.shape[0] + 2 * border * scale[1], canvas.shape[1] + 2 * border * scale[0], 3), 9, np.uint8)
    larger[inside] = canvas
    before = canvas.copy()
    paste_faces(canvas, [255 - crop.image], [crop], [soft_mask(256)], scale=scale, strengths=[1.0])
    faces, crops = [255 - crop.image], [replace(crop, frame_to_crop=moved)]
    paste_faces(larger, faces, crops, [soft_mask(256)], scale=scale, strengths=[1.0])
    assert (canvas != before).any(axis=2).mean() > 0.02
    assert np.abs(canvas.astype(int) - larger[inside]).max() <= 1


def test_a_face_beside_the_canvas_changes_nothing(smooth_image: Make) -> None:
    image = smooth_image(300, 300)
    crop = cut_crop(image, face_of(0.5), 256)
    for away in ((900, 0), (-900, 0), (0, 900), (0, -900)):
        moved = crop.frame_to_crop.copy()
        moved[:, 2] += moved[:, :2] @ away
        canvas = image.copy()
        beside = replace(crop, frame_to_crop=moved)
        paste_faces(canvas, [255 - crop.image], [beside], [soft_mask(256)], scale=(1, 1), strengths=[1.0])
        assert (canvas == image).all()


def test_a_face_that_shrinks_is_averaged_not_sampled() -> None:
    """Lines one pixel wide become even grey."""
    image = np.full((200, 200, 3), 127, np.uint8)
    crop = cut_crop(image, Face(np.array([0.0, 0, 200, 200]), TEMPLATE_512 * 0.3 + 20, 0.9), 512)
    lines = np.zeros_like(crop.image)
    lines[:, ::2] = 255
    canvas = image.copy()
    paste_faces(canvas, [lines], [crop], [soft_mask(512)], scale=(1, 1), strengths=[1.0])
    assert np.abs(canvas.astype(int) - 127).max() <= 12


def test_the_oval_lies_on_the_face_and_ends_before_the_border() -> None:
    for size in (128, 512):
        mask = soft_mask(size)
        unit = size / 512
        assert mask.dtype == np.float32 and mask.shape == (size, size) and not mask.flags.writeable
        assert mask[round(285 * unit), round(256 * unit)] == pytest.approx(1, abs=1e-4)
        assert mask[0].max() == mask[:, [0, -1]].max() == 0 and mask[-1].max() < 0.03
        half = [mask[round(y * unit), round(x * unit)] for x, y in ((106, 285), (406, 285), (256, 95), (256, 475))]
        assert np.allclose(half, 0.56, atol=0.1)  # where the oval itself ends
        assert not ((mask > 0) & (mask < 1 / 512)).any()
    assert [each.shape for each in soft_masker([np.zeros((64, 64, 3), np.uint8)] * 2)] == [(64, 64)] * 2


def test_crop_pixels_are_canvas_pixels_by_their_centres(smooth_image: Make) -> None:
    crop = cut_crop(smooth_image(300, 300), face_of(0.5), 256)
    into = cv2.invertAffineTransform(crop.frame_to_crop)
    point = np.array([17.0, 90])
    for scale in ((1.0, 1.0), (3.0, 2.0)):
        expected = (into[:, :2] @ point + into[:, 2] + 0.5) * scale - 0.5
        found = crop_to_canvas_of(crop, scale)
        assert np.allclose(found[:, :2] @ point + found[:, 2], expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_background_keeps_its_depth_and_without_colour_its_luma(dtype: type) -> None:
    image = np.full((4, 6, 3), (10, 200, 90), dtype)
    large = resize_background(image, (8, 3))
    assert large.shape == (8, 3, 3) and large.dtype == dtype and (large == image[0, 0]).all()
    copy = resize_background(image, (4, 6))
    assert (copy == image).all() and copy is not image
    gray = without_colour(image)
    luma = round(0.114 * 10 + 0.587 * 200 + 0.299 * 90)
    assert gray.dtype == dtype and gray.shape == image.shape and (gray == luma).all()


@pytest.mark.parametrize("size", [(1200, 180), (1803, 270), (900, 135), (300, 45)])
def test_a_picture_is_enlarged_as_by_lanczos_to_a_level(size: tuple[int, int], rng: np.random.Generator) -> None:
    """By a whole factor in strips, whose borders do not show."""
    noise = rng.integers(0, 256, (600 if size[0] != 1803 else 601, 90, 3), np.uint8)
    for image in (noise, np.ascontiguousarray(noise[..., 0])):
        want = cv2.resize(image, size[::-1], interpolation=cv2.INTER_LANCZOS4)
        assert int(cv2.absdiff(want, resize_background(image, size)).max()) <= 1
