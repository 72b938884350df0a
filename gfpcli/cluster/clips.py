"""`gfp video --engine ray`: the same run, with the segments of its clips restored by the workers of a cluster.

The driver finds where each segment begins and ends, hands them out, keeps the work folder in order, and finishes each
clip as a local run does. A worker writes its segment under a name of its own into that folder; only facts come back.
"""

from __future__ import annotations

import os
import platform
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import chain
from pathlib import Path
from uuid import uuid4

from gfpcli.clip.batch import ClipRun, OpenClip
from gfpcli.clip.carry import held_before, unfinished_of
from gfpcli.clip.clip import Clip, SegmentProgress, counting, finish_clip
from gfpcli.clip.hold import Held
from gfpcli.clip.parallel import plan_segments, restore_alone
from gfpcli.clip.segments import EncodedSegment, SegmentPlan
from gfpcli.cluster.pool import TaskDied, ray_session, run_on_actors
from gfpcli.cluster.worker import RestorerRecipe, recipe_of
from gfpcli.errors import failure_line
from gfpcli.files.jobs import VideoJob
from gfpcli.pipeline.restorer import Restorer
from gfpcli.stream import deliver
from gfpcli.types import Listener, Outcome
from gfpcli.weights.choose import Parts

N_RESULTS_WAITING = 10_000  # results that may come while a clip is finished


@dataclass(slots=True, eq=False)
class SharedClip:
    """A clip of the run, whose segments several workers restore."""

    job: VideoJob
    opened: OpenClip | None = None
    step: SegmentProgress | None = None  # counts what is restored
    outcome: Outcome | None = None
    n_out: int = 0  # segments that workers have
    is_planned: bool = False  # all its segments were handed out

    @property
    def is_over(self) -> bool:
        """It has an outcome, or all its segments."""
        return self.outcome is not None or self.is_planned and not self.n_out


@dataclass(frozen=True, slots=True)
class SegmentTask:
    """A segment on its way to a worker."""

    place: int  # of its clip among the run's
    clip: Clip
    folder: Path  # of its clip's finished segments
    plan: SegmentPlan
    earlier: tuple[SegmentPlan, ...] = ()  # the segments of its shot before it, as far as none of them is finished
    held: tuple[Held, ...] = ()  # the faces of the frame before those


class ClipWorker:
    """An actor with one restorer, which is loaded when the first segment needs it."""

    def __init__(self, recipe: RestorerRecipe) -> None:
        self.recipe = recipe
        self.restorer: Restorer | None = None
        recipe.prepare_process()

    def work(self, tasks: Sequence[SegmentTask]) -> Iterator[list[tuple[int | None, EncodedSegment | str]]]:
        """Each finished segment, or why there is none; warnings have no place among the tasks."""
        if self.restorer is None:
            lines: list[tuple[int | None, EncodedSegment | str]] = []
            self.restorer = self.recipe.load(lambda line: lines.append((None, line)))
            yield lines
        for place, task in enumerate(tasks):
            yield [(place, restored_by(self.restorer, task))]


def restored_by(restorer: Restorer, task: SegmentTask) -> EncodedSegment | str:
    """The finished segment under a name that no other worker uses, or why there is none."""
    clip = task.clip
    path = task.folder / f"{task.plan.number:06d}-{uuid4().hex}{clip.encoder.suffix}"
    try:
        held = held_before(clip, restorer, task.earlier, task.held, task.folder)
        return restore_alone(clip, restorer, task.plan, path, held)
    except Exception as error:
        with suppress(OSError):
            path.unlink()
        is_there = os.path.lexists(clip.info.path) and path.parent.is_dir()
        return failure_line(clip.info.path, error) + ("" if is_there else f" on {platform.node()}")


