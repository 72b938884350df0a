"""Crops at and beyond the edge of a picture."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from gfpcli.errors import FaceError
from gfpcli.pipeline.align import BORDER_BGR, TEMPLATE_512, cut_crop, warp_area
from gfpcli.types import Face

Make = Callable[[int, int], NDArray[np.uint8]]


@pytest.mark.parametrize("zoom", [0.5, 2.0], ids=["shrinks", "grows"])
def test_a_warp_beside_the_picture_shows_the_border_colour(smooth_image: Make, zoom: float) -> None:
    away = np.array([[zoom, 0, 5000.0], [0, zoom, 0]])
    assert (warp_area(smooth_image(80, 100), away, 64) == BORDER_BGR).all()


@pytest.mark.parametrize("zoom", [0.1, 4.0], ids=["grows", "shrinks"])
def test_a_face_is_cut_at_the_edge_and_refused_beyond_it(smooth_image: Make, zoom: float) -> None:
    image, box = smooth_image(80, 100), np.array([60.0, 10, 130, 90])
    edge = Face(box, TEMPLATE_512 * zoom + (100 - 300 * zoom, 0), 0.9)
    assert (cut_crop(image, edge, 64).image != BORDER_BGR).any()
    with pytest.raises(FaceError, match="landmarks of this face lie outside the photo"):
        cut_crop(image, Face(box, TEMPLATE_512 * zoom + 200, 0.9), 64)
    with pytest.raises(FaceError, match="this face lies outside the photo"):
        cut_crop(image, Face(box + (100, 0, 100, 0), edge.landmarks, 0.9), 64)
