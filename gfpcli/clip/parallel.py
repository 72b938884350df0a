"""The segments of a clip planned ahead, and one of them restored alone, so that several workers share a clip.

A segment that is begun alone tracks faces from the context frames before it, as a run that goes on does: its file is
the one that a run over the whole clip makes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path

from gfpcli.clip.clip import Clip, restore_segment, track_ahead
from gfpcli.clip.hold import Held
from gfpcli.clip.segments import (
    ContextFrames,
    EncodedSegment,
    ResumePoint,
    SegmentPlan,
    split_segments,
    time_of,
    unfinished,
)
from gfpcli.clip.track import DetectedFrame, with_cuts
from gfpcli.pipeline.restorer import Restorer


def plan_segments(clip: Clip, finished: EncodedSegment | None, number: int) -> Generator[SegmentPlan, None, None]:
    """The segments from `number` on, each as soon as its end is known. Only decodes, and compares thumbnails.

    Args:
        finished: the segment before; None where the clip begins.

    Raises:
        InputError: the source cannot be read.
    """
    resume = finished.resume if finished else ResumePoint(clip.begin, 0)
    context: ContextFrames = deque(maxlen=clip.n_context)
    with closing(clip.decode(resume)) as frames:
        cut = (DetectedFrame(frame, None, is_cut) for frame, is_cut in with_cuts(frames))
        for at, segment in split_segments(unfinished(cut, resume, context), number):
            start = ResumePoint(*context[0], after=context[-1][0]) if context else ResumePoint(clip.begin, 0)
            n_frames, is_cut = 0, False
            for n_frames, each in enumerate(segment, 1):
                context.append((time_of(each.frame), each.frame.index))
                is_cut = is_cut or n_frames == 1 and each.is_cut
            yield SegmentPlan(at, start, context[-1][0], n_frames, is_cut)


def restore_alone(
    clip: Clip, restorer: Restorer, plan: SegmentPlan, path: Path, held: Sequence[Held] = ()
) -> EncodedSegment:
    """Restores one segment into `path`. `held` and errors: as of `restore_segment`."""
    segment = _restore_planned(clip, restorer, plan, path, held)
    if plan.fits(segment) or not clip.info.can_seek:
        return segment
    # A file with wrong times gives other frames after a seek: decode from its start, as the plan did
    return _restore_planned(replace(clip, info=replace(clip.info, can_seek=False)), restorer, plan, path, held)


def _restore_planned(
    clip: Clip, restorer: Restorer, plan: SegmentPlan, path: Path, held: Sequence[Held]
) -> EncodedSegment:
    context: ContextFrames = deque(maxlen=clip.n_context)
    with closing(clip.decode(plan.resume)) as frames, closing(track_ahead(clip, restorer, frames)) as tracked:
        segment = islice(unfinished(tracked, plan.resume, context), plan.n_frames)
        return restore_segment(clip, restorer, segment, path, context, lambda n_frames, n_faces: None, held=held)
