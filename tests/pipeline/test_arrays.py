"""Images to batches and back: colour order, range, rounding, depth."""

from __future__ import annotations

import numpy as np
import pytest

from gfpcli.pipeline.arrays import from_batch, from_unit, to_batch, to_unit


def test_faces_go_to_rgb_from_minus_1_to_1_and_back() -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    image[0, 1] = (0, 51, 255)  # BGR
    batch = to_batch([image, image])
    assert batch.shape == (2, 3, 4, 4) and batch.dtype == np.float32
    assert np.allclose(batch[1, :, 0, 1], [1.0, -0.6, -1.0])
    for levels in (image, np.arange(48, dtype=np.uint8).reshape(4, 4, 3) * 5):
        (back,) = from_batch(to_batch([levels]))
        assert (back == levels).all() and back.dtype == np.uint8 and back.flags.c_contiguous


def test_every_level_comes_back() -> None:
    levels = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    assert (from_batch(to_batch([levels]))[0] == levels).all()


def test_they_may_lie_in_memory_as_they_like() -> None:
    levels = np.arange(192, dtype=np.uint8).reshape(8, 8, 3)
    mirrored = to_batch([levels[:, ::-1]])
    assert (mirrored == to_batch([levels])[..., ::-1]).all()
    assert (from_batch(np.ascontiguousarray(mirrored))[0] == levels[:, ::-1]).all()


def test_levels_become_the_same_floats_as_by_arithmetic() -> None:
    levels = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    assert (to_batch([levels])[0] == (levels.astype(np.float32) / np.float32(127.5) - 1).transpose(2, 0, 1)).all()


def test_faces_beyond_the_range_are_cut_and_others_rounded() -> None:
    levels = np.array([-3.0, -1.0, 0.0, 0.0039, 1.0, 3.0], np.float32) * np.ones((1, 3, 1, 1), np.float32)
    before = levels.copy()
    assert from_batch(levels)[0][0, :, 0].tolist() == [0, 0, 128, 128, 255, 255]
    assert (levels == before).all(), "what is given stays as it is"


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_pictures_go_to_rgb_from_0_to_1_and_back(dtype: type) -> None:
    top = np.iinfo(dtype).max
    image = np.array([[[0, top // 5, top], [1, 2, 3]]], dtype)
    unit = to_unit(image)
    assert unit.shape == (1, 3, 1, 2) and np.allclose(unit[0, :, 0, 0], [1.0, 0.2, 0.0])
    back = from_unit(unit[0], np.dtype(dtype))
    assert (back == image).all() and back.dtype == dtype and back.flags.c_contiguous
    cut = from_unit(np.array([-0.5, 0.4 / top, 1.5], np.float32)[:, None, None], np.dtype(dtype))
    assert cut.ravel().tolist() == [top, 0, 0]
