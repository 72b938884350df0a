"""`gfp restore --engine ray`: the same run, with its photos read, restored and encoded by the workers of a cluster.

The driver lists the inputs, holds the lock, and alone writes the ledger, gives outputs their names and tells of them. A
worker gets a few jobs at a time, and puts each output under a hidden name into its folder: what comes back is small.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial

from gfpcli.cli.console import tell
from gfpcli.cluster.pool import Died, ray_session, run_on_actors
from gfpcli.cluster.worker import Recipe, recipe_of, tell_once
from gfpcli.files.jobs import Job
from gfpcli.files.ledger import Entry, Ledger
from gfpcli.files.storage import is_url, store_of
from gfpcli.photo.batch import WAITING, Run, Staged, Told, deliver_all, weight_of_result
from gfpcli.photo.report import pictures_for
from gfpcli.pipeline.restorer import Restorer
from gfpcli.stream import map_ahead
from gfpcli.weights.choose import Parts

MOST_EACH, SHARES = 32, 8  # jobs in a call: so many, or fewer where a worker would get fewer calls than that
TELL_EVERY = 0.2  # seconds in which a worker gathers what is done


@dataclass(frozen=True, slots=True)
class Plan:
    """What a worker has to know of the run."""

    run: Run  # without its ledger's content
    recipe: Recipe
    has_pictures: bool  # a report is wanted


@dataclass(frozen=True, slots=True)
class Sent:
    """A job with what the ledger knows of its output."""

    job: Job
    known: tuple[Entry, ...]


class RestoreWorker:
    """An actor: one restorer, loaded when a photo needs it."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.restorer: Restorer | None = None
        picture = pictures_for(plan.recipe.n_inputs) if plan.has_pictures else None
        self.run = replace(plan.run, picture=picture)
        plan.recipe.settle_in()

    def work(self, sent: Sequence[Sent]) -> Iterator[list[tuple[int | None, Staged | Told | str]]]:
        """The jobs through the very flow of a local run; lines that are to be told have no place."""
        places = {str(each.job.source): place for place, each in enumerate(sent)}
        known = [entry for each in sent for entry in each.known]
        run = replace(self.run, ledger=Ledger(self.run.root, known))
        done: list[tuple[int | None, Staged | Told | str]] = []

        def add(made: Staged | Told) -> None:
            record = made.record if isinstance(made, Told) else made.told.record
            if record["error"] and not is_url(record["input"]) and not os.path.lexists(record["input"]):
                record["error"] += f" on {platform.node()}"
            done.append((places[record["input"]], made))

        load = partial(self.load, lambda line: done.append((None, line)))
        results = run.results([each.job for each in sent], load, add)
        told = time.monotonic()
        with closing(map_ahead(run.encode, results, workers=1, depth=WAITING, weigh_item=weight_of_result)) as behind:
            for made in behind:
                add(made)
                if time.monotonic() - told > TELL_EVERY:
                    yield done[:]
                    done.clear()
                    told = time.monotonic()
        yield done

    def load(self, warn: Callable[[str], None]) -> Restorer:
        """The restorer; the first call reads its files. Raises GfpError, which names this machine."""
        if self.restorer is None:
            self.restorer = self.plan.recipe.load(warn)
        return self.restorer


def process_on_ray(run: Run, jobs: list[Job], parts: Parts, emit: Callable[[Told], None]) -> None:
    """As `Run.process`, by the workers of a cluster.

    Raises:
        EngineError: there is no cluster, or it cannot hold a worker.
        GfpError: a worker cannot load the restorer.
    """
    alone = replace(run, ledger=Ledger(run.root, ()), picture=None)
    plan = Plan(alone, recipe_of(run.options, parts, n_inputs=len(jobs)), run.picture is not None)
    with ray_session(run.options.address) as session:
        needs = session.needs(run.options)
        n_workers = min(run.options.workers or session.n_fitting(needs), len(jobs))
        sent = (Sent(job, run.ledger.known_of(job.target)) for job in jobs)
        results = run_on_actors(
            session, session.starter(RestoreWorker, needs, plan), sent, n_actors=n_workers,
            n_each=min(MOST_EACH, max(1, len(jobs) // (SHARES * n_workers))), hear=tell_once(),
            wait=lambda: tell(f"no worker is up yet; each takes {needs.told()} of a machine of the cluster"),
        )  # fmt: skip
        with closing(results):
            deliver_all((result_of(run, *each) for each in results), partial(commit, run), emit)


def result_of(run: Run, sent: Sent, result: Staged | Told | Died) -> Staged | Told:
    """What became of a job."""
    if isinstance(result, Died):
        return Told(run.record(sent.job, "failed", error=f"{sent.job.source}: {result.reason}"))
    return result


def commit(run: Run, made: Staged | Told) -> Told:
    """As `Run.commit`, for what another machine may have written."""
    if isinstance(made, Told):
        return made
    with run.failing(made.job) as failed:  # a store that does not answer
        if store_of(made.pending.temporary).exists(made.pending.temporary):
            return run.commit(made)
        why = "a worker wrote it where this machine does not see it: OUT must be on storage that all machines share"
        return Told(run.record(made.job, "failed", error=f"{made.job.target}: {why}"))
    return failed[0]
