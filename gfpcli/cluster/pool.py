"""Work on the machines of a Ray cluster: a session, and actors that are given tasks as they get free.

The only file that imports Ray (the extra `gfpcli[ray]`). Placing workers, starting them, carrying calls and noticing
the dead is Ray's; what is added here is which task goes where next, and again where a worker died.
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
from gfpcli.options import FaceOptions

PORT = 6379  # where a cluster answers that `ray start --head` made
ANSWER_S = 5.0  # for a cluster that is there
IN_FLIGHT = 2  # calls of a worker: while one is done the next is there
DEATHS_OF_TASK = 3  # so often a task is given to a worker that dies on it
DEATHS_IN_A_ROW = 20  # of workers, without a result in between
WAIT_LINE_S = 60.0  # between lines while there is no worker
T = TypeVar("T")
Actor: TypeAlias = Any
"""Ray's handle of an object with a generator `work(tasks: list[T])`, which yields lists of (place in `tasks`, result),
each task's once and in any order, or (None, anything) for what is to be heard meanwhile."""


@dataclass(frozen=True, slots=True)
class TaskDied:
    """In place of a result: the workers that were given the task died."""

    reason: str


@dataclass(frozen=True, slots=True)
class WorkerNeeds:
    """What a worker takes of its node."""

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

    def needs(self, options: FaceOptions) -> WorkerNeeds:
        """A GPU for each worker as asked for, where the cluster has any and `--device` may use one."""
        has_gpus = any(room.get("GPU") for room in self.rooms())
        is_wanted = options.device.startswith("cuda") or options.device == "auto" and has_gpus
        return WorkerNeeds(gpus=options.gpus_per_worker if is_wanted else 0.0)

    def rooms(self) -> list[dict[str, float]]:
        """What each node that is alive has in all."""
        return [node["Resources"] for node in self.ray.nodes() if node["Alive"]]

    def n_fitting(self, needs: WorkerNeeds) -> int:
        """How many workers the cluster holds when it does nothing else. Raises EngineError where it holds none."""
        n_workers = 0
        for room in self.rooms():
            fits = [room.get(kind, 0.0) / each for kind, each in (("CPU", needs.cpus), ("GPU", needs.gpus)) if each]
            n_workers += int(min(fits))
        if not n_workers:
            raise EngineError(f"no node of the Ray cluster has the {needs.in_words()} that a worker needs")
        return n_workers

    def starter(self, kind: type, needs: WorkerNeeds, *given: object) -> Callable[[], Actor]:
        """What starts one more worker `kind(*given)` somewhere; what is given travels once, not with each."""
        made = self.ray.remote(kind).options(num_cpus=needs.cpus, num_gpus=needs.gpus, max_restarts=0)
        kept = [self.ray.put(each) for each in given]
        return lambda: made.remote(*kept)


@contextmanager
def ray_session(address: str) -> Iterator[Session]:
    """Connected to a cluster, without a word on the terminal; one that was begun for this is ended with it.

    Args:
        address: `auto` for the cluster that runs on this machine, HOST or HOST:PORT, or nothing: then what RAY_ADDRESS
            says, else a cluster of this machine alone, for this session.

    Raises:
        EngineError: Ray is not installed, or no cluster answers.
    """
    ray = import_ray()
    place = address or os.environ.get("RAY_ADDRESS", "") or "local"
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    if place == "local":
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would tell its makers of each cluster
        quiet["include_dashboard"] = False
    ray._private.worker._worker_logs_enabled = False  # else a worker's death is told on stdout, `log_to_driver` or not
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
    """HOST:PORT. Raises EngineError where nobody listens there: Ray would try for a minute, and not in silence."""
    if "://" in place:
        raise EngineError(f"--address {place}: give auto, HOST or HOST:PORT, and run gfp on a machine of the cluster")
    host, _, port = place.partition(":")
    try:
        socket.create_connection((host, int(port or PORT)), timeout=ANSWER_S).close()
    except (OSError, ValueError) as error:
        raise EngineError(f"no Ray cluster answers at {host}:{port or PORT} ({error})") from error
    return f"{host}:{port or PORT}"


@dataclass(slots=True, eq=False)
class _TaskTries(Generic[T]):
    """A task, and how often a worker died on it."""

    task: T
    n_deaths: int = 0


@dataclass(slots=True, eq=False)
class _WorkerCall(Generic[T]):
    """Tasks on their way: those without a result yet, by their place in the call."""

    stream: Any  # of references to lists, in order
    left: dict[int, _TaskTries[T]]


@dataclass(slots=True, eq=False)
class _Worker(Generic[T]):
    """An actor with the calls it was given, which it does in this order."""

    actor: Actor
    start: Any  # a reference that is there as soon as the actor is up
    is_up: bool = False
    calls: deque[_WorkerCall[T]] = field(default_factory=deque)

    def awaited(self) -> Any:
        """What will be heard of it next; None where it has nothing to do."""
        if not self.is_up:
            return self.start
        return self.calls[0].stream if self.calls else None


