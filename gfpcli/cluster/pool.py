"""A connection to a Ray cluster, and a pool of actors that are given tasks whenever they are free.

The only file that imports Ray (the extra `gfpcli[ray]`). Ray places and starts the actors, carries the calls and
notices actors that died; this file decides which task an actor gets next, and gives tasks of dead actors out again.
"""

from __future__ import annotations

import logging
import os
import socket
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Generic, TypeAlias, TypeVar

from gfpcli.errors import EngineError
from gfpcli.options import PipelineOptions

PORT = 6379  # at which a cluster made by `ray start --head` answers
ANSWER_S = 5.0  # timeout of a connection to it
IN_FLIGHT = 2  # calls that a worker has at once: the next is there when one ends
DEATHS_OF_TASK = 3  # of workers, after which a task is given up
DEATHS_IN_A_ROW = 20  # of workers without a result in between, after which the run is given up
WAIT_LINE_S = 60.0  # between lines while there is no worker
Task = TypeVar("Task")
Actor: TypeAlias = Any
"""Ray's handle of an object with a generator `work(tasks: list[Task])`, which yields lists of (index in `tasks`,
result), one for each task in any order, and of (None, message)."""


@dataclass(frozen=True, slots=True)
class TaskDied:
    """In place of a result: each worker that was given the task died."""

    reason: str


@dataclass(frozen=True, slots=True)
class WorkerNeeds:
    """What a worker reserves of its node."""

    cpus: float = 1.0
    gpus: float = 0.0

    def in_words(self) -> str:
        return f"{self.cpus:g} CPU" + (f" and {self.gpus:g} GPU" if self.gpus else "")

    def waiting_line(self) -> str:
        """What to say while no worker is up."""
        return f"no worker is up yet; each takes {self.in_words()} of a machine of the cluster"


@dataclass(frozen=True, slots=True)
class Session:
    """A connection to a cluster."""

    ray: Any  # the module

    def needs(self, options: PipelineOptions) -> WorkerNeeds:
        """What each worker reserves: GPUs as `--gpus-per-worker` says, where there are any and `--device` allows it."""
        has_gpus = any(room.get("GPU") for room in self.rooms())
        is_wanted = options.device.startswith("cuda") or options.device == "auto" and has_gpus
        return WorkerNeeds(gpus=options.gpus_per_worker if is_wanted else 0.0)

    def rooms(self) -> list[dict[str, float]]:
        """Ray's resources of each node that is alive, in total."""
        return [node["Resources"] for node in self.ray.nodes() if node["Alive"]]

    def n_fitting(self, needs: WorkerNeeds) -> int:
        """How many workers an idle cluster holds. Raises EngineError where it holds none."""
        n_workers = 0
        for room in self.rooms():
            fits = [room.get(kind, 0.0) / each for kind, each in (("CPU", needs.cpus), ("GPU", needs.gpus)) if each]
            n_workers += int(min(fits))
        if not n_workers:
            raise EngineError(f"no node of the Ray cluster has the {needs.in_words()} that a worker needs")
        return n_workers

    def starter(self, kind: type, needs: WorkerNeeds, *given: object) -> Callable[[], Actor]:
        """A function that starts one more actor `kind(*given)`; `given` is sent to the cluster once."""
        made = self.ray.remote(kind).options(num_cpus=needs.cpus, num_gpus=needs.gpus, max_restarts=0)
        kept = [self.ray.put(each) for each in given]
        return lambda: made.remote(*kept)


@contextmanager
def ray_session(address: str) -> Iterator[Session]:
    """Connects to a cluster without output on the terminal; one that is started for the session ends with it.

    Args:
        address: `auto` for the cluster that runs on this machine, HOST or HOST:PORT. Where it is empty: the environment
            variable RAY_ADDRESS, else a cluster of this machine alone is started.

    Raises:
        EngineError: Ray is not installed, or no cluster answers.
    """
    ray = import_ray()
    place = address or os.environ.get("RAY_ADDRESS", "") or "local"
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    if place == "local":
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # else Ray reports each cluster to its makers
        quiet["include_dashboard"] = False
    ray._private.worker._worker_logs_enabled = False  # else a worker's death is printed on stdout even so
    try:
        try:
            ray.init(address=place if place in ("local", "auto") else _answering(place), **quiet)
        except (OSError, RuntimeError, ValueError) as error:
            what = "no Ray cluster runs on this machine" if place == "auto" else f"no Ray cluster answers at {place}"
            raise EngineError(f"{what}: {' '.join(str(error).split())[:200]}") from error
        yield Session(ray)
    finally:
        ray.shutdown()
        ray._private.worker._worker_logs_enabled = True


