"""Pictures of a decoder to BGR and back."""

from __future__ import annotations

import numpy as np
import pytest

from gfpcli.clip.pixels import Color, from_bgr, to_bgr


@pytest.mark.parametrize("matrix", [1, 6, 9])
@pytest.mark.parametrize("span", [1, 2])
def test_colours_do_not_drift(smooth_image: object, matrix: int, span: int) -> None:
    image = smooth_image(64, 96)  # type: ignore[operator]
    color = Color(span, 1, 1, matrix)
    for given, step in ((image, 1), (image.astype(np.uint16) * 257, 257)):
        back = to_bgr(from_bgr(given, "yuv444p10le", color), is_deep=step > 1)
        off = back.astype(float) - given
        assert abs(off.mean()) < 0.3 * step and np.abs(off).mean() < 0.7 * step
