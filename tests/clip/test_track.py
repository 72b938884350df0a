"""Faces detected in some frames, interpolated in the others and smoothed, never across a cut."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import islice

import numpy as np
import pytest
from numpy.typing import NDArray

from gfpcli.clip.track import MAX_GAP, WINDOW_REACH, DetectedFrame, detect_faces, track_faces, with_cuts
from gfpcli.errors import InputError
from gfpcli.pipeline.align import TEMPLATE_512
from gfpcli.pipeline.steps import Detected
from gfpcli.types import Face, Failed, Frame

Make = Callable[[int, int], NDArray[np.uint8]]
BLANK = np.zeros((60, 80, 3), np.uint8)


def face_at(x: float, y: float = 30.0, score: float = 0.9) -> Face:
    return Face(np.array([x, y, x + 40, y + 50]), TEMPLATE_512 * 0.1 + (x - 5, y - 5), score)


def detected(
    places: Sequence[float | None], cuts: Sequence[int] = (), skipped: Sequence[int] = ()
) -> list[DetectedFrame]:
    return [
        DetectedFrame(
            Frame(i, BLANK, str(i), pts=Fraction(i, 25)),
            None if i in skipped else () if x is None else (face_at(x),),
            i in cuts,
        )
        for i, x in enumerate(places)
    ]


def tracked(given: list[DetectedFrame], smooth: float = 0.5, every: int = 1) -> list[list[float]]:
    """The x of each face of each frame."""
    return [[float(face.box[0]) for face in each.faces] for each in track_faces(given, smooth=smooth, every=every)]


def test_jitter_goes_and_movement_stays() -> None:
    rng = np.random.default_rng(0)
    path = 20 + 1.5 * np.arange(60)
    jitter = rng.normal(0, 1, 60)
    found = np.array([xs[0] for xs in tracked(detected(list(path + jitter)))])
    assert np.abs(found - path).mean() < 0.5 * np.abs(jitter).mean()
    assert np.abs(np.array([xs[0] for xs in tracked(detected(list(path)))]) - path).max() < 1e-6
    assert tracked(detected(list(path + jitter)), smooth=0) == [[x] for x in path + jitter]


def test_one_wild_landmark_moves_little() -> None:
    places = [20.0] * 30
    places[15] = 28.0
    assert max(abs(xs[0] - 20) for xs in tracked(detected(places))) < 1.5


def test_uneven_times_do_not_bend_a_straight_path() -> None:
    times = np.cumsum([1, 1, 3, 1, 2, 1, 1, 3, 3, 1, 2, 1, 1, 1, 3, 2, 1, 1])
    given = [
        replace(each, frame=replace(each.frame, pts=Fraction(int(at), 25)))
        for each, at in zip(detected(list(20 + times)), times, strict=True)
    ]
    assert np.allclose([xs[0] for xs in tracked(given)], 20 + times)


def test_no_path_crosses_a_cut() -> None:
    places = [20.0] * 10 + [26.0] * 10
    assert tracked(detected(places, cuts=[10])) == [[pytest.approx(x)] for x in places]
    joined = tracked(detected(places))
    assert joined[9][0] > 20.5 and joined[10][0] < 25.5
    assert tracked(detected([20.0] * 10 + [None] * 10, cuts=[10]))[10:] == [[]] * 10
    assert tracked(detected([20.0] * 10 + [None] + [20.0] * 9, cuts=[10]))[10] == []


def test_short_gaps_are_filled_and_nobody_lingers() -> None:
    gap: list[float | None] = [20.0 + i for i in range(30)]
    gap[12:15] = [None] * 3
    assert [round(xs[0], 6) for xs in tracked(detected(gap))] == [20.0 + i for i in range(30)]
    long: list[float | None] = [20.0] * 10 + [None] * (MAX_GAP + 2) + [20.0] * 10
    assert [len(xs) for xs in tracked(detected(long))] == [1] * 10 + [0] * (MAX_GAP + 2) + [1] * 10
    assert [len(xs) for xs in tracked(detected([20.0] * 10 + [None] * 15))] == [1] * 10 + [0] * 15


def test_a_face_seen_too_seldom_is_a_mistake_unless_there_is_no_more_to_see() -> None:
    blip: list[float | None] = [None] * 20
    blip[10] = 20.0
    assert tracked(detected(blip)) == [[]] * 20
    blip[8] = 20.0
    assert tracked(detected(blip)) == [[]] * 20
    assert tracked(detected([20.0])) == [[20.0]]


def test_frames_in_between_get_their_faces_from_both_sides() -> None:
    places = [20.0 + i for i in range(25)]
    between = tracked(detected(places, skipped=range(1, 24, 2)))
    assert np.allclose([xs[0] for xs in between], places)


def test_two_faces_are_not_mixed_up() -> None:
    both = [DetectedFrame(Frame(i, BLANK, ""), (face_at(10 + i), face_at(150 - i)), False) for i in range(20)]
    for i, each in enumerate(track_faces(both, smooth=0.5, every=1)):
        assert [round(float(face.box[0]), 6) for face in each.faces] == [10 + i, 150 - i]


def test_the_faces_of_a_frame_depend_on_its_window_only() -> None:
    """So a run that goes on in the middle gives the same as one from the start."""
    rng = np.random.default_rng(1)
    places: list[float | None] = list(50 + rng.normal(0, 2, 80))
    for i in (20, 33, 34, 50):
        places[i] = None
    given = detected(places, cuts=[40], skipped=[11, 31, 47])
    whole = tracked(given)
    for start in (25, 35, 44):
        assert tracked(given[start - WINDOW_REACH :])[WINDOW_REACH:] == whole[start:]


def test_cuts_are_seen_and_fades_and_movement_are_not(smooth_image: Make) -> None:
    one, other = (smooth_image(24, 40).repeat(4, axis=0).repeat(4, axis=1) for _ in range(2))
    moving = [np.roll(one, 2 * i, axis=1) for i in range(10)]
    fade = [np.round(one * (1 - i / 20) + other * (i / 20)).astype(np.uint8) for i in range(20)]
    shots = [*moving, *(np.roll(other, 2 * i, axis=0) for i in range(10))]
    deep = [each.astype(np.uint16) * 257 for each in (one, other)]
    for images, want in ((shots, [10]), (fade, []), (deep, [1])):
        marked = with_cuts(Frame(i, image, "") for i, image in enumerate(images))
        assert [frame.index for frame, is_cut in marked if is_cut] == want


@pytest.mark.parametrize("smooth", [0, 0.5])
@pytest.mark.parametrize("every", [5, 12])
def test_frames_that_are_not_searched_get_interpolated_faces(every: int, smooth: float) -> None:
    places = [20.0 + 0.5 * i for i in range(2 * every + 1)]
    given = detected(places, skipped=[i for i in range(len(places)) if i % every])
    assert np.allclose([xs[0] for xs in tracked(given, smooth, every)], places)


def test_without_smoothing_faces_stay_where_they_are_detected() -> None:
    places: list[float | None] = [20.0, 0.0, 23.0, 0.0, 21.0, None, 22.0]
    assert tracked(detected(places, skipped=[1, 3]), 0, 2) == [[20], [21.5], [23], [22], [21], [], [22]]


def test_every_nth_frame_and_both_ends_of_a_shot_are_searched(smooth_image: Make) -> None:
    one, other = smooth_image(40, 60), smooth_image(40, 60)
    frames = [Frame(i, one if i < 6 else other, "") for i in range(12)]
    for n_together in (1, 2, 4):

        def detect(searched: Iterable[Frame], n: int = n_together) -> Iterator[Detected | Failed]:
            source = iter(searched)
            while group := list(islice(source, n)):
                yield from (Detected(frame, (face_at(frame.index),)) for frame in group)

        found = list(detect_faces(frames, detect, every=4))
        assert [each.frame for each in found] == frames
        assert {each.frame.index: each.faces[0].box[0] for each in found if each.faces} == {
            i: i for i in (0, 4, 5, 6, 8, 11)
        }


def test_a_frame_whose_faces_could_not_be_detected_ends_the_clip() -> None:
    failed = Failed(Frame(0, BLANK, ""), InputError("frame 3: damaged"))
    with pytest.raises(InputError, match="frame 3"):
        list(detect_faces([failed.frame], lambda frames: [failed for _ in frames], every=1))