@dataclass(slots=True, eq=False)
class _Pool(Generic[T]):
    """The state of one `run_on_actors`."""

    ray: Any
    starter: Callable[[], Actor]
    fresh: Iterator[T]
    n_each: int
    hear: Callable[[Any], None]
    workers: list[_Worker[T]] = field(default_factory=list)
    again: deque[_TaskTries[T]] = field(default_factory=deque)  # tasks of workers that died
    n_deaths: int = 0  # in a row

    def grow(self) -> None:
        """One more worker; it is given tasks when it is up, so one that finds no place holds none back."""
        actor = self.starter()
        self.workers.append(_Worker(actor, actor.__ray_ready__.remote()))

    def hand_out(self) -> bool:
        """Gives tasks to every worker that is free for more; whether any are out."""
        for _ in range(IN_FLIGHT):  # each gets one before any gets two
            for worker in self.workers:
                if worker.is_up and len(worker.calls) < IN_FLIGHT and (tries := self.next_tries()):
                    method = worker.actor.work.options(num_returns="streaming")
                    stream = method.remote([each.task for each in tries])
                    worker.calls.append(_WorkerCall(stream, dict(enumerate(tries))))
        return any(worker.calls for worker in self.workers)

    def next_tries(self) -> list[_TaskTries[T]]:
        """Tasks for one call; one on which a worker died goes alone, so that it takes no others with it."""
        if not self.again:
            return [_TaskTries(task) for task in islice(self.fresh, self.n_each)]
        tries = [self.again.popleft()]
        while not tries[0].n_deaths and self.again and not self.again[0].n_deaths and len(tries) < self.n_each:
            tries.append(self.again.popleft())
        return tries

    def is_idle(self) -> bool:
        """Whether every task has its result."""
        if self.again or any(worker.calls for worker in self.workers):
            return False
        following = next(self.fresh, None)
        self.again.extend([] if following is None else [_TaskTries(following)])
        return following is None

    def listen(self) -> list[_Worker[T]]:
        """The workers of which something is heard, as soon as there are any."""
        by_reference = {each.awaited(): each for each in self.workers if each.awaited() is not None}
        references = list(by_reference)
        if not self.ray.wait(references, num_returns=1, timeout=WAIT_LINE_S)[0]:
            return []
        ready = self.ray.wait(references, num_returns=len(references), timeout=0)[0]
        return [by_reference[reference] for reference in ready]

    def take(self, worker: _Worker[T]) -> Iterator[tuple[T, Any]]:
        """What one worker has for us: it is up, results, the end of a call, or its own end."""
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
        except self.ray.exceptions.RayTaskError as error:  # an error of ours that crossed the wire
            raise (error.cause or error) from None
        except self.ray.exceptions.RayError as error:
            yield from self.replace_worker(worker, error)
            return
        for place, item in items:
            if place is None:
                self.hear(item)
            else:
                self.n_deaths = 0
                yield call.left.pop(place).task, item

    def replace_worker(self, worker: _Worker[T], error: Exception) -> Iterator[tuple[T, TaskDied]]:
        """Another in its place; what it had not done is done again, unless workers die on it each time."""
        reason = " ".join(str(error).split())
        self.n_deaths += 1
        if getattr(error, "actor_init_failed", False) or self.n_deaths >= DEATHS_IN_A_ROW:
            raise EngineError(f"workers die before they have done anything; the last one: {reason[-300:]}") from error
        with suppress(self.ray.exceptions.RayError, ValueError):
            self.ray.kill(worker.actor)  # where it only could not be reached
        self.workers.remove(worker)
        self.grow()
        for number, call in enumerate(worker.calls):
            for each in call.left.values():
                each.n_deaths += number == 0  # the calls behind had not begun
                if each.n_deaths >= DEATHS_OF_TASK:
                    yield each.task, TaskDied(f"the worker died each of the {DEATHS_OF_TASK} times it was tried")
                else:
                    self.again.append(each)

    def close(self) -> None:
        """Ends the workers; with the session they have ended by themselves, and Ray would begin another to end them."""
        for worker in self.workers if self.ray.is_initialized() else ():
            with suppress(self.ray.exceptions.RayError, ValueError):
                self.ray.kill(worker.actor)


def run_on_actors(
    session: Session, starter: Callable[[], Actor], tasks: Iterable[T], *, n_actors: int, n_each: int = 1,
    hear: Callable[[Any], None] = lambda told: None, wait: Callable[[], None] = lambda: None,
) -> Generator[tuple[T, Any | TaskDied], None, None]:  # fmt: skip
    """Every task with its result, each once, as they come.

    Tasks are drawn when a worker is free, at most `2 * n_each` for each worker at a time. Where a worker dies another
    is started, and the tasks it had begun are given out again one by one; one on which three workers died gives
    `TaskDied`. Closing the generator ends the workers.

    Args:
        starter: as `Session.starter` gives it.
        n_actors: workers; those that find no place in the cluster are waited for beside the work of the others.
        n_each: tasks in a call.
        hear: hears what the workers tell besides results.
        wait: called each minute in which no worker is up: they find no room, or take long to start.

    Raises:
        EngineError: no worker can be started, or each one dies.
        Exception: what `work` raised.
    """
    pool: _Pool[T] = _Pool(session.ray, starter, iter(tasks), n_each, hear)
    try:
        for _ in range(n_actors):
            pool.grow()
        while pool.hand_out() or not pool.is_idle():
            heard = pool.listen()
            for worker in heard:
                yield from pool.take(worker)
            if not heard and not any(worker.is_up for worker in pool.workers):
                wait()
    finally:
        pool.close()