def import_ray() -> Any:
    """The module. Raises EngineError where it is not installed."""
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise EngineError(f"--engine ray needs Ray: pip install 'gfpcli[ray]' ({error})") from error
    return ray


def _answering(place: str) -> str:
    """HOST:PORT. Raises EngineError where nothing listens there: Ray would try for a minute, with output."""
    if "://" in place:
        raise EngineError(f"--address {place}: give auto, HOST or HOST:PORT, and run gfp on a machine of the cluster")
    host, _, port = place.partition(":")
    try:
        socket.create_connection((host, int(port or PORT)), timeout=ANSWER_S).close()
    except (OSError, ValueError) as error:
        raise EngineError(f"no Ray cluster answers at {host}:{port or PORT} ({error})") from error
    return f"{host}:{port or PORT}"


@dataclass(slots=True, eq=False)
class _TaskTries(Generic[Task]):
    """A task, and how often a worker died on it."""

    task: Task
    n_deaths: int = 0


@dataclass(slots=True, eq=False)
class _WorkerCall(Generic[Task]):
    """A call of `work` with several tasks."""

    stream: Any  # Ray's generator of references to what `work` yields
    left: dict[int, _TaskTries[Task]]  # those without a result yet, by their index in the call


@dataclass(slots=True, eq=False)
class _Worker(Generic[Task]):
    """An actor with its calls, in the order in which it does them."""

    actor: Actor
    start: Any  # a reference that is ready as soon as the actor is up
    is_up: bool = False
    calls: deque[_WorkerCall[Task]] = field(default_factory=deque)

    def awaited(self) -> Any:
        """The reference that is ready when there is news of this worker; None where it has nothing to do."""
        if not self.is_up:
            return self.start
        return self.calls[0].stream if self.calls else None


