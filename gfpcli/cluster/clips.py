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
from functools import partial
from itertools import chain
from pathlib import Path
from uuid import uuid4

from gfpcli.cli.console import tell
from gfpcli.cli.progress import Begin, Record
from gfpcli.clip.batch import Opened, Run, reason_of
from gfpcli.clip.clip import Clip, SegmentProgress, counting, finish_clip
from gfpcli.clip.parallel import plan_segments, restore_alone
from gfpcli.clip.segments import EncodedSegment, SegmentPlan
from gfpcli.cluster.pool import Died, ray_session, run_on_actors
from gfpcli.cluster.worker import Recipe, recipe_of, tell_once
from gfpcli.files.jobs import VideoJob
from gfpcli.pipeline.restorer import Restorer
from gfpcli.stream import map_ahead
from gfpcli.weights.choose import Parts

WAITING = 10_000  # results that may come while a clip is finished


@dataclass(slots=True, eq=False)
class Spread:
    """A clip of the run. It is over when it has a record, or all its segments."""

    job: VideoJob
    end: Callable[[Record], None]  # shows its record
    opened: Opened | None = None
    step: SegmentProgress | None = None
    record: Record | None = None
    n_out: int = 0  # segments
    is_planned: bool = False

    @property
    def is_over(self) -> bool:
        return self.record is not None or self.is_planned and not self.n_out


@dataclass(frozen=True, slots=True)
class Task:
    """A segment on its way to a worker."""

    place: int  # of its clip among the run's
    clip: Clip
    folder: Path  # of its clip's finished segments
    plan: SegmentPlan


class SegmentWorker:
    """An actor with one restorer."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.restorer: Restorer | None = None
        recipe.settle_in()

    def work(self, tasks: Sequence[Task]) -> Iterator[list[tuple[int | None, EncodedSegment | str]]]:
        """Each finished segment, or why there is none; lines that are to be told have no place."""
        if self.restorer is None:
            lines: list[tuple[int | None, EncodedSegment | str]] = []
            self.restorer = self.recipe.load(lambda line: lines.append((None, line)))
            yield lines
        for place, task in enumerate(tasks):
            yield [(place, restored_by(self.restorer, task))]


def restored_by(restorer: Restorer, task: Task) -> EncodedSegment | str:
    """The finished segment under a name that no other worker uses, or why there is none."""
    clip = task.clip
    path = task.folder / f"{task.plan.number:06d}-{uuid4().hex}{clip.encoder.suffix}"
    try:
        return restore_alone(clip, restorer, task.plan, path)
    except Exception as error:
        with suppress(OSError):
            path.unlink()
        is_there = os.path.lexists(clip.info.path) and path.parent.is_dir()
        return reason_of(clip.info.path, error) + ("" if is_there else f" on {platform.node()}")


@dataclass(slots=True)
class Spreading:
    """The state of one run over a cluster."""

    run: Run
    begin: Begin
    clips: list[Spread] = field(default_factory=list)

    def tasks(self, jobs: Sequence[VideoJob]) -> Iterator[Task]:
        """The segments that are not done yet, clip after clip, each as soon as its end is found."""
        for place, job in enumerate(jobs):
            watch, end = self.begin(job.source)
            own = Spread(job, end)
            self.clips.append(own)
            with self.run.failing(job) as failed:
                opened = self.run.open(job)
                if isinstance(opened, Opened):
                    own.opened, own.step = opened, counting(opened.clip, opened.work.segments, watch)
                    yield from self.tasks_of(place, own, opened, own.step)
                else:
                    own.record = opened
                own.is_planned = True
            own.record = own.record or next(iter(failed), None)

    def tasks_of(self, place: int, own: Spread, opened: Opened, step: SegmentProgress) -> Iterator[Task]:
        """Those of one clip, until it has failed. Raises InputError."""
        done = opened.work.segments
        with closing(plan_segments(opened.clip, done[-1] if done else None, len(done))) as plans:
            for plan in plans:
                known = opened.work.find(plan.number)
                if known and plan.fits(known):  # before its turn
                    step(known.n_frames, known.n_faces)
                    continue
                own.n_out += 1
                yield Task(place, opened.clip, opened.work.folder, plan)
                if own.record:
                    return

    def take(self, task: Task, result: EncodedSegment | str | Died) -> None:
        """A segment that is done, or the reason for which its clip has failed."""
        own = self.clips[task.place]
        own.n_out -= 1
        with self.run.failing(own.job) as failed:
            if isinstance(result, EncodedSegment):
                if own.opened and own.step:
                    own.opened.work.receive(result, task.plan.number)
                    own.step(result.n_frames, result.n_faces)
                return
            reason = f"{own.job.source}: {result.reason}" if isinstance(result, Died) else result
            failed.append(self.run.record(own.job, "failed", reason))
        own.record = own.record or next(iter(failed), None)

    def close(self, own: Spread | None) -> Spread | None:
        """Finishes a clip that has all its segments; nothing to do for one that has its record, or for None."""
        if own and own.opened and not own.record:
            with self.run.failing(own.job) as failed:
                opened = own.opened
                own.record = self.run.close(opened, finish_clip(opened.clip, opened.work, opened.claim))
            own.record = own.record or failed[0]
        return own


def process_on_ray(
    run: Run, jobs: list[VideoJob], parts: Parts, begin: Begin
) -> Generator[tuple[Callable[[Record], None], Record], None, None]:
    """As `Run.process` of each clip, by the workers of a cluster; the next clips begin while the last ones end.

    Raises:
        EngineError: there is no cluster, or it cannot hold a worker.
        GfpError: a worker cannot load the restorer.
    """
    spreading = Spreading(run, begin)
    behind = map_ahead(spreading.close, over(spreading, jobs, recipe_of(run.options, parts)), workers=1, depth=WAITING)
    with closing(behind):
        for own in behind:
            if own and own.record:
                yield own.end, own.record


def over(spreading: Spreading, jobs: Sequence[VideoJob], recipe: Recipe) -> Iterator[Spread | None]:
    """The clips in their order, as they are over; None with each segment, when one finished meanwhile can be told."""
    options = spreading.run.options
    waiting = deque(range(len(jobs)))

    def ready() -> Iterator[Spread]:
        while waiting and waiting[0] < len(spreading.clips) and spreading.clips[waiting[0]].is_over:
            yield spreading.clips[waiting.popleft()]

    tasks = spreading.tasks(jobs)
    for first in tasks:  # once: the workers take the rest; no cluster is needed where nothing is to be done
        with ray_session(options.address) as session:
            needs = session.needs(options)
            results = run_on_actors(
                session, session.starter(SegmentWorker, needs, recipe), chain([first], tasks),
                n_actors=options.workers or session.n_fitting(needs), hear=tell_once(),
                wait=partial(tell, f"no worker is up yet; each takes {needs.told()} of a machine of the cluster"),
            )  # fmt: skip
            with closing(results):
                for task, result in results:
                    spreading.take(task, result)
                    yield from ready()
                    yield None
    yield from ready()