@dataclass(slots=True)
class ClipScheduler:
    """The state of one run over a cluster: which segments are out, and which clips are over."""

    run: ClipRun
    listener: Listener
    clips: list[SharedClip] = field(default_factory=list)

    def tasks(self, jobs: Sequence[VideoJob]) -> Iterator[SegmentTask]:
        """The segments that are not done yet, clip after clip, each as soon as its end is found."""
        for place, job in enumerate(jobs):
            self.listener.frames(job.source, 0, 0, 0)
            clip = SharedClip(job)
            self.clips.append(clip)
            with self.run.failing(job) as failed:
                opened = self.run.open(job, self.listener)
                if isinstance(opened, OpenClip):
                    watch = partial(self.listener.frames, job.source)
                    clip.opened, clip.step = opened, counting(opened.clip, opened.workspace.segments, watch)
                    yield from self.tasks_of(place, clip, opened, clip.step)
                else:
                    clip.outcome = opened
                clip.is_planned = True
            clip.outcome = clip.outcome or next(iter(failed), None)

    def tasks_of(self, place: int, clip: SharedClip, opened: OpenClip, step: SegmentProgress) -> Iterator[SegmentTask]:
        """Those of one clip, until it has failed. Raises InputError."""
        parts = opened.workspace.segments
        shot: list[SegmentPlan] = []  # its segments so far
        held = parts[-1].held if parts else ()
        with closing(plan_segments(opened.clip, parts[-1] if parts else None, len(parts))) as segments:
            for segment in segments:
                if segment.is_cut:
                    shot, held = [], ()
                known = opened.workspace.find(segment.number)
                if known and segment.fits(known):  # restored by an earlier run, before some that come earlier
                    step(known.n_frames, known.n_faces)
                else:
                    clip.n_out += 1
                    earlier = unfinished_of(shot, held, opened.workspace)
                    yield SegmentTask(place, opened.clip, opened.workspace.folder, segment, *earlier)
                shot.append(segment)
                if clip.outcome:
                    return

    def take(self, task: SegmentTask, result: EncodedSegment | str | TaskDied) -> None:
        """A segment that is done, or the reason for which its clip has failed."""
        clip = self.clips[task.place]
        clip.n_out -= 1
        with self.run.failing(clip.job) as failed:
            if isinstance(result, EncodedSegment):
                if clip.opened and clip.step:
                    clip.opened.workspace.receive(result, task.plan.number)
                    clip.step(result.n_frames, result.n_faces)
                return
            reason = f"{clip.job.source}: {result.reason}" if isinstance(result, TaskDied) else result
            failed.append(self.run.failed(clip.job, reason))
        clip.outcome = clip.outcome or next(iter(failed), None)

    def close(self, clip: SharedClip | None) -> Outcome | None:
        """The outcome of a clip, which is finished where it has all its segments; None for None."""
        if clip and clip.opened and not clip.outcome:
            with self.run.failing(clip.job) as failed:
                opened = clip.opened
                clip.outcome = self.run.close(opened, finish_clip(opened.clip, opened.workspace, opened.record_output))
            clip.outcome = clip.outcome or failed[0]
        return clip.outcome if clip else None

    def finished(
        self, jobs: Sequence[VideoJob], recipe: RestorerRecipe
    ) -> Generator[SharedClip | None, None, None]:
        """The clips in their order, as they are over; None with each segment, so that others are told meanwhile."""
        waiting = deque(range(len(jobs)))

        def ready() -> Iterator[SharedClip]:
            while waiting and waiting[0] < len(self.clips) and self.clips[waiting[0]].is_over:
                yield self.clips[waiting.popleft()]

        tasks = self.tasks(jobs)
        for first in tasks:  # once: the workers take the rest; no cluster is needed where nothing is to be done
            for task, result in self.results(chain([first], tasks), recipe):
                self.take(task, result)
                yield from ready()
                yield None
        yield from ready()

    def results(
        self, tasks: Iterator[SegmentTask], recipe: RestorerRecipe
    ) -> Iterator[tuple[SegmentTask, EncodedSegment | str | TaskDied]]:
        """What the workers make of the segments. Raises EngineError and GfpError as `restore_clips_on_cluster`."""
        options = self.run.options
        with ray_session(options.address) as session:
            needs = session.needs(options)
            results = run_on_actors(
                session, session.starter(ClipWorker, needs, recipe), tasks,
                n_actors=options.workers or session.n_fitting(needs),
                on_message=cache(self.listener.warn),  # every worker says the same
                on_wait=partial(self.listener.warn, needs.waiting_line()),
            )  # fmt: skip
            with closing(results):
                yield from results


def restore_clips_on_cluster(
    run: ClipRun, jobs: list[VideoJob], parts: Parts, listener: Listener, emit: Callable[[Outcome], None]
) -> None:
    """The `ClipEngine` of a Ray cluster; the next clips begin while the last ones are finished.

    Raises:
        EngineError: there is no cluster, or it cannot hold a worker.
        GfpError: a worker cannot load the restorer.
    """
    scheduler = ClipScheduler(run, listener)

    def emit_known(outcome: Outcome | None) -> None:
        if outcome:
            emit(outcome)

    with closing(scheduler.finished(jobs, recipe_of(run.options, parts))) as clips:
        deliver(clips, scheduler.close, emit_known, depth=N_RESULTS_WAITING)
