"""Faces followed over the frames of a shot: detected in some frames, interpolated in the others, smoothed over time.

The faces of a frame depend only on the frames of a window around it, so a run that starts in the middle of a clip finds
the same faces as a run over all of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from gfpcli.clip.dissolve import MIXTURE_REACH, face_fade, small_grey
from gfpcli.pipeline.steps import Detected
from gfpcli.stream import windows
from gfpcli.types import Face, Failed, Frame

WINDOW_REACH = 8  # frames before and after a frame that its faces depend on, at least
MAX_GAP = 6  # frames that a face may be missing and still be interpolated, at least
MIN_OVERLAP = 0.3  # intersection / union of the boxes of one face in two frames
MIN_SEEN = 0.25  # share of a window's searched frames that must show a face; with less it is a false detection
FADE_REACH = 2  # frames before and after over which the fade of faces is averaged
SMOOTHING_WIDTH = 8.0  # frames: standard deviation of the weights at --smooth 1
OUTLIER = 0.1  # of the eye distance: landmarks this far from the fitted line get half the weight
THUMBNAIL_SIZE = (32, 18)  # px, (width, height) of the small images that cuts are found with
MIN_CUT_CHANGE = 16.0  # grey levels: mean change from the frame before
MIN_CUT_RATIO = 3.0  # change of a cut / change of the frame before it

Detect: TypeAlias = Callable[[Iterable[Frame]], Iterable[Detected | Failed]]
"""Each frame, in order, with its faces in pixels of the frame."""


@dataclass(frozen=True, slots=True, eq=False)
class DetectedFrame:
    """A frame with the faces that the detector found in it."""

    frame: Frame
    faces: tuple[Face, ...] | None  # None: the detector was not asked
    is_cut: bool  # the first frame of a shot
    fade: float = 1.0  # of its faces' strength: less where the shot dissolves into another


@dataclass(frozen=True, slots=True, eq=False)
class TrackedFrame:
    """A frame with the faces to restore."""

    frame: Frame
    faces: tuple[Face, ...]
    is_cut: bool
    paths: tuple[Face, ...]  # the same faces at their smoothed places, by which flicker is measured
    fade: float = 1.0  # 0..1, by which the strength of its faces is multiplied


def window_reach(every: int) -> int:
    """Frames before and after a frame that its faces depend on, where faces are detected in every n-th frame."""
    return max(WINDOW_REACH, every)


def with_cuts(frames: Iterable[Frame]) -> Iterator[tuple[Frame, bool]]:
    """Each frame, and whether it starts a shot: it differs from the frame before much more than that one did."""
    thumbnails: deque[NDArray[np.float32]] = deque(maxlen=3)
    for frame in frames:
        thumbnails.append(_thumbnail_of(frame))
        changes = [float(np.abs(b - a).mean()) for a, b in zip(thumbnails, list(thumbnails)[1:], strict=False)]
        is_large = bool(changes) and changes[-1] > MIN_CUT_CHANGE
        yield frame, is_large and changes[-1] > MIN_CUT_RATIO * max([*changes[:-1], 0.0])


def _thumbnail_of(frame: Frame) -> NDArray[np.float32]:
    """(18, 32, 3) BGR, 0..255 for both depths."""
    small = cv2.resize(frame.image, THUMBNAIL_SIZE, interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32) / np.float32(257 if frame.image.dtype == np.uint16 else 1)


def detect_faces(frames: Iterable[Frame], detect: Detect, *, every: int) -> Iterator[DetectedFrame]:
    """Detects faces in every n-th frame of the clip, and in the first and the last frame of each shot.

    `detect` may draw several frames before it gives the faces of the first: the frames between them wait meanwhile.

    Raises:
        GfpError: the faces of a frame could not be detected.
    """
    waiting: deque[tuple[Frame, bool]] = deque()

    def searched() -> Iterator[Frame]:
        last: tuple[Frame, bool] | None = None
        for frame, is_cut in with_cuts(frames):
            if last and (last[0].index % every == 0 or last[1] or is_cut):
                yield last[0]
            last = frame, is_cut
            waiting.append(last)
        if last:
            yield last[0]

    for found in detect(searched()):
        if isinstance(found, Failed):
            raise found.error
        frame = None
        while frame is not found.frame:
            frame, is_cut = waiting.popleft()
            yield DetectedFrame(frame, found.faces if frame is found.frame else None, is_cut)


def track_faces(detected: Iterable[DetectedFrame], *, smooth: float, every: int) -> Iterator[TrackedFrame]:
    """Each frame with its faces on smoothed paths, which never cross a cut.

    Args:
        smooth: 0..1. At 0 detected faces stay where they are; only frames that were not searched are interpolated.
        every: faces were detected in every n-th frame.
    """
    for window, at in windows(detected, window_reach(every)):
        yield _track_frame(window, at, smooth, max(MAX_GAP, every))


def find_dissolves(detected: Iterable[DetectedFrame]) -> Iterator[DetectedFrame]:
    """Each frame with the fade of its faces, which is less than 1 where its shot dissolves into another."""
    for window, at in windows(((each, small_grey(each.frame)) for each in detected), MIXTURE_REACH):
        frames = [each for each, _ in window]
        first, last = _shot_around(frames, at)
        fade = 1.0
        if any(each.faces for each in frames):
            fade = face_fade([small for _, small in window[first:last]], at - first)
        yield replace(frames[at], fade=fade)


def _shot_around(window: Sequence[DetectedFrame], at: int) -> tuple[int, int]:
    """Where in the window the shot of the frame at `at` begins, and behind its last frame."""
    first = next((i for i in range(at, 0, -1) if window[i].is_cut), 0)
    return first, next((i for i in range(at + 1, len(window)) if window[i].is_cut), len(window))


def _track_frame(window: Sequence[DetectedFrame], at: int, smooth: float, gap: int) -> TrackedFrame:
    """The frame at `at` of its window."""
    own = window[at]
    first, last = _shot_around(window, at)
    shot, here = window[first:last], at - first
    found = own.faces or ()
    if smooth == 0:
        found = tuple(_interpolated(shot, here, (), gap)) if own.faces is None else found
        paths = tuple(_on_path(shot, here, face, 0.5, gap) or face for face in found)
        return TrackedFrame(own.frame, found, own.is_cut, paths)
    candidates = (*found, *_interpolated(shot, here, found, gap))
    faces = tuple(face for each in candidates if (face := _on_path(shot, here, each, smooth, gap)))
    near = [each.fade for each in shot[max(0, here - FADE_REACH) : here + FADE_REACH + 1]]
    return TrackedFrame(own.frame, faces, own.is_cut, faces, sum(near) / len(near))


def _interpolated(shot: Sequence[DetectedFrame], here: int, own: Sequence[Face], gap: int) -> list[Face]:
    """Faces that were detected before and after frame `here` but not in it, between their two places."""
    found: list[Face] = []
    for before in range(here - 1, max(here - gap, 0) - 1, -1):
        for after in range(here + 1, min(before + gap + 1, len(shot))):
            for face in shot[before].faces or ():
                other = match_face(face, shot[after].faces or ())
                if other and match_face(other, shot[before].faces or ()) is face:
                    between = _between(face, other, (here - before) / (after - before))
                    if not match_face(between, (*own, *found)):
                        found.append(between)
    return found


def _between(one: Face, other: Face, share: float) -> Face:
    """`share` (0..1) of the way from one to the other."""
    return Face(
        one.box + share * (other.box - one.box),
        one.landmarks + share * (other.landmarks - one.landmarks),
        min(one.score, other.score),
    )


def match_face(face: Face, others: Sequence[Face]) -> Face | None:
    """The one of `others` whose box overlaps most with that of `face`; None where none overlaps enough."""
    if not others:
        return None
    boxes = np.stack([other.box for other in others])  # (N, 4)
    shared = np.prod(np.maximum(np.minimum(boxes[:, 2:], face.box[2:]) - np.maximum(boxes[:, :2], face.box[:2]), 0), 1)
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) + np.prod(face.box[2:] - face.box[:2])
    overlaps = shared / np.maximum(areas - shared, 1e-6)
    best = int(overlaps.argmax())
    return others[best] if overlaps[best] > MIN_OVERLAP else None


def _on_path(shot: Sequence[DetectedFrame], here: int, face: Face, smooth: float, gap: int) -> Face | None:
    """The face moved onto a line fitted to its places in the window; None for one in too few frames to be a face."""
    places = [(here, face)] if any(face is each for each in shot[here].faces or ()) else []
    places += _follow(face, [(i, shot[i].faces) for i in range(here + 1, len(shot))], gap)
    places += _follow(face, [(i, shot[i].faces) for i in range(here - 1, -1, -1)], gap)
    n_searched = sum(each.faces is not None for each in shot)
    if len(places) < max(2, MIN_SEEN * n_searched):
        return face if n_searched < 3 else None
    near = np.exp(-0.5 * np.square([(i - here) / (SMOOTHING_WIDTH * smooth) for i, _ in places]))  # (P,)
    times = np.array([_time_of(shot[i].frame) - _time_of(shot[here].frame) for i, _ in places])  # (P,)
    values = np.stack([np.concatenate([each.box, each.landmarks.ravel()]) for _, each in places])  # (P, 14)
    eye_distance = float(np.hypot(*(face.landmarks[1] - face.landmarks[0])))
    weights = near
    for _ in range(2):  # outliers weigh less in the second fit
        fitted, residuals = _fit_line(times, values, weights)
        weights = near / (1 + np.square(np.abs(residuals[:, 4:]).mean(axis=1) / max(OUTLIER * eye_distance, 1e-6)))
    return Face(fitted[:4], fitted[4:].reshape(5, 2), face.score)


def _time_of(frame: Frame) -> float:
    """Seconds; the frame's number where it has no time."""
    return float(frame.index if frame.pts is None else frame.pts)


def _follow(face: Face, frames: Iterable[tuple[int, tuple[Face, ...] | None]], gap: int) -> list[tuple[int, Face]]:
    """The same face in the frames that follow, until it is missing in more than `gap` frames."""
    places: list[tuple[int, Face]] = []
    n_missing = 0
    for i, faces in frames:
        n_missing += 1
        other = match_face(face, faces or ())
        if other:
            places.append((i, other))
            face, n_missing = other, 0
        if n_missing > gap:
            break
    return places


def _fit_line(
    times: NDArray[np.float64], values: NDArray[np.float64], weights: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Least-squares lines through (P, V) values at (P,) times, by (P,) weights: (V,) values at 0, (P, V) residuals."""
    total = weights.sum()
    middle = (weights * times).sum() / total
    mean = weights @ values / total
    away = times - middle
    slope = (weights * away) @ values / max(float((weights * away * away).sum()), 1e-12)
    return mean - slope * middle, values - mean - away[:, None] * slope
