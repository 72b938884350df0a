"""Crops at and beyond the edge of a picture."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from gfpcli.errors import FaceError
from gfpcli.options import RestoreOptions
from gfpcli.pipeline.align import (
    BORDER_BGR,
    TEMPLATE_512,
    align_faces,
    choose_faces,
    cut_crop,
    frame_to_crop_of,
    to_8_bit,
    warp_area,
)
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
        statuses = [outcome.status for outcome in align_faces(Detected(frame, faces), [64], options).outcomes]
        assert statuses == ["restored"] * n_kept + ["skipped"] * (4 - n_kept)


@pytest.mark.parametrize(("faces", "kept"), [("largest", [2]), ("2", [1, 2]), ("7", [0, 1, 2]), ("center", [1])])
def test_the_faces_asked_for_are_kept_in_their_order(smooth_image: Make, faces: str, kept: list[int]) -> None:
    """The first is small and near a corner, the second in the middle, the third the largest."""
    frame = Frame(0, smooth_image(120, 240), "photo")
    boxes = ([0.0, 0, 40, 40], [95.0, 35, 145, 85], [160.0, 30, 230, 110])
    given = tuple(Face(np.array(box), TEMPLATE_512 * 0.1 + box[:2], 0.9) for box in boxes)
    out = align_faces(Detected(frame, given), [64], RestoreOptions(faces=faces))
    assert [i for i, outcome in enumerate(out.outcomes) if outcome.status == "restored"] == kept
    assert [crop.face for crop in out.crops] == [given[i] for i in kept]


@pytest.mark.parametrize("turn", [0, 35])
@pytest.mark.parametrize("centre", [(10, 12), (50, 40), (95, 70)], ids=str)
@pytest.mark.parametrize("zoom", [0.2, 0.6, 0.95, 2.0])
def test_a_warp_of_its_rectangle_is_that_of_the_whole(
    smooth_image: Make, zoom: float, centre: tuple[float, float], turn: float
) -> None:
    """A picture that shrinks is blurred by sigma = 0.45 * sqrt(1 / zoom^2 - 1), its edge repeated."""
    image = smooth_image(80, 100)
    affine = cv2.getRotationMatrix2D(centre, turn, zoom) - np.array([[0, 0, centre[0] - 32], [0, 0, centre[1] - 32]])
    how, source = cv2.INTER_CUBIC, image
    if zoom < 0.9:
        sigma = 0.45 * np.sqrt(1 / zoom**2 - 1)
        how, source = cv2.INTER_LINEAR, cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    whole = cv2.warpAffine(
        source, affine, (64, 64), flags=how, borderMode=cv2.BORDER_CONSTANT, borderValue=BORDER_BGR
    ).astype(int)
    assert np.abs(warp_area(image, affine, 64) - whole).max() <= 2


def test_the_template_is_where_the_network_expects_landmarks() -> None:
    """Pixel centres: (p + 0.5) scales with the crop."""
    for size in (256, 512):
        turned = np.array([[0, -1.0], [1, 0]])
        landmarks = TEMPLATE_512 @ turned.T * 0.3 + (200, 20)
        affine = frame_to_crop_of(landmarks, size)
        found = landmarks @ affine[:, :2].T + affine[:, 2]
        assert np.abs(found - ((TEMPLATE_512 + 0.5) * size / 512 - 0.5)).max() < 0.01
        crop = cut_crop(np.zeros((300, 300, 3), np.uint8), Face(np.array([20.0, 20, 200, 200]), landmarks, 0.9), size)
        assert np.allclose(crop.frame_to_crop, affine)


def test_landmarks_in_one_point_fix_no_alignment() -> None:
    for landmarks in (np.full((5, 2), 30.0), np.full((5, 2), np.nan)):
        with pytest.raises(FaceError, match="^the landmarks of this face fix no alignment$"):
            frame_to_crop_of(landmarks, 64)


@pytest.mark.parametrize("box", [(-40.0, 10, 0, 90), (10.0, -40, 90, 0), (100.0, 10, 150, 90), (10.0, 80, 90, 120)])
def test_a_box_that_only_touches_the_photo_lies_outside(smooth_image: Make, box: tuple[float, ...]) -> None:
    landmarks = TEMPLATE_512 * 0.1 + 10
    with pytest.raises(FaceError, match="^this face lies outside the photo$"):
        cut_crop(smooth_image(80, 100), Face(np.array(box), landmarks, 0.9), 64)
    nearer = np.array(box) + np.sign(40 - np.array(box)).clip(-1, 1) * 0.5
    assert cut_crop(smooth_image(80, 100), Face(nearer, landmarks, 0.9), 64).image.shape == (64, 64, 3)


@pytest.mark.parametrize("aspect", [0.5, 1.0, 2.0])
def test_a_crop_shows_pixels_as_they_are_seen(smooth_image: Make, aspect: float) -> None:
    """The face of a squeezed picture is that of the picture enlarged until its pixels are square."""
    image = smooth_image(160, 200)
    stretch = np.array([max(1, aspect), max(1, 1 / aspect)])
    shown = cv2.resize(image, None, fx=stretch[0], fy=stretch[1], interpolation=cv2.INTER_LINEAR)
    landmarks = TEMPLATE_512 * 0.25 + (20, 20)
    box = np.array([0.0, 0, *shown.shape[1::-1]])
    seen = cut_crop(np.asarray(shown, np.uint8), Face(box, landmarks, 0.9), 64)
    squeezed = Face(box / np.tile(stretch, 2), (landmarks + 0.5) / stretch - 0.5, 0.9)
    crop = cut_crop(image, squeezed, 64, aspect)
    assert np.abs(crop.image.astype(int) - seen.image).mean() < 3


def test_why_a_face_cannot_be_cut_is_told(smooth_image: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = Frame(0, smooth_image(80, 100), "photo")
    face = Face(np.array([10.0, 10, 60, 70]), TEMPLATE_512 * 0.1 + 10, 0.9)
    landmarks, memory = "its landmarks are not those of a face", "there is not enough memory"
    for error, why in (
        (np.linalg.LinAlgError("singular"), landmarks),
        (cv2.error("(-215:Assertion failed) !_src.empty()"), landmarks),
        (cv2.error("(-4:Insufficient memory) Failed to allocate 80000 bytes"), memory),
    ):

        def fail(*_: object, error: Exception = error) -> None:
            raise error

        with monkeypatch.context() as broken:
            broken.setattr("gfpcli.pipeline.align.cut_crop", fail)
            (outcome,) = align_faces(Detected(frame, (face,)), [64], RestoreOptions()).outcomes
        assert (outcome.status, outcome.error) == ("failed", f"this face cannot be cut out: {why}")
