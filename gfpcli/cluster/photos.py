"""`gfp restore --engine ray`: the same run, with its photos read, restored and encoded by the workers of a cluster.

The driver lists the inputs and holds the lock; it alone writes the ledger, gives outputs their names and tells what
became of them. A worker gets a few jobs at a time, and writes each output under a hidden name into its folder, so that
little comes back.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cache, partial

from gfpcli.cluster.pool import TaskDied, ray_session, run_on_actors
from gfpcli.cluster.worker import RestorerRecipe, recipe_of
from gfpcli.files.jobs import Job
from gfpcli.files.ledger import Entry, Ledger
from gfpcli.files.storage import is_url, store_of
from gfpcli.photo.batch import N_WAITING, Emit, FinishedPhoto, PendingPhoto, PhotoRun, n_bytes_of_result
from gfpcli.photo.report import pictures_for
from gfpcli.pipeline.restorer import Restorer
from gfpcli.stream import deliver, map_ahead
from gfpcli.types import Listener
from gfpcli.weights.choose import Parts

MAX_JOBS, N_CALLS = 32, 8  # jobs in a call: so many, or fewer where a worker would get fewer calls than that
SEND_EVERY_S = 0.2  # for which a worker gathers what is done


@dataclass(frozen=True, slots=True)
class WorkerSetup:
    """What a worker has to know of the run."""

    run: PhotoRun  # with an empty ledger
    recipe: RestorerRecipe
    has_pictures: bool  # a report is wanted


@dataclass(frozen=True, slots=True)
class KnownJob:
    """A job with what the ledger knows of its output."""

    job: Job
    known: tuple[Entry, ...]


class PhotoWorker:
    """An actor with one restorer, which is loaded when the first photo needs it."""

    def __init__(self, setup: WorkerSetup) -> None:
        self.setup = setup
        self.restorer: Restorer | None = None
        draw = pictures_for(setup.recipe.n_inputs) if setup.has_pictures else None
        self.run = replace(setup.run, draw=draw)
        setup.recipe.prepare_process()

    def work(self, tasks: Sequence[KnownJob]) -> Iterator[list[tuple[int | None, PendingPhoto | FinishedPhoto | str]]]:
        """The jobs through the steps of a local run, up to hidden names; warnings have no place among the tasks."""
        places = {str(each.job.source): place for place, each in enumerate(tasks)}
        run = replace(self.run, ledger=Ledger(self.run.root, [entry for each in tasks for entry in each.known]))
        done: list[tuple[int | None, PendingPhoto | FinishedPhoto | str]] = []

        def add(made: PendingPhoto | FinishedPhoto) -> None:
            source = (made if isinstance(made, FinishedPhoto) else made.finished).outcome.source
            done.append((places[source], with_machine(made) if isinstance(made, FinishedPhoto) else made))

        load = partial(self.load, lambda line: done.append((None, line)))
        results = run.results([each.job for each in tasks], load, add)
        sent = time.monotonic()
        encoded = map_ahead(run.encode, results, workers=1, depth=N_WAITING, weigh_item=n_bytes_of_result)
        with closing(encoded):
            for made in encoded:
                add(made)
                if time.monotonic() - sent > SEND_EVERY_S:
                    yield done[:]
                    done.clear()
                    sent = time.monotonic()
        yield done

    def load(self, warn: Callable[[str], None]) -> Restorer:
        """The restorer; the first call reads its files. Raises GfpError, which names this machine."""
        if self.restorer is None:
            self.restorer = self.setup.recipe.load(warn)
        return self.restorer


def with_machine(made: FinishedPhoto) -> FinishedPhoto:
    """An error also names this machine where it does not see the input."""
    outcome = made.outcome
    if not outcome.error or is_url(outcome.source) or os.path.lexists(outcome.source):
        return made
    return replace(made, outcome=replace(outcome, error=f"{outcome.error} on {platform.node()}"))


def restore_photos_on_cluster(run: PhotoRun, jobs: list[Job], parts: Parts, listener: Listener, emit: Emit) -> None:
    """The `PhotoEngine` of a Ray cluster.

    Raises:
        EngineError: there is no cluster, or it cannot hold a worker.
        GfpError: a worker cannot load the restorer.
    """
    alone = replace(run, ledger=Ledger(run.root, ()), draw=None)
    setup = WorkerSetup(alone, recipe_of(run.options, parts, n_inputs=len(jobs)), run.draw is not None)
    with ray_session(run.options.address) as session:
        needs = session.needs(run.options)
        n_workers = min(run.options.workers or session.n_fitting(needs), len(jobs))
        tasks = (KnownJob(job, run.ledger.known_of(job.target)) for job in jobs)
        results = run_on_actors(
            session, session.starter(PhotoWorker, needs, setup), tasks, n_actors=n_workers,
            n_each=min(MAX_JOBS, max(1, len(jobs) // (N_CALLS * n_workers))),
            on_message=cache(listener.warn),  # every worker says the same
            on_wait=partial(listener.warn, needs.waiting_line()),
        )  # fmt: skip
        with closing(results):
            photos = (photo_of(run, *each) for each in results)
            deliver(photos, partial(commit_seen, run), emit, depth=N_WAITING)


def photo_of(
    run: PhotoRun, task: KnownJob, result: PendingPhoto | FinishedPhoto | TaskDied
) -> PendingPhoto | FinishedPhoto:
    """What became of a job."""
    if isinstance(result, TaskDied):
        return run.failed(task.job, f"{task.job.source}: {result.reason}")
    return result


def commit_seen(run: PhotoRun, made: PendingPhoto | FinishedPhoto) -> FinishedPhoto:
    """As `PhotoRun.commit`; an output of another machine that this one does not see has failed."""
    if isinstance(made, FinishedPhoto):
        return made
    with run.failing(made.job) as failed:  # a store that does not answer
        if store_of(made.output.temporary).exists(made.output.temporary):
            return run.commit(made)
        why = "a worker wrote it where this machine does not see it: OUT must be on storage that all machines share"
        return run.failed(made.job, f"{made.job.target}: {why}")
    return failed[0]
