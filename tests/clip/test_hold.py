"""One strength for a face that is followed through a clip."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace

import numpy as np

from gfpcli.clip.hold import N_LOOKS, Held, hold_strengths
from gfpcli.pipeline.guard import Decision, Guard, Look
from gfpcli.pipeline.steps import AlignedFaces, FacesRestored, Share
from gfpcli.types import Crop, FaceOutcome, Failed, Frame
from tests.clip.test_track import BLANK, face_at


class CountingGuard(Guard):
    """Strength by how many looks it is given, and which it is."""

    def decide(self, looks: Sequence[Look], share: Share) -> Decision:
        CALLS.append([int(crop.image[0, 0, 0]) for crop, _ in looks])
        return Decision(len(CALLS) / 10, identity=0.5)


CALLS: list[list[int]] = []


def frames(values: Sequence[int], places: Sequence[int] | None = None) -> list[FacesRestored | Failed]:
    made: list[FacesRestored | Failed] = []
    for i, value in enumerate(values):
        face = face_at(places[i] if places else 20)
        crop = Crop(face, np.full((32, 32, 3), value, np.uint8), np.eye(2, 3))
        aligned = AlignedFaces(Frame(i, BLANK, ""), (face,), (FaceOutcome("restored"),), (crop,))
        made.append(FacesRestored(aligned, (np.zeros((32, 32, 3), np.uint8),)))
    return made


def strengths(given: list[FacesRestored | Failed], cuts: set[int], held: list[Held] | None = None) -> list[float]:
    CALLS.clear()
    out = list(hold_strengths(iter(given), CountingGuard(1.0), cuts, [] if held is None else held))
    return [each.verdicts[0].strength for each in out if isinstance(each, FacesRestored)]


def test_a_followed_face_is_judged_once_by_its_first_frames() -> None:
    assert strengths(frames(range(20)), set()) == [0.1] * 20
    assert len(CALLS) == 1 and CALLS[0] == list(range(N_LOOKS))


def test_a_cut_or_a_jump_begins_anew() -> None:
    assert strengths(frames(range(12)), {3}) == [0.1] * 3 + [0.2] * 9
    assert CALLS[0] == [0, 1, 2], "no frame of the next shot is looked at"
    assert strengths(frames(range(8), [20] * 4 + [400] * 4), set()) == [0.1] * 4 + [0.2] * 4


def test_what_is_asked_of_a_frame_is_obeyed_and_a_fade_stays_a_fade() -> None:
    given = frames(range(6))
    fades = [1.0, 1.0, 0.5, 0.25, 1.0, 1.0]
    for i, fade in enumerate(fades):
        each = given[i]
        assert isinstance(each, FacesRestored)
        given[i] = replace(each, aligned=replace(each.aligned, shares=(Share(fade=fade),)))
    assert np.allclose(strengths(given, set()), 0.1 * np.array(fades)) and len(CALLS) == 1


def test_a_frame_that_failed_passes_through() -> None:
    given = frames(range(3))
    given[1] = Failed(given[1].aligned.frame, None)  # type: ignore[union-attr,arg-type]
    assert strengths(given, set()) == [0.1, 0.2]


def test_what_was_decided_holds_in_the_next_segment_but_not_over_a_cut() -> None:
    held: list[Held] = []
    assert strengths(frames(range(6)), set(), held) == [0.1] * 6
    (face,) = held
    assert face.decision.strength == 0.1 and Held.from_json(json.loads(json.dumps(asdict(face)))) == face
    assert strengths(frames(range(6)), set(), held) == [0.1] * 6 and not CALLS
    assert strengths(frames(range(6)), {0}, held) == [0.1] * 6 and len(CALLS) == 1


def test_a_face_is_judged_by_what_the_network_made_not_by_what_was_blended() -> None:
    given = frames(range(2))
    for i, each in enumerate(given):
        assert isinstance(each, FacesRestored)
        given[i] = replace(each, made=each.faces, faces=(np.full((32, 32, 3), 99, np.uint8),))
    seen: list[int] = []

    class Seeing(Guard):
        def decide(self, looks: Sequence[Look], share: Share) -> Decision:
            seen.extend(int(face[0, 0, 0]) for _, face in looks)
            return Decision(1.0)

    list(hold_strengths(iter(given), Seeing(1.0), set(), []))
    assert seen == [0, 0]
