"""Faces fade out in a dissolve, and in nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from gfpcli.clip.dissolve import MIXTURE_REACH, face_fade, small_grey
from gfpcli.clip.track import FADE_REACH, DetectedFrame, find_dissolves, track_faces
from gfpcli.types import Frame
from tests.clip.test_track import face_at
from tests.clips import talking

Picture = NDArray[np.uint8]


def fades(images: Sequence[Picture], cuts: Sequence[int] = ()) -> list[float]:
    """Of the face of each frame."""
    given = [DetectedFrame(Frame(i, each, ""), (face_at(20),), i in cuts) for i, each in enumerate(images)]
    return [each.fade for each in track_faces(find_dissolves(given), smooth=0.5, every=1)]


def moved(photo: Picture, x: float, y: float, zoom: float = 1) -> Picture:
    affine = np.array([[zoom, 0, x], [0, zoom, y]], np.float64)
    return np.asarray(cv2.warpAffine(photo, affine, (200, 200), borderMode=cv2.BORDER_REPLICATE), np.uint8)


def test_two_pictures_over_each_other_are_left_alone() -> None:
    shot = talking(48)
    other = [np.ascontiguousarray(each[:, ::-1, ::-1]) for each in talking(48)]
    share = np.clip((np.arange(48) - 12) / 24, 0, 1)
    mixed = [
        np.round(one * (1 - a) + two * a).astype(np.uint8) for one, two, a in zip(shot, other, share, strict=True)
    ]
    shown = fades(mixed)
    assert max(shown[21:27]) < 0.05 and shown[:9] == [1] * 9 and shown[-9:] == [1] * 9
    assert max(np.abs(np.diff(shown))) <= 1 / (2 * FADE_REACH + 1) + 1e-9, "it fades"
    assert fades([*shot[:24], *other[24:]], [24]) == [1] * 48


PHOTO = talking(1)[0]
NORMAL: dict[str, Callable[[int], Picture]] = {
    "shake": lambda i: moved(PHOTO, 6 * np.sin(1.7 * i), 5 * np.cos(i)),
    "pan": lambda i: moved(PHOTO, 2 * i, i),
    "zoom": lambda i: moved(PHOTO, -i, -i, 1 + 0.01 * i),
    "fade from black": lambda i: np.round(PHOTO * min(1, i / 20)).astype(np.uint8),
    "light": lambda i: np.round(PHOTO * (0.6 + 0.02 * i)).clip(0, 255).astype(np.uint8),
    "talk": lambda i: talking(30)[i],
}


@pytest.mark.parametrize("name", NORMAL)
def test_movement_and_light_fade_nothing(name: str) -> None:
    assert fades([NORMAL[name](i) for i in range(26)]) == [1] * 26


def test_near_the_end_of_a_shot_nothing_is_known() -> None:
    small = [small_grey(Frame(0, each, "")) for each in talking(5)]
    assert face_fade(small, 1) == face_fade(small, 4) == 1 and MIXTURE_REACH == 8
