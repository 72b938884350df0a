"""The strength of each face of a clip: decided once for a face that is followed, so that it does not flicker."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gfpcli.clip.deflicker import places_of, rest_of_shot
from gfpcli.clip.track import match_face
from gfpcli.errors import FaceError
from gfpcli.pipeline.guard import Decision, Guard, Look, judged_by
from gfpcli.pipeline.steps import FacesRestored, Share
from gfpcli.stream import windows
from gfpcli.types import Face, Failed

N_LOOKS = 5  # frames that a face is judged by: its first ones


@dataclass(frozen=True, slots=True)
class Held:
    """A face in the last frame, and what was decided on it when it was first seen."""

    box: tuple[float, ...]  # x0, y0, x1, y1, px of the frame
    decision: Decision

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Held:
        """From the fields' values by name. Raises KeyError, TypeError or ValueError where they are others."""
        return cls(tuple(map(float, values["box"])), Decision(**values["decision"]))


def hold_strengths(
    restored: Iterator[FacesRestored | Failed], guard: Guard, cuts: Set[int], held: list[Held]
) -> Iterator[FacesRestored | Failed]:
    """The frames with verdicts on their faces; a face that is followed from frame to frame has the one of its first.

    It is judged by what the network made of it in its first `N_LOOKS` frames together. A cut, and a frame without it,
    end it.

    Args:
        cuts: indices of the frames that start a shot.
        held: the faces of the frame before the first one; gets those of each frame.
    """
    for window, at in windows(restored, N_LOOKS - 1):
        own = window[at]
        if isinstance(own, Failed):
            held.clear()
            yield own
            continue
        before = [] if own.aligned.frame.index in cuts else held[:]
        after = rest_of_shot(window[at:], cuts, is_backward=False)
        decisions = _decisions_on(own, before, after, guard)
        held[:] = [
            Held(tuple(crop.face.box.tolist()), decision)
            for crop, decision in zip(own.aligned.crops, decisions, strict=True)
        ]
        yield judged_by(own, lambda i, _, decisions=decisions: decisions[i])  # type: ignore[misc]


def _decisions_on(
    own: FacesRestored, before: Sequence[Held], after: Sequence[FacesRestored], guard: Guard
) -> list[Decision]:
    """On each face: that of the frame before, or where it is new, or a strength is asked for it, a new one."""
    decisions = []
    for i, place in enumerate(followed([crop.face for crop in own.aligned.crops], [each.box for each in before])):
        share = own.aligned.share_of(i)
        if place is not None and share.strength is None:
            decisions.append(before[place].decision)
        else:
            decisions.append(decision_on(list(_looks_of(own, i, after)), guard, share))
    return decisions


def followed(faces: Sequence[Face], boxes: Sequence[tuple[float, ...]]) -> list[int | None]:
    """Which of the boxes of the frame before each face had; None for a new one."""
    known = [Face(np.array(box), np.zeros((5, 2)), 1.0) for box in boxes]
    matches = [match_face(face, known) for face in faces]
    return [next((i for i, each in enumerate(known) if each is match), None) for match in matches]


def decision_on(looks: Sequence[Look], guard: Guard, share: Share) -> Decision:
    """What is done with a face by its looks; one that the network failed on each time is left alone.

    Without its identity score: the last digits of that depend on which faces the network is given together.
    """
    return replace(guard.decide(looks, share), identity=None) if looks else Decision(0.0)


def _looks_of(own: FacesRestored, i: int, after: Sequence[FacesRestored]) -> Iterator[Look]:
    """The i-th face of `own`, and the same in the consecutive frames `after` while it is found."""
    places = places_of(own.aligned.crops[i].face, [frame.aligned for frame in after])
    for frame, place in zip((own, *after), (i, *places), strict=False):
        made = (frame.made or frame.faces)[place]
        if not isinstance(made, FaceError):
            yield frame.aligned.crops[place], made
