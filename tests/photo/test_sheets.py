"""Small pictures of before and after."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from gfpcli.photo.sheets import GAP_WIDTH, MAX_HALF, compare_sheet, face_pair, pair_of

Make = Callable[[int, int], NDArray[np.uint8]]


def test_a_sheet_shows_both_whole_at_the_result_s_size(smooth_image: Make) -> None:
    before, after = smooth_image(40, 60), smooth_image(80, 120)
    sheet = compare_sheet((before, None), (after, None))
    assert sheet.shape == (80, 120 + GAP_WIDTH + 120, 3)
    assert (sheet[:, -120:] == after).all()
    assert np.abs(sheet[::2, :120:2].astype(int) - before).mean() < 20


def test_a_sheet_is_capped(smooth_image: Make) -> None:
    large = smooth_image(MAX_HALF + 200, 600)
    assert compare_sheet((large[:50, :10], None), (large, None)).shape[0] == MAX_HALF


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_transparent_pixels_show_white_at_any_depth(dtype: type) -> None:
    top = np.iinfo(dtype).max
    image, alpha = np.zeros((4, 4, 3), dtype), np.zeros((4, 4), dtype)
    alpha[:, :2] = top
    shown, _ = pair_of((image, alpha), (image, None), 100)
    assert shown.dtype == np.uint8 and (shown[:, :2] == 0).all() and (shown[:, 2:] == 255).all()


def test_a_face_pair_shows_the_same_place_in_both_at_any_scale(smooth_image: Make) -> None:
    after = smooth_image(300, 399)
    before = after[1::3, 1::3]
    one, other = face_pair((before, None), (after, None), np.array([50.0, 40, 90, 80]), 500)
    assert one.shape == other.shape == (192, 192, 3)  # (40 + 2 * 12) * 3
    assert (other == after[84:276, 114:306]).all()
    assert np.abs(one.astype(int) - other).mean() < 6


@pytest.mark.parametrize("box", [(-20.0, -20.0, 5.0, 5.0), (95.0, 95.0, 140.0, 140.0), (300.0, 300.0, 310.0, 310.0)])
def test_a_face_at_or_over_the_border_is_shown_as_far_as_it_goes(smooth_image: Make, box: tuple[float, ...]) -> None:
    pair = face_pair((smooth_image(100, 100), None), (smooth_image(200, 200), None), np.array(box), 160)
    assert all(min(picture.shape[:2]) >= 1 for picture in pair)
