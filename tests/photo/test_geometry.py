"""Placement against Pillow's own turning."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageOps

from gfpcli.photo.geometry import Placement


@pytest.mark.parametrize("orientation", range(1, 9))
def test_points_and_sizes_turn_as_pillow_turns_pixels(orientation: int) -> None:
    pixels = np.zeros((30, 40), np.uint8)
    pixels[4:7, 10:20] = 255  # 10 wide, 3 high, its centre at (15, 5.5)
    picture = Image.fromarray(pixels)
    picture.getexif()[0x0112] = orientation
    upright = np.asarray(ImageOps.exif_transpose(picture))
    rows, columns = np.nonzero(upright)
    placement = Placement((30, 40), orientation, (upright.shape[0] * 2, upright.shape[1] * 2))
    assert placement.upright == upright.shape and placement.scale == (2, 2)
    assert placement.turn_pixel(15, 5.5) == pytest.approx((columns.mean() * 2 + 1, rows.mean() * 2 + 1))
    size = ((columns.max() - columns.min() + 1) * 2, (rows.max() - rows.min() + 1) * 2)
    assert placement.turn_pixels_size(10, 3) == pytest.approx(size)
