"""Crops at and beyond the edge of a picture."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from gfpcli.errors import FaceError
from gfpcli.options import RestoreOptions
from gfpcli.pipeline.align import BORDER_BGR, TEMPLATE_512, align_faces, choose_faces, cut_crop, to_8_bit, warp_area
from gfpcli.pipeline.steps import Detected
from gfpcli.types import Face, Frame

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


def test_16_bit_levels_are_257_times_8_bit_ones() -> None:
    levels = np.arange(256, dtype=np.uint16).reshape(16, 16, 1).repeat(3, axis=2)
    assert (to_8_bit(levels * 257) == levels).all() and to_8_bit(levels * 257).dtype == np.uint8


def test_faces_smaller_than_asked_for_are_skipped(smooth_image: Make) -> None:
    """The shorter side of the box counts, in pixels of the photo."""
    frame = Frame(0, smooth_image(120, 240), "photo")
    sides = ((60, 70), (40, 90), (39, 90), (90, 39))
    faces = tuple(Face(np.array([30.0, 20, 30 + w, 20 + h]), TEMPLATE_512 * 0.2, 0.9) for w, h in sides)
    for least, n_kept in ((0, 4), (39, 4), (40, 2), (61, 0)):
        options = RestoreOptions(min_face=least)
        assert [id(face) for face in choose_faces(faces, frame, options)] == [id(face) for face in faces[:n_kept]]
        statuses = [outcome.status for outcome in align_faces(Detected(frame, faces), 64, options).outcomes]
        assert statuses == ["restored"] * n_kept + ["skipped"] * (4 - n_kept)


@pytest.mark.parametrize(("faces", "kept"), [("largest", [2]), ("2", [1, 2]), ("7", [0, 1, 2]), ("center", [1])])
def test_the_faces_asked_for_are_kept_in_their_order(smooth_image: Make, faces: str, kept: list[int]) -> None:
    """The first is small and near a corner, the second in the middle, the third the largest."""
    frame = Frame(0, smooth_image(120, 240), "photo")
    boxes = ([0.0, 0, 40, 40], [95.0, 35, 145, 85], [160.0, 30, 230, 110])
    given = tuple(Face(np.array(box), TEMPLATE_512 * 0.1 + box[:2], 0.9) for box in boxes)
    out = align_faces(Detected(frame, given), 64, RestoreOptions(faces=faces))
    assert [i for i, outcome in enumerate(out.outcomes) if outcome.status == "restored"] == kept
    assert [crop.face for crop in out.crops] == [given[i] for i in kept]
