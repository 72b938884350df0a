"""Faces followed over frames: steadied, filled in, never over a cut; and what is drawn, calmed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray

from gfpcli.clip.deflicker import calm, settle
from gfpcli.clip.track import GAP, REACH, Look, look_at, steady, with_cuts
from gfpcli.errors import InputError
from gfpcli.pipeline.align import TEMPLATE_512
from gfpcli.pipeline.steps import AlignedFaces, Detected, FacesRestored
from gfpcli.types import Crop, Face, Failed, Frame

Make = Callable[[int, int], NDArray[np.uint8]]
BLANK = np.zeros((60, 80, 3), np.uint8)


def face_at(x: float, y: float = 30.0, score: float = 0.9) -> Face:
    return Face(np.array([x, y, x + 40, y + 50]), TEMPLATE_512 * 0.1 + (x - 5, y - 5), score)


def faceless(frames: Sequence[Frame]) -> list[Detected]:
    return [Detected(frame, ()) for frame in frames]


def looks(places: Sequence[float | None], cuts: Sequence[int] = (), skipped: Sequence[int] = ()) -> list[Look]:
    return [
        Look(
            Frame(i, BLANK, str(i), pts=Fraction(i, 25)),
            None if i in skipped else () if x is None else (face_at(x),),
            i in cuts,
        )
        for i, x in enumerate(places)
    ]


def tracked(given: list[Look], smooth: float = 0.5) -> list[list[float]]:
    """The x of each face of each frame."""
    return [[float(face.box[0]) for face in each.faces] for each in steady(given, smooth=smooth)]


def test_jitter_goes_and_movement_stays() -> None:
    rng = np.random.default_rng(0)
    path = 20 + 1.5 * np.arange(60)
    jitter = rng.normal(0, 1, 60)
    found = np.array([xs[0] for xs in tracked(looks(list(path + jitter)))])
    assert np.abs(found - path).mean() < 0.5 * np.abs(jitter).mean()
    assert np.abs(np.array([xs[0] for xs in tracked(looks(list(path)))]) - path).max() < 1e-6
    assert tracked(looks(list(path + jitter)), smooth=0) == [[x] for x in path + jitter]


def test_one_wild_landmark_moves_little() -> None:
    places = [20.0] * 30
    places[15] = 28.0
    assert max(abs(xs[0] - 20) for xs in tracked(looks(places))) < 1.5


def test_uneven_times_do_not_bend_a_straight_path() -> None:
    times = np.cumsum([1, 1, 3, 1, 2, 1, 1, 3, 3, 1, 2, 1, 1, 1, 3, 2, 1, 1])
    given = [
        replace(look, frame=replace(look.frame, pts=Fraction(int(at), 25)))
        for look, at in zip(looks(list(20 + times)), times, strict=True)
    ]
    assert np.allclose([xs[0] for xs in tracked(given)], 20 + times)


def test_no_path_crosses_a_cut() -> None:
    places = [20.0] * 10 + [26.0] * 10
    assert tracked(looks(places, cuts=[10])) == [[pytest.approx(x)] for x in places]
    joined = tracked(looks(places))
    assert joined[9][0] > 20.5 and joined[10][0] < 25.5
    assert tracked(looks([20.0] * 10 + [None] * 10, cuts=[10]))[10:] == [[]] * 10
    assert tracked(looks([20.0] * 10 + [None] + [20.0] * 9, cuts=[10]))[10] == []


def test_short_gaps_are_filled_and_nobody_lingers() -> None:
    gap: list[float | None] = [20.0 + i for i in range(30)]
    gap[12:15] = [None] * 3
    assert [round(xs[0], 6) for xs in tracked(looks(gap))] == [20.0 + i for i in range(30)]
    long: list[float | None] = [20.0] * 10 + [None] * (GAP + 2) + [20.0] * 10
    assert [len(xs) for xs in tracked(looks(long))] == [1] * 10 + [0] * (GAP + 2) + [1] * 10
    assert [len(xs) for xs in tracked(looks([20.0] * 10 + [None] * 15))] == [1] * 10 + [0] * 15


def test_a_face_seen_too_seldom_is_a_mistake_unless_there_is_no_more_to_see() -> None:
    blip: list[float | None] = [None] * 20
    blip[10] = 20.0
    assert tracked(looks(blip)) == [[]] * 20
    blip[8] = 20.0
    assert tracked(looks(blip)) == [[]] * 20
    assert tracked(looks([20.0])) == [[20.0]]


def test_frames_in_between_get_their_faces_from_both_sides() -> None:
    places = [20.0 + i for i in range(25)]
    between = tracked(looks(places, skipped=range(1, 24, 2)))
    assert np.allclose([xs[0] for xs in between], places)


def test_two_faces_are_not_mixed_up() -> None:
    both = [Look(Frame(i, BLANK, ""), (face_at(10 + i), face_at(150 - i)), False) for i in range(20)]
    for i, each in enumerate(steady(both, smooth=0.5)):
        assert [round(float(face.box[0]), 6) for face in each.faces] == [10 + i, 150 - i]


def test_the_faces_of_a_frame_depend_on_its_window_only() -> None:
    """So a run that goes on in the middle gives the same as one from the start."""
    rng = np.random.default_rng(1)
    places: list[float | None] = list(50 + rng.normal(0, 2, 80))
    for i in (20, 33, 34, 50):
        places[i] = None
    given = looks(places, cuts=[40], skipped=[11, 31, 47])
    whole = tracked(given)
    for start in (25, 35, 44):
        assert tracked(given[start - REACH :])[REACH:] == whole[start:]


def test_cuts_are_seen_and_fades_and_movement_are_not(smooth_image: Make) -> None:
    one, other = (smooth_image(24, 40).repeat(4, axis=0).repeat(4, axis=1) for _ in range(2))
    moving = [np.roll(one, 2 * i, axis=1) for i in range(10)]
    fade = [np.round(one * (1 - i / 20) + other * (i / 20)).astype(np.uint8) for i in range(20)]
    shots = [*moving, *(np.roll(other, 2 * i, axis=0) for i in range(10))]
    deep = [each.astype(np.uint16) * 257 for each in (one, other)]
    for images, want in ((shots, [10]), (fade, []), (deep, [1])):
        marked = with_cuts(Frame(i, image, "") for i, image in enumerate(images))
        assert [frame.index for frame, is_cut in marked if is_cut] == want


def test_looks_at_every_nth_frame_and_at_both_ends_of_a_shot(smooth_image: Make) -> None:
    one, other = smooth_image(40, 60), smooth_image(40, 60)
    frames = [Frame(i, one if i < 6 else other, "") for i in range(12)]
    for n in (1, 3, 8):
        seen = [look.frame.index for look in look_at(frames, faceless, every=4, n_detect=n) if look.faces is not None]
        assert seen == [0, 4, 5, 6, 8, 11]


def test_frames_are_looked_at_together_and_each_gets_its_own_faces() -> None:
    asked: list[list[int]] = []

    def detect(given: Sequence[Frame]) -> list[Detected]:
        asked.append([frame.index for frame in given])
        return [Detected(frame, (face_at(frame.index),)) for frame in given]

    frames = [Frame(i, BLANK, "") for i in range(20)]
    seen = list(look_at(frames, detect, every=2, n_detect=4))
    assert [look.frame for look in seen] == frames and max(map(len, asked)) == 4
    assert [index for group in asked for index in group] == [*range(0, 20, 2), 19]
    assert all((look.faces is None) == (i % 2 == 1 and i < 19) for i, look in enumerate(seen))
    assert all(look.faces[0].box[0] == look.frame.index for look in seen if look.faces)
    error = InputError("frame 3: damaged")
    with pytest.raises(InputError, match="frame 3"):
        list(look_at(frames, lambda given: [Failed(given[0], error)], every=1, n_detect=1))


def drawn(values: Sequence[int]) -> list[FacesRestored | Failed]:
    crop = Crop(face_at(20), np.zeros((32, 32, 3), np.uint8), np.eye(2, 3))
    return [
        FacesRestored(
            AlignedFaces(Frame(i, BLANK, ""), (crop.face,), (), (crop,)), (np.full((32, 32, 3), value, np.uint8),)
        )
        for i, value in enumerate(values)
    ]


def levels(given: list[FacesRestored | Failed], cuts: set[int], smooth: float) -> list[int]:
    return [int(each.faces[0][0, 0, 0]) for each in settle(iter(given), cuts, smooth=smooth)]  # type: ignore[union-attr,index]


def test_noise_is_calmed_but_not_movement_nor_over_cuts() -> None:
    flicker = [100, 102] * 8
    calmed = levels(drawn(flicker), set(), 0.5)
    assert np.abs(np.diff(calmed[2:-2])).max() <= 1 and levels(drawn(flicker), set(), 0) == flicker
    step = [100] * 8 + [160] * 8
    assert levels(drawn(step), set(), 1) == step
    small = [100] * 8 + [104] * 8
    assert levels(drawn(small), {8}, 1) == small != levels(drawn(small), set(), 1)


def test_only_what_agrees_is_averaged() -> None:
    own = np.full((64, 64, 3), 100, np.uint8)
    other = own.copy()
    other[:, :32] = 104
    other[:, 40:] = 200
    out = calm(own, [other], 1.0)
    assert (out[:, :24] == 102).all() and (out[:, 48:] == 100).all()


def test_fine_detail_is_not_averaged_away() -> None:
    own = np.full((256, 256, 3), 100, np.uint8)
    own[:, ::2] = 106
    shifted = np.roll(own, 1, axis=1)
    assert np.abs(calm(own, [shifted] * 4, 1.0).astype(int) - own).max() <= 1


def test_a_frame_that_failed_passes_through() -> None:
    given = drawn([100, 110, 100])
    given[1] = Failed(given[1].aligned.frame, None)  # type: ignore[union-attr,arg-type]
    out = list(settle(iter(given), set(), smooth=1))
    assert out[1] is given[1] and len(out) == 3
