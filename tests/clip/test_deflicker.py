"""Restored faces averaged over consecutive frames."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gfpcli.clip.deflicker import average_face, deflicker
from gfpcli.pipeline.steps import AlignedFaces, FacesRestored
from gfpcli.types import Crop, Failed, Frame
from tests.clip.test_track import BLANK, face_at


def restored(values: Sequence[int]) -> list[FacesRestored | Failed]:
    crop = Crop(face_at(20), np.zeros((32, 32, 3), np.uint8), np.eye(2, 3))
    return [
        FacesRestored(
            AlignedFaces(Frame(i, BLANK, ""), (crop.face,), (), (crop,)), (np.full((32, 32, 3), value, np.uint8),)
        )
        for i, value in enumerate(values)
    ]


def levels(given: list[FacesRestored | Failed], cuts: set[int], smooth: float) -> list[int]:
    return [int(each.faces[0][0, 0, 0]) for each in deflicker(iter(given), cuts, smooth=smooth)]  # type: ignore[union-attr,index]


def test_noise_is_averaged_but_not_movement_nor_over_cuts() -> None:
    flicker = [100, 102] * 8
    calmed = levels(restored(flicker), set(), 0.5)
    assert np.abs(np.diff(calmed[2:-2])).max() <= 1 and levels(restored(flicker), set(), 0) == flicker
    step = [100] * 8 + [160] * 8
    assert levels(restored(step), set(), 1) == step
    small = [100] * 8 + [104] * 8
    assert levels(restored(small), {8}, 1) == small != levels(restored(small), set(), 1)


def test_only_what_agrees_is_averaged() -> None:
    own = np.full((64, 64, 3), 100, np.uint8)
    other = own.copy()
    other[:, :32] = 104
    other[:, 40:] = 200
    out = average_face(own, [other], 1.0)
    assert (out[:, :24] == 102).all() and (out[:, 48:] == 100).all()


def test_fine_detail_is_not_averaged_away() -> None:
    own = np.full((256, 256, 3), 100, np.uint8)
    own[:, ::2] = 106
    shifted = np.roll(own, 1, axis=1)
    assert np.abs(average_face(own, [shifted] * 4, 1.0).astype(int) - own).max() <= 1


def test_a_frame_that_failed_passes_through() -> None:
    given = restored([100, 110, 100])
    given[1] = Failed(given[1].aligned.frame, None)  # type: ignore[union-attr,arg-type]
    out = list(deflicker(iter(given), set(), smooth=1))
    assert out[1] is given[1] and len(out) == 3