@dataclass(slots=True, eq=False)
class _Pool(Generic[Task]):
    """The state of one call of `run_on_actors`."""

    ray: Any
    starter: Callable[[], Actor]
    fresh: Iterator[Task]  # tasks that were not given out yet
    n_each: int
    on_message: Callable[[Any], None]
    workers: list[_Worker[Task]] = field(default_factory=list)
    again: deque[_TaskTries[Task]] = field(default_factory=deque)  # tasks of workers that died
    n_deaths: int = 0  # in a row

    def grow(self) -> None:
        """Starts one more worker. It is given tasks once it is up: one that finds no room must not hold any."""
        actor = self.starter()
        self.workers.append(_Worker(actor, actor.__ray_ready__.remote()))

    def hand_out(self) -> bool:
        """Gives tasks to every worker that can take more; says whether any worker has some now."""
        for _ in range(IN_FLIGHT):  # each worker gets one call before any gets two
            for worker in self.workers:
                if worker.is_up and len(worker.calls) < IN_FLIGHT and (tries := self.next_tries()):
                    method = worker.actor.work.options(num_returns="streaming")
                    stream = method.remote([each.task for each in tries])
                    worker.calls.append(_WorkerCall(stream, dict(enumerate(tries))))
        return any(worker.calls for worker in self.workers)

    def next_tries(self) -> list[_TaskTries[Task]]:
        """The tasks of the next call. A task on which a worker died goes alone: others must not be lost with it."""
        if not self.again:
            return [_TaskTries(task) for task in islice(self.fresh, self.n_each)]
        tries = [self.again.popleft()]
        while not tries[0].n_deaths and self.again and not self.again[0].n_deaths and len(tries) < self.n_each:
            tries.append(self.again.popleft())
        return tries

    def is_idle(self) -> bool:
        """Whether every task has its result; draws one more task to know."""
        if self.again or any(worker.calls for worker in self.workers):
            return False
        following = next(self.fresh, None)
        self.again.extend([] if following is None else [_TaskTries(following)])
        return following is None

    def listen(self) -> list[_Worker[Task]]:
        """Waits for news; gives the workers that have some, none after `WAIT_LINE_S` without any."""
        by_reference = {each.awaited(): each for each in self.workers if each.awaited() is not None}
        references = list(by_reference)
        if not self.ray.wait(references, num_returns=1, timeout=WAIT_LINE_S)[0]:
            return []
        ready = self.ray.wait(references, num_returns=len(references), timeout=0)[0]
        return [by_reference[reference] for reference in ready]

    def take(self, worker: _Worker[Task]) -> Iterator[tuple[Task, Any]]:
        """Takes the news of one worker: it is up, it has results, a call has ended, or it has died."""
        try:
            if not worker.is_up:
                self.ray.get(worker.start)
                worker.is_up = True
                return
            call = worker.calls[0]
            try:
                items = self.ray.get(next(call.stream))
            except StopIteration:
                worker.calls.popleft()
                if call.left:
                    raise RuntimeError(f"a worker left out {len(call.left)} tasks") from None
                return
        except self.ray.exceptions.RayTaskError as error:  # `work` raised
            raise (error.cause or error) from None
        except self.ray.exceptions.RayError as error:
            yield from self.replace_worker(worker, error)
            return
        for place, item in items:
            if place is None:
                self.on_message(item)
            else:
                self.n_deaths = 0
                yield call.left.pop(place).task, item

    def replace_worker(self, worker: _Worker[Task], error: Exception) -> Iterator[tuple[Task, TaskDied]]:
        """Starts another worker in place of a dead one; its tasks are given out again, up to `DEATHS_OF_TASK` times."""
        reason = " ".join(str(error).split())
        self.n_deaths += 1
        if getattr(error, "actor_init_failed", False) or self.n_deaths >= DEATHS_IN_A_ROW:
            raise EngineError(f"workers die before they have done anything; the last one: {reason[-300:]}") from error
        with suppress(self.ray.exceptions.RayError, ValueError):
            self.ray.kill(worker.actor)  # it may only be unreachable
        self.workers.remove(worker)
        self.grow()
        for number, call in enumerate(worker.calls):
            for each in call.left.values():
                each.n_deaths += number == 0  # later calls had not begun
                if each.n_deaths >= DEATHS_OF_TASK:
                    yield each.task, TaskDied(f"the worker died each of the {DEATHS_OF_TASK} times it was tried")
                else:
                    self.again.append(each)

    def close(self) -> None:
        """Ends the workers. With the session they have ended already, and Ray would start a cluster to end them."""
        for worker in self.workers if self.ray.is_initialized() else ():
            with suppress(self.ray.exceptions.RayError, ValueError):
                self.ray.kill(worker.actor)


def run_on_actors(
    session: Session, starter: Callable[[], Actor], tasks: Iterable[Task], *, n_actors: int, n_each: int = 1,
    on_message: Callable[[Any], None] = lambda message: None, on_wait: Callable[[], None] = lambda: None,
) -> Generator[tuple[Task, Any | TaskDied], None, None]:  # fmt: skip
    """Gives every task to a worker, and yields it with its result once that is there.

    Tasks are drawn when a worker is free, at most `2 * n_each` for each worker at a time. Where a worker dies another
    is started, and the tasks it had begun are given out again one by one; a task on which three workers died gets
    `TaskDied` as its result. Closing the generator ends the workers.

    Args:
        starter: as `Session.starter` gives it.
        n_actors: workers to start; the work begins with those that find room in the cluster.
        n_each: tasks in a call.
        on_message: takes what the workers send besides results.
        on_wait: called each minute in which no worker is up: they find no room, or take long to start.

    Raises:
        EngineError: no worker can be started, or each one dies.
        Exception: what `work` raised.
    """
    pool: _Pool[Task] = _Pool(session.ray, starter, iter(tasks), n_each, on_message)
    try:
        for _ in range(n_actors):
            pool.grow()
        while pool.hand_out() or not pool.is_idle():
            with_news = pool.listen()
            for worker in with_news:
                yield from pool.take(worker)
            if not with_news and not any(worker.is_up for worker in pool.workers):
                on_wait()
    finally:
        pool.close()
