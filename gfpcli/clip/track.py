"""Faces across the frames of one shot: found again, filled in, and steadied, from a small window around each frame.

What comes out for a frame depends on the frames of its window only, so that work may begin anywhere in a clip and give
the same faces.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from gfpcli.pipeline.steps import Detected
from gfpcli.stream import batched, windows
from gfpcli.types import Face, Failed, Frame

REACH = 8  # frames looked at before and behind each frame
GAP = 6  # frames a face may be missing and still be filled in
SAME_FACE = 0.3  # least overlap (intersection / union) of a face with itself a few frames later
SEEN = 0.25  # share of the looks around a frame that must show a face, else it is taken for a mistake
SPREAD = 8.0  # frames: width of the smoothing at --smooth 1
STRAY = 0.1  # of the eye distance: a landmark this far off its path counts half
THUMB = (32, 18)  # px, (width, height) of what cuts are told by
CUT_LEVELS = 16.0  # grey levels of mean change that may be a cut
CUT_FACTOR = 3.0  # a cut changes this much more than the frame before did


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """A frame with the faces found in it."""

    frame: Frame
    faces: tuple[Face, ...] | None  # None: not looked at
    is_cut: bool  # the first frame of a shot


@dataclass(frozen=True, slots=True, eq=False)
class Steady:
    """A frame with the faces to restore."""

    frame: Frame
    faces: tuple[Face, ...]
    is_cut: bool
    paths: tuple[Face, ...]  # each face on its smooth path, by which flicker is measured


def thumb_of(frame: Frame) -> NDArray[np.float32]:
    """(h, w, 3) of a frame's colours, in grey levels."""
    small = cv2.resize(frame.image, THUMB, interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32) / np.float32(257 if frame.image.dtype == np.uint16 else 1)


def with_cuts(frames: Iterable[Frame]) -> Iterator[tuple[Frame, bool]]:
    """Each frame and whether a shot begins with it: it differs from the one before much more than that one did."""
    thumbs: deque[NDArray[np.float32]] = deque(maxlen=3)
    for frame in frames:
        thumbs.append(thumb_of(frame))
        steps = [float(np.abs(b - a).mean()) for a, b in zip(thumbs, list(thumbs)[1:], strict=False)]
        yield frame, bool(steps) and steps[-1] > CUT_LEVELS and steps[-1] > CUT_FACTOR * max([*steps[:-1], 0.0])


def look_at(
    frames: Iterable[Frame],
    detect: Callable[[Sequence[Frame]], Iterable[Detected | Failed]],
    *,
    every: int,
    n_detect: int,
) -> Iterator[Look]:
    """Looks for faces in every n-th frame, and in the first and the last of each shot.

    Args:
        detect: gives each of several frames with its faces.
        n_detect: frames that are looked at together.

    Raises:
        GfpError: a frame cannot be looked at.
    """
    marked = _marked(frames, every)
    for group in batched(marked, count=_is_wanted, n_full=n_detect, weigh=lambda each: each[0].image.nbytes):
        found = iter(detect([frame for frame, _, is_wanted in group if is_wanted]))
        for frame, is_cut, is_wanted in group:
            yield Look(frame, _faces_of(next(found)) if is_wanted else None, is_cut)


def _marked(frames: Iterable[Frame], every: int) -> Iterator[tuple[Frame, bool, bool]]:
    """Each frame, whether a shot begins with it, and whether it is looked at."""
    held: tuple[Frame, bool] | None = None
    for frame, is_cut in with_cuts(frames):
        if held:
            yield *held, held[0].index % every == 0 or held[1] or is_cut
        held = frame, is_cut
    if held:
        yield *held, True


def _is_wanted(marked: tuple[Frame, bool, bool]) -> int:
    return int(marked[2])


def _faces_of(detected: Detected | Failed) -> tuple[Face, ...]:
    if isinstance(detected, Failed):
        raise detected.error
    return detected.faces


def steady(looks: Iterable[Look], *, smooth: float) -> Iterator[Steady]:
    """Each frame with its faces on their smoothed paths; no path crosses a cut. `smooth` 0 gives each frame's own."""
    for window, at in windows(looks, REACH):
        yield _steadied(window, at, smooth)


