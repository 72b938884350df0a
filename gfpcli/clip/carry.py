"""What was decided on the faces of a shot, carried to its later segments that several workers restore.

In one run over a clip a segment begins with the strengths that its faces had at the end of the segment before. A worker
that restores a segment alone finds them without restoring what comes before: of each earlier segment of the shot it
must know which faces are followed through to its end, and what is decided on those that are new there. That depends on
no other segment. It is kept in the clip's work folder, so that workers find what others found.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import islice, takewhile
from pathlib import Path
from typing import Any

import numpy as np

from gfpcli.clip.clip import Clip, detected_of, track_clip
from gfpcli.clip.codes import CODE_REACH, average_codes
from gfpcli.clip.deflicker import places_of
from gfpcli.clip.hold import N_LOOKS, Held, decision_on, followed
from gfpcli.clip.segments import ClipWorkspace, ContextFrames, SegmentPlan, time_of, unfinished
from gfpcli.errors import FaceError
from gfpcli.files.atomic import write_bytes
from gfpcli.pipeline.guard import Decision
from gfpcli.pipeline.restorer import Restorer
from gfpcli.pipeline.steps import AlignedFaces, Share
from gfpcli.stream import windows
from gfpcli.types import Face, FaceOutcome, Failed

TRACKS = ".tracks.json"  # in a work folder, behind a segment's number
LOOK_REACH = N_LOOKS - 1 + CODE_REACH  # frames behind the first one of a face that its decision depends on


@dataclass(frozen=True, slots=True)
class TrackEnd:
    """A face of a segment's last frame."""

    box: tuple[float, ...]  # px of the frame
    first: int | None  # which face of the segment's first frame it is; None: it came later
    decision: Decision  # what is decided on it where no segment before knows it


@dataclass(frozen=True, slots=True)
class SegmentTracks:
    """The faces of a segment's first frame (none where that starts a shot), and where those of its last come from."""

    first: tuple[tuple[float, ...], ...]  # boxes
    last: tuple[TrackEnd, ...]

    def after(self, held: Sequence[Held]) -> tuple[Held, ...]:
        """The faces of the segment's last frame, with what was decided, from those of the frame before the segment."""
        faces = [Face(np.array(box), np.zeros((5, 2)), 1.0) for box in self.first]
        known = followed(faces, [each.box for each in held])

        def decision_of(face: TrackEnd) -> Decision:
            place = None if face.first is None else known[face.first]
            return face.decision if place is None else held[place].decision

        return tuple(Held(face.box, decision_of(face)) for face in self.last)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> SegmentTracks:
        """From the fields' values by name. Raises KeyError, TypeError or ValueError where they are others."""
        faces = (
            TrackEnd(tuple(map(float, each["box"])), each["first"], Decision(**each["decision"]))
            for each in values["last"]
        )
        return cls(tuple(tuple(map(float, box)) for box in values["first"]), tuple(faces))


def unfinished_of(
    shot: Sequence[SegmentPlan], held: tuple[Held, ...], workspace: ClipWorkspace
) -> tuple[tuple[SegmentPlan, ...], tuple[Held, ...]]:
    """The last segments of a shot, as far as none is finished, and the faces of the frame before them.

    Args:
        held: the faces of the frame before the shot's first segment.
    """
    for i in reversed(range(len(shot))):
        done = workspace.find(shot[i].number)
        if done and shot[i].fits(done):
            return tuple(shot[i + 1 :]), done.held
    return tuple(shot), held


def held_before(
    clip: Clip, restorer: Restorer, earlier: Sequence[SegmentPlan], held: Sequence[Held], folder: Path
) -> tuple[Held, ...]:
    """The faces of the frame before a segment, with what was decided on them.

    Args:
        earlier: the segments of its shot before it, as far as nobody knows how they end.
        held: the faces of the frame before those.
        folder: of the clip's segments.

    Raises:
        GfpError: the source cannot be read, or a network fails.
    """
    if restorer.guard.is_fixed:
        return ()
    # backwards: workers that begin together each look at another segment first, and find the rest
    tracks = [_known_or_found(clip, restorer, plan, folder) for plan in reversed(earlier)]
    known = tuple(held)
    for each in reversed(tracks):
        known = each.after(known)
    return known


def _known_or_found(clip: Clip, restorer: Restorer, plan: SegmentPlan, folder: Path) -> SegmentTracks:
    path = folder / f"{plan.number:06d}{TRACKS}"
    with suppress(OSError, ValueError, KeyError, TypeError):
        return SegmentTracks.from_json(json.loads(path.read_bytes()))
    found = find_tracks(clip, restorer, plan)
    write_bytes(path, json.dumps(asdict(found)).encode())
    return found


