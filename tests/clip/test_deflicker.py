"""Restored faces averaged over consecutive frames."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from gfpcli.clip.deflicker import average_face, blend_moved, deflicker
from gfpcli.clip.flow import Flow, FlowSearch, flow_between
from gfpcli.pipeline.steps import AlignedFaces, FacesRestored
from gfpcli.types import Crop, Failed, Frame
from tests.clip.test_track import BLANK, face_at
from tests.clips import talking


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


def test_the_face_before_is_moved_and_blended_in() -> None:
    """Noise of a face that moves in its crop goes, and its edges stay where they are."""
    rng = np.random.default_rng(0)
    photo = cv2.resize(talking(1)[0], (128, 128), interpolation=cv2.INTER_AREA)
    frames, clean = [], []
    for i in range(6):
        moved = np.roll(photo, 2 * i, axis=1)
        noisy = np.clip(moved + rng.normal(0, 5, moved.shape), 0, 255).astype(np.uint8)
        crop = Crop(face_at(20), moved, np.eye(2, 3))
        aligned = AlignedFaces(Frame(i, BLANK, ""), (crop.face,), (), (crop,))
        frames.append(FacesRestored(aligned, (noisy,)))
        clean.append(moved)
    out = list(blend_moved(iter(frames), set(), smooth=0.5))
    inside = np.s_[16:-16, 24:-24]

    def coarse_error(face: object, wanted: NDArray[np.uint8]) -> float:
        return float(np.abs(cv2.GaussianBlur(np.float32(face) - wanted, (0, 0), 1.5))[inside].mean())

    last = out[-1]
    assert isinstance(last, FacesRestored) and last.made == frames[-1].faces
    assert coarse_error(last.faces[0], clean[-1]) < 0.8 * coarse_error(frames[-1].faces[0], clean[-1])
    cut = list(blend_moved(iter(frames), {5}, smooth=0.5))[-1]
    assert isinstance(cut, FacesRestored) and np.array_equal(cut.faces[0], frames[-1].faces[0])  # type: ignore[arg-type]


def test_flow_is_searched_once_in_each_direction_at_one_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes most of what smoothing takes."""
    seen: list[tuple[int, ...]] = []

    def watched(one: NDArray[np.uint8], other: NDArray[np.uint8], search: FlowSearch) -> Flow:
        seen.append(one.shape)
        return flow_between(one, other, search)

    monkeypatch.setattr("gfpcli.clip.deflicker.flow_between", watched)
    for size in (96, 256, 512):
        crop = Crop(face_at(20), np.zeros((size, size, 3), np.uint8), np.eye(2, 3))
        frames = [AlignedFaces(Frame(i, BLANK, ""), (crop.face,), (), (crop,)) for i in range(3)]
        assert len(list(blend_moved((FacesRestored(each, (crop.image,)) for each in frames), set(), smooth=0.5))) == 3
        assert seen == [(256, 256)] * 4
        seen.clear()