def _steadied(window: Sequence[Look], at: int, smooth: float) -> Steady:
    """The frame at `at` of its window."""
    look = window[at]
    first = next((i for i in range(at, 0, -1) if window[i].is_cut), 0)
    last = next((i for i in range(at + 1, len(window)) if window[i].is_cut), len(window))
    shot, here = window[first:last], at - first
    own = look.faces or ()
    if smooth == 0:
        return Steady(look.frame, own, look.is_cut, tuple(_on_path(shot, here, face, 0.5) or face for face in own))
    faces = [_on_path(shot, here, face, smooth) for face in (*own, *_missed(shot, here, own))]
    kept = tuple(face for face in faces if face)
    return Steady(look.frame, kept, look.is_cut, kept)


def _missed(shot: Sequence[Look], here: int, own: Sequence[Face]) -> list[Face]:
    """Faces seen before and after but not here, between their two places."""
    found: list[Face] = []
    for before in range(here - 1, max(here - GAP, 0) - 1, -1):
        for after in range(here + 1, min(before + GAP + 1, len(shot))):
            for face in shot[before].faces or ():
                other = same_face(face, shot[after].faces or ())
                if other and same_face(other, shot[before].faces or ()) is face:
                    between = _between(face, other, (here - before) / (after - before))
                    if not same_face(between, (*own, *found)):
                        found.append(between)
    return found


def _between(one: Face, other: Face, share: float) -> Face:
    """`share` of the way from one to the other."""
    return Face(
        one.box + share * (other.box - one.box),
        one.landmarks + share * (other.landmarks - one.landmarks),
        min(one.score, other.score),
    )


def same_face(face: Face, others: Sequence[Face]) -> Face | None:
    """The one that overlaps most, where any overlaps enough."""
    if not others:
        return None
    boxes = np.stack([other.box for other in others])
    shared = np.prod(np.maximum(np.minimum(boxes[:, 2:], face.box[2:]) - np.maximum(boxes[:, :2], face.box[:2]), 0), 1)
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) + np.prod(face.box[2:] - face.box[:2])
    overlaps = shared / np.maximum(areas - shared, 1e-6)
    best = int(overlaps.argmax())
    return others[best] if overlaps[best] > SAME_FACE else None


def _on_path(shot: Sequence[Look], here: int, face: Face, smooth: float) -> Face | None:
    """The face moved onto a straight line fitted to its places nearby; None for one seen too seldom to be one."""
    places = [(here, face)] if shot[here].faces and any(face is each for each in shot[here].faces or ()) else []
    places += _followed(face, [(i, shot[i].faces) for i in range(here + 1, len(shot))])
    places += _followed(face, [(i, shot[i].faces) for i in range(here - 1, -1, -1)])
    n_looked = sum(each.faces is not None for each in shot)
    if len(places) < max(2, SEEN * n_looked):
        return face if n_looked < 3 else None
    near = np.exp(-0.5 * np.square([(i - here) / (SPREAD * smooth) for i, _ in places]))
    times = np.array([_time_of(shot[i].frame) - _time_of(shot[here].frame) for i, _ in places])
    values = np.stack([np.concatenate([each.box, each.landmarks.ravel()]) for _, each in places])  # (P, 14)
    eyes = float(np.hypot(*(face.landmarks[1] - face.landmarks[0])))
    weights = near
    for _ in range(2):
        fitted, off = _line_at_0(times, values, weights)
        weights = near / (1 + np.square(np.abs(off[:, 4:]).mean(axis=1) / max(STRAY * eyes, 1e-6)))
    return Face(fitted[:4], fitted[4:].reshape(5, 2), face.score)


def _time_of(frame: Frame) -> float:
    """Seconds; frames where there are none."""
    return float(frame.index if frame.pts is None else frame.pts)


def _followed(face: Face, looks: Iterable[tuple[int, tuple[Face, ...] | None]]) -> list[tuple[int, Face]]:
    """The same face in the looks that follow, until it is missing for longer than a gap."""
    places: list[tuple[int, Face]] = []
    n_missing = 0
    for i, faces in looks:
        n_missing += 1
        other = same_face(face, faces or ())
        if other:
            places.append((i, other))
            face, n_missing = other, 0
        if n_missing > GAP:
            break
    return places


def _line_at_0(
    times: NDArray[np.float64], values: NDArray[np.float64], weights: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weighted straight lines through (P, V) values at (P,) times: the (V,) values at 0, and (P, V) distances."""
    total = weights.sum()
    middle = (weights * times).sum() / total
    mean = weights @ values / total
    away = times - middle
    slope = (weights * away) @ values / max(float((weights * away * away).sum()), 1e-12)
    return mean - slope * middle, values - mean - away[:, None] * slope
