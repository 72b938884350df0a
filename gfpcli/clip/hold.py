"""The strength of each face of a clip: decided once for a face that is followed, so that it does not flicker."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass

from gfpcli.clip.deflicker import rest_of_shot
from gfpcli.clip.track import match_face
from gfpcli.errors import FaceError
from gfpcli.pipeline.guard import Decision, Guard, Look, judged_by
from gfpcli.pipeline.steps import FacesRestored, Share
from gfpcli.stream import windows
from gfpcli.types import Face, Failed

N_LOOKS = 5  # frames that a face is judged by: its first ones


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """A face in the frame before, and what was decided on it."""

    face: Face
    share: Share
    decision: Decision


def hold_strengths(
    restored: Iterator[FacesRestored | Failed], guard: Guard, cuts: Set[int]
) -> Iterator[FacesRestored | Failed]:
    """The frames with verdicts on their faces; a face that is followed from frame to frame has the one of its first.

    It is judged by its first `N_LOOKS` frames together. A cut, and a frame without it, end it.

    Args:
        cuts: indices of the frames that start a shot.
    """
    before: list[Held] = []
    for window, at in windows(restored, N_LOOKS - 1):
        own = window[at]
        if isinstance(own, Failed):
            before = []
            yield own
            continue
        before = [] if own.aligned.frame.index in cuts else before
        after = rest_of_shot(window[at:], cuts, is_backward=False)
        now = [_held(own, i, before, after, guard) for i in range(len(own.faces))]
        yield judged_by(own, lambda i, _, now=now: now[i].decision)  # type: ignore[misc]
        before = now


def _held(
    own: FacesRestored, i: int, before: Sequence[Held], after: Sequence[FacesRestored], guard: Guard
) -> Held:
    """The i-th face with the decision on it in the frame before, or where it is new, or asked otherwise, a new one."""
    face, share = own.aligned.crops[i].face, own.aligned.share_of(i)
    match = match_face(face, [each.face for each in before])
    for each in before:
        if each.face is match and each.share.strength == share.strength:
            return Held(face, share, each.decision)
    looks = list(_looks_of(own, i, after))
    return Held(face, share, guard.decide(looks, share) if looks else Decision(0.0))


def _looks_of(own: FacesRestored, i: int, after: Sequence[FacesRestored]) -> Iterator[Look]:
    """The i-th face of `own`, and the same in the consecutive frames `after` while it is found."""
    face = own.aligned.crops[i].face
    for frame in (own, *after):
        match = match_face(face, [crop.face for crop in frame.aligned.crops])
        if match is None:
            return
        at = next(j for j, crop in enumerate(frame.aligned.crops) if crop.face is match)
        made = frame.faces[at]
        if not isinstance(made, FaceError):
            yield frame.aligned.crops[at], made
        face = match
