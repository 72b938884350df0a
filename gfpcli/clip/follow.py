"""Known faces followed from frame to frame, between looks of the detector over whole frames.

The detector looks at the first and the last frame of a shot and at every n-th between. From one look to the next a face
is followed by its landmarks, which are measured again where it was before. One that is lost has the detector look at
once; one that is new at a look is followed back to where it came in.

Which faces a frame has depends only on the frames from two looks before it to the next one (see `KnownFace`), so a
run that starts in the middle of a clip finds the same faces as a run over all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from gfpcli.clip.track import Detect, DetectedFrame, match_face, with_cuts
from gfpcli.types import Face, Failed, Frame

SAME_FACE = 0.2  # of a face's side: landmarks nearer than this are those of one face
DOUBTED = 6  # frames: so long after a face was lost the detector looks for it
UNKNOWN = -1  # in place of the frame of a look: a look that was not due found the face

Follow: TypeAlias = Callable[[Frame, Sequence[Face]], Sequence[Face | None] | Failed]
"""Where faces of a frame shortly before or after are in this one; None for a face that is not found there."""


@dataclass(frozen=True, slots=True, eq=False)
class KnownFace:
    """A face where it is now.

    It is given up at a look that does not find it, unless the look before did: so it is followed past one look at most.
    Where two are on the same face, the one that was found by the later look stays. Both keep a face from depending on
    frames before the last two looks.
    """

    face: Face
    found_at: int  # index of the frame of the last look that was due and found it, or `UNKNOWN`


@dataclass(slots=True)
class LookSpan:
    """The frames from one look up to the next one."""

    frames: list[Frame]
    is_cut: bool  # whether the first one starts a shot
    live: list[KnownFace]  # the faces of the first one
    doubted: int = 0  # up to this place the detector looks at all frames that are searched: a face was lost
    faces: dict[int, list[Face]] = field(default_factory=dict)  # of the frames that were searched, by place

    @property
    def look(self) -> int:
        """Index of the frame of the look that it begins with."""
        return self.frames[0].index


def follow_faces(
    frames: Iterable[Frame], detect: Detect, follow: Follow, *, every: int, look_every: int
) -> Iterator[DetectedFrame]:
    """As `detect_faces`, but the detector looks at every `look_every`-th frame only; others are followed to.

    Up to `look_every` frames wait until the next look.

    Args:
        every: faces are followed to every n-th frame of the clip.

    Raises:
        GfpError: the faces of a frame could not be found.
    """
    span: LookSpan | None = None
    for frame, is_cut, is_last in _with_ends(frames):
        is_look = is_last or frame.index % look_every == 0
        if span is None or is_cut:
            yield from () if span is None else _finished(span)
            span = LookSpan([frame], is_cut, [KnownFace(face, frame.index) for face in _found_in(frame, detect)])
        elif is_look:
            ended = span
            span = _next_span(ended, frame, detect, follow, every)
            yield from _finished(ended)
        else:
            span.frames.append(frame)
    yield from () if span is None else _finished(span)


def _with_ends(frames: Iterable[Frame]) -> Iterator[tuple[Frame, bool, bool]]:
    """Each frame, whether it starts a shot, and whether it is the last one of its shot."""
    before: tuple[Frame, bool] | None = None
    for frame, is_cut in with_cuts(frames):
        if before:
            yield *before, is_cut
        before = frame, is_cut
    if before:
        yield *before, True


def _finished(span: LookSpan) -> Iterator[DetectedFrame]:
    """The frames of a span whose faces are known."""
    span.faces[0] = [each.face for each in span.live]
    for place, frame in enumerate(span.frames):
        faces = span.faces.get(place)
        yield DetectedFrame(frame, None if faces is None else tuple(faces), span.is_cut and place == 0)


def _next_span(span: LookSpan, frame: Frame, detect: Detect, follow: Follow, every: int) -> LookSpan:
    """Finds the faces of a span, of which `frame` is the next look; gives the span that begins there."""
    places = [place for place in range(1, len(span.frames)) if span.frames[place].index % every == 0]
    live = span.live
    for place in places:
        live = _followed(span, live, place, detect, follow)
        span.faces[place] = [each.face for each in live]
    found = [KnownFace(face, frame.index) for face in _found_in(frame, detect)]
    new = [each.face for each in found if not match_face(each.face, [other.face for other in live])]
    _follow_back(span, new, places[::-1], follow)
    sure = [each for each in live if each.found_at == span.look]
    going_on = _seen_again(sure, frame, follow)
    is_lost = any(not match_face(each.face, [other.face for other in (*found, *going_on)]) for each in sure)
    return LookSpan([frame], False, _without_doubles([*found, *going_on]), DOUBTED if is_lost else 0)


def _followed(
    span: LookSpan, live: Sequence[KnownFace], place: int, detect: Detect, follow: Follow
) -> list[KnownFace]:
    """The faces in a frame of a span; the detector looks at it where one is lost, or was shortly before."""
    frame = span.frames[place]
    moved = _seen_again(live, frame, follow)
    if len(moved) < len(live):
        span.doubted = place + DOUBTED
    if place <= span.doubted:
        moved += [KnownFace(face, UNKNOWN) for face in _found_in(frame, detect)]
    return _without_doubles(moved)


def _seen_again(live: Sequence[KnownFace], frame: Frame, follow: Follow) -> list[KnownFace]:
    """Those of the faces that are found in the frame."""
    places = _places_in(frame, [each.face for each in live], follow)
    return [KnownFace(face, each.found_at) for each, face in zip(live, places, strict=True) if face]


def _follow_back(span: LookSpan, new: Sequence[Face], places: Iterable[int], follow: Follow) -> None:
    """Adds faces that a look found first to the frames before it, as far as each is found without a gap."""
    for place in places:
        if not new:
            return
        known = span.faces[place]
        found = [face for face in _places_in(span.frames[place], new, follow) if face]
        new = [face for face in found if not _is_among(face, known)]
        known += new


def _places_in(frame: Frame, faces: Sequence[Face], follow: Follow) -> Sequence[Face | None]:
    found = follow(frame, faces) if faces else ()
    if isinstance(found, Failed):
        raise found.error
    return found


def _found_in(frame: Frame, detect: Detect) -> tuple[Face, ...]:
    """What the detector finds in one frame."""
    (found,) = detect([frame])
    if isinstance(found, Failed):
        raise found.error
    return found.faces


def _without_doubles(faces: Sequence[KnownFace]) -> list[KnownFace]:
    """One for each face: that of the later look, then of the higher score."""
    kept: list[KnownFace] = []
    for each in sorted(faces, key=lambda one: (-one.found_at, -one.face.score)):
        if not _is_among(each.face, [other.face for other in kept]):
            kept.append(each)
    return kept


def _is_among(face: Face, others: Sequence[Face]) -> bool:
    """Whether another face has the same landmarks, or nearly so."""
    limits = [SAME_FACE * max(*(other.box[2:] - other.box[:2]), *(face.box[2:] - face.box[:2])) for other in others]
    off = [float(np.hypot(*(face.landmarks - other.landmarks).T).mean()) for other in others]
    return any(each < limit for each, limit in zip(off, limits, strict=True))
