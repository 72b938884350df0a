"""The stretches of a clip planned ahead, and one of them restored alone, so that several workers share a clip.

A stretch begun alone looks for faces again in the `LOOK_BACK` frames before it, as a run that goes on does: its file is
the one that a run from the clip's start makes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import groupby, islice
from pathlib import Path

from gfpcli.clip.clip import AHEAD, LOOK_BACK, Clip, restore_stretch, steadied_frames
from gfpcli.clip.segments import Part, Recent, numbered, stretches, time_of, undone
from gfpcli.clip.track import look_at
from gfpcli.pipeline.restorer import Restorer
from gfpcli.pipeline.steps import Detected
from gfpcli.stream import prefetch
from gfpcli.types import Frame


@dataclass(frozen=True, slots=True)
class Stretch:
    """What a worker must know of a stretch; times are seconds of the source's clock."""

    number: int
    look_back: Fraction  # of the frame from which faces are looked for
    look_back_index: int
    before: Fraction | None  # of the last frame of the stretch before; None for the clip's first
    last: Fraction  # of its last frame
    n_frames: int

    def fits(self, part: Part) -> bool:
        """Whether `part` is this stretch."""
        return (part.last, part.n_frames) == (self.last, self.n_frames)


def plan_stretches(clip: Clip, done: Part | None, number: int) -> Generator[Stretch, None, None]:
    """The stretches from `number` on, each as soon as its end is known; only decodes, and compares small pictures.

    Args:
        done: the stretch before, None where the clip begins.

    Raises:
        InputError: the source cannot be read.
    """
    start, index = (done.look_back, done.look_back_index) if done else (clip.begin, 0)
    with closing(prefetch(clip.frames(start), depth=AHEAD)) as frames:
        looks = look_at(numbered(frames, index), _faceless, every=1, n_detect=1)
        recent: Recent = deque(maxlen=LOOK_BACK)
        fresh = undone(looks, done.last, recent) if done else looks
        for at, own in groupby(stretches(fresh, number), key=lambda pair: pair[0]):
            look_back = recent[0] if recent else (clip.begin, 0)
            before = recent[-1][0] if recent else None
            n_frames = 0
            for n_frames, (_, each) in enumerate(own, 1):  # noqa: B007  # the last one counts
                recent.append((time_of(each.frame), each.frame.index))
            yield Stretch(at, *look_back, before, recent[-1][0], n_frames)


def _faceless(frames: Sequence[Frame]) -> list[Detected]:
    """A detector for planning, which needs no faces."""
    return [Detected(frame, ()) for frame in frames]


def restore_alone(clip: Clip, restorer: Restorer, stretch: Stretch, path: Path) -> Part:
    """Restores one stretch into `path`.

    Raises:
        GfpError: as `restore_stretch`.
    """
    part = _restore_from(clip, restorer, stretch, path)
    if stretch.fits(part) or not clip.info.can_seek:
        return part
    # times that the file tells wrongly come out otherwise after a jump: decoded from the start, as the plan was
    return _restore_from(replace(clip, info=replace(clip.info, can_seek=False)), restorer, stretch, path)


def _restore_from(clip: Clip, restorer: Restorer, stretch: Stretch, path: Path) -> Part:
    recent: Recent = deque(maxlen=LOOK_BACK)
    with closing(prefetch(clip.frames(stretch.look_back), depth=AHEAD)) as frames:
        steadied = steadied_frames(numbered(frames, stretch.look_back_index), restorer, clip.options)
        fresh = steadied if stretch.before is None else undone(steadied, stretch.before, recent)
        return restore_stretch(
            clip, restorer, islice(fresh, stretch.n_frames), path, recent, lambda n_frames, n_faces: None
        )
