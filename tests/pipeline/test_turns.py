"""Faces that do not stand upright: drawn as a red bar (the eyes) and a blue one (the mouth)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from gfpcli.options import FaceOptions, RestoreOptions, VideoOptions
from gfpcli.photo.codec import read_frame
from gfpcli.pipeline.align import cut_crop
from gfpcli.pipeline.refine import roll_of
from gfpcli.pipeline.turns import CLOSE_VIEW, TurningDetector
from gfpcli.types import Face, Image
from gfpcli.weights.build import load_detector_for, load_restorer
from gfpcli.weights.cache import BUILTINS
from gfpcli.weights.choose import choose_parts, fingerprint

DATA = Path(__file__).parents[2] / "../shared/data"
SIDE = 96  # px of a drawn face
UPRIGHT = np.array([(28, 28), (68, 28), (48, 46), (33, 68), (63, 68)], np.float64)  # landmarks in it


def picture(turn: int, *, at: tuple[int, int] = (150, 60), size: tuple[int, int] = (240, 400)) -> NDArray[np.uint8]:
    """Gray, (height, width) of `size`, with one face at (x, y), turned clockwise by a multiple of 90 degrees."""
    face = np.full((SIDE, SIDE, 3), 160, np.uint8)
    face[20:36, 20:76] = (0, 0, 255)
    face[60:76, 25:71] = (255, 0, 0)
    image = np.full((*size, 3), 128, np.uint8)
    image[at[1] : at[1] + SIDE, at[0] : at[0] + SIDE] = np.rot90(face, -turn // 90)
    return image


def turned_landmarks(turn: int, at: tuple[int, int] = (150, 60)) -> NDArray[np.float64]:
    """Where the landmarks of `picture` are."""
    angle, middle = np.radians(turn), (SIDE - 1) / 2
    matrix = np.round([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return (UPRIGHT - middle) @ matrix.T + middle + at


@dataclass
class OneFace:
    """Finds the drawn face; where it does not stand upright, with `lying` as score (0: not at all) and false marks."""

    lying: float = 0.0
    honest: bool = False  # finds turned faces with the right landmarks
    seen: list[tuple[int, ...]] = field(default_factory=list)

    def __call__(self, images: Sequence[Image], /) -> list[tuple[Face, ...]]:
        self.seen += [image.shape[:2] for image in images]
        return [self._faces_of(np.asarray(image, np.int64)) for image in images]

    def _faces_of(self, image: NDArray[np.int64]) -> tuple[Face, ...]:
        red, blue = (np.argwhere(image[..., i] - image[..., 2 - i] > 150)[:, ::-1] for i in (2, 0))
        if not len(red) or not len(blue):
            return ()
        eyes, mouth = red.mean(axis=0), blue.mean(axis=0)
        down = (mouth - eyes) / 40  # of one px of the drawing
        matrix = np.array([(down[1], down[0]), (-down[0], down[1])])  # a drawing's (x, y) to the image's
        score = 0.999 if down[1] > abs(down[0]) else self.lying
        middle = eyes + 20 * down
        if score < 0.999 and not self.honest:
            matrix = np.eye(2) * np.hypot(*down)
        half = 48 * np.hypot(*down)
        marks = (UPRIGHT - (47.5, 47.5)) @ matrix.T + middle
        return (Face(np.array([*(middle + 0.5 - half), *(middle + 0.5 + half)]), marks, score),) if score else ()


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
@pytest.mark.parametrize("detector", [OneFace(), OneFace(lying=0.95), OneFace(lying=0.999, honest=True)])
def test_a_face_is_found_and_cut_out_upright_whichever_way_up_it_is(turn: int, detector: OneFace) -> None:
    image = picture(turn)
    (face,) = TurningDetector(detector, 3)([image])[0]
    assert np.abs(face.landmarks - turned_landmarks(turn)).max() < 1.5
    assert np.abs(face.box - (150, 60, 150 + SIDE, 60 + SIDE)).max() < 2
    upright = cut_crop(picture(0), TurningDetector(detector, 3)([picture(0)])[0][0], 128).image
    assert np.abs(cut_crop(image, face, 128).image.astype(int) - upright).mean() < 4


def test_a_picture_with_a_sure_upright_face_costs_one_look_and_one_without_a_face_three_more() -> None:
    detector = OneFace()
    images = [picture(0), np.full((240, 400, 3), 128, np.uint8)]
    assert [len(faces) for faces in TurningDetector(detector, 3)(images)] == [1, 0]
    assert detector.seen == [(240, 400)] * 2 + [(240, 400), (400, 240), (400, 240)]


def test_fewer_turns_find_fewer_faces() -> None:
    found = [[len(TurningDetector(OneFace(), n)([picture(t)])[0]) for t in (90, 180, 270)] for n in (1, 2, 3)]
    assert found == [[0, 1, 0], [1, 1, 0], [1, 1, 1]]


def test_an_unsure_upright_face_stays_as_it_was() -> None:
    @dataclass
    class Unsure(OneFace):
        def __call__(self, images: Sequence[Image], /) -> list[tuple[Face, ...]]:
            faces = super().__call__(images)
            return [tuple(Face(f.box, f.landmarks, 0.9 * f.score) for f in each) for each in faces]

    detector = Unsure()
    (face,) = TurningDetector(detector, 3)([picture(0)])[0]
    assert face.score == 0.9 * 0.999 and detector.seen[1:] == [(CLOSE_VIEW, CLOSE_VIEW)] * 4


def test_a_turned_face_must_score_higher_than_an_upright_one() -> None:
    def weak(images: Sequence[Image]) -> list[tuple[Face, ...]]:
        return [tuple(Face(f.box, f.landmarks, 0.85) for f in each) for each in OneFace()(images)]

    assert len(weak([picture(0)])[0]) == len(TurningDetector(weak, 3)([picture(0)])[0]) == 1
    assert TurningDetector(weak, 3)([picture(180)]) == [()]


def test_sixteen_bit_pictures_are_turned_too() -> None:
    (face,) = TurningDetector(OneFace(), 3)([picture(180).astype(np.uint16) * 257])[0]
    assert np.abs(face.landmarks - turned_landmarks(180)).max() < 1.5


def test_turns_are_asked_for_in_photos_not_in_clips_and_are_in_the_fingerprint() -> None:
    assert (FaceOptions().turns, VideoOptions().turns) == (3, 0)
    options = RestoreOptions(model="compact", detector="builtin", mask="soft", device="cpu", offline=True)
    parts = choose_parts(options, warn=print)
    none = RestoreOptions(model="compact", detector="builtin", mask="soft", device="cpu", offline=True, turns=0)
    assert fingerprint(options, parts) != fingerprint(none, parts)
    assert isinstance(load_restorer(options, parts).detector, TurningDetector)
    clips = VideoOptions(model="compact", detector="builtin", mask="soft", device="cpu", offline=True)
    for each in (none, clips):
        assert not isinstance(load_restorer(each, parts).detector, TurningDetector)


@pytest.mark.skipif(not DATA.is_dir(), reason="the test data of ../shared are not here")
@pytest.mark.parametrize("file", ["detector", "builtin"])
def test_a_photo_upside_down_has_its_eyes_below_its_mouths(file: str) -> None:
    path = BUILTINS["builtin"] if file == "builtin" else DATA / "detector/mobilenet0.25_Final.pth"
    image = read_frame(DATA / "reports/g180.jpg", 0).image
    faces = TurningDetector(load_detector_for(RestoreOptions(), path), 3)([image])[0]
    assert len(faces) == 2 and all(abs(roll_of(face.landmarks)) > 150 for face in faces)