@dataclass(frozen=True, slots=True, eq=False)
class _Track:
    """A face that is followed from frame to frame."""

    box: tuple[float, ...]  # in the last frame
    first: int | None  # as of `TrackEnd`
    looks: tuple[AlignedFaces, ...]  # its first frames, with this face only


def find_tracks(clip: Clip, restorer: Restorer, plan: SegmentPlan) -> SegmentTracks:
    """Follows the faces of a segment through it, and decides on those that are there at its end. Raises GfpError."""
    first: tuple[tuple[float, ...], ...] = ()
    tracks: list[_Track] = []
    n_frames = 0
    last = plan.last
    for window, at in windows(_frames_of(clip, restorer, plan), LOOK_REACH):
        own, is_cut = window[at]
        is_open = n_frames == 0 and not is_cut
        tracks = _tracks_in(window[at:], tracks, is_open=is_open)
        first = tuple(each.box for each in tracks) if is_open else first
        n_frames, last = n_frames + 1, time_of(own.frame)
    if clip.info.can_seek and (last, n_frames) != (plan.last, plan.n_frames):  # as in `restore_alone`
        return find_tracks(replace(clip, info=replace(clip.info, can_seek=False)), restorer, plan)
    found = (TrackEnd(each.box, each.first, _decide(clip, restorer, each)) for each in tracks)
    return SegmentTracks(first, tuple(found))


def _frames_of(clip: Clip, restorer: Restorer, plan: SegmentPlan) -> Iterator[tuple[AlignedFaces, bool]]:
    """The frames of a segment with their faces cut out but without their pictures, and whether each starts a shot."""
    context: ContextFrames = deque(maxlen=clip.n_context)
    with closing(clip.decode(plan.resume)) as frames:
        tracked = unfinished(track_clip(clip, restorer, frames), plan.resume, context)
        for each in islice(tracked, plan.n_frames):
            aligned = restorer.align(detected_of(each))
            if isinstance(aligned, Failed):
                raise aligned.error
            light = replace(each.frame, image=np.zeros((1, 1, 3), np.uint8), alpha=None)
            yield replace(aligned, frame=light), each.is_cut


def _tracks_in(frames: Sequence[tuple[AlignedFaces, bool]], before: Sequence[_Track], *, is_open: bool) -> list[_Track]:
    """The faces of the first of `frames`.

    Args:
        frames: with those after it.
        before: those of the frame before.
        is_open: it is the first of a segment that goes on with a shot.
    """
    own, is_cut = frames[0]
    faces = [crop.face for crop in own.crops]
    boxes = [tuple(face.box.tolist()) for face in faces]
    places = followed(faces, [] if is_cut else [each.box for each in before])
    return [
        _Track(boxes[i], i if is_open else None, _first_looks(frames, i))
        if place is None
        else replace(before[place], box=boxes[i])
        for i, place in enumerate(places)
    ]


def _first_looks(frames: Sequence[tuple[AlignedFaces, bool]], i: int) -> tuple[AlignedFaces, ...]:
    """The i-th face of the first frame alone, and the same in those after it, up to the end of the shot."""
    shot = [frames[0][0], *(each for each, _ in takewhile(lambda pair: not pair[1], frames[1:]))]
    places = (i, *places_of(shot[0].crops[i].face, shot[1:]))
    return tuple(_with_one(each, place) for each, place in zip(shot, places, strict=False))


def _with_one(aligned: AlignedFaces, i: int) -> AlignedFaces:
    crop = aligned.crops[i]
    return replace(
        aligned, faces=(crop.face,), outcomes=(FaceOutcome("restored"),), crops=(crop,), shares=(aligned.share_of(i),)
    )


def _decide(clip: Clip, restorer: Restorer, track: _Track) -> Decision:
    """As `hold_strengths` decides on a new face."""
    smooth = clip.options.smooth
    codes = partial(average_codes, cuts=frozenset[int](), smooth=smooth) if smooth > 0 else None
    looks = []
    for made in islice(restorer.faces_of(track.looks, codes), N_LOOKS):
        if isinstance(made, Failed):
            raise made.error
        if not isinstance(made.faces[0], FaceError):
            looks.append((made.aligned.crops[0], made.faces[0]))
    return decision_on(looks, restorer.guard, Share())
