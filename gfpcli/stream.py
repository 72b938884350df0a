"""Work done ahead and behind in threads: the only file with threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from itertools import count
from typing import TypeVar

MOST = 512 << 20  # bytes that may wait
T = TypeVar("T")
R = TypeVar("R")


def map_ahead(
    function: Callable[[T], R],
    items: Iterable[T],
    *,
    workers: int,
    depth: int,
    weigh_item: Callable[[T], int] | None = None,
    weigh_result: Callable[[R], int] | None = None,
    most: int = MOST,
) -> Generator[R, None, None]:
    """`function` of each item, computed in `workers` threads, in order, at most `depth` results waiting.

    `items` is drawn on the consumer's thread, so a chain of generators keeps its torch work there: the same call serves
    to decode ahead of the network and to encode behind it. An exception of `function` is raised at its place.
    Closing the generator drops what has not begun and waits for what has.

    Args:
        weigh_item: bytes an item holds while it waits. While more than `most` wait nothing is added, though one may
            always wait: a single item heavier than `most` still goes through.
        weigh_result: the same of a result; one that is not there yet counts as the heaviest taken so far.
    """
    waiting: deque[tuple[Future[R], int]] = deque()
    heaviest = 0 if weigh_result is None else most + 1  # as heavy as can be until the first result is there

    def weight() -> int:
        own = sum(each for _, each in waiting)
        if weigh_result is None:
            return own
        done = [weigh_result(each.result()) for each, _ in waiting if _is_good(each)]
        return own + sum(done) + heaviest * (len(waiting) - len(done))

    def take() -> R:
        nonlocal heaviest
        result = waiting.popleft()[0].result()
        if weigh_result is not None:
            known = weigh_result(result)
            heaviest = known if heaviest > most else max(heaviest, known)
        return result

    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                waiting.append((pool.submit(function, item), weigh_item(item) if weigh_item else 0))
                del item  # else it would live on while its result is waited for
                while waiting and (len(waiting) >= depth or waiting[0][0].done() or weight() > most):
                    yield take()
            while waiting:
                yield take()
        finally:
            for future, _ in waiting:
                future.cancel()


def _is_good(future: Future[R]) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None


def prefetch(items: Generator[T, None, None], *, depth: int) -> Generator[T, None, None]:
    """The items of a generator that runs in a thread of its own, at most `depth` of them waiting.

    An exception of `items` is raised at its place; closing joins the thread and closes `items`.
    """
    end = object()
    with closing(items):
        for item in map_ahead(lambda _: next(items, end), count(), workers=1, depth=depth):
            if item is end:
                return
            yield item  # type: ignore[misc]  # all but `end` are T


def batched(items: Iterable[T], *, is_full: Callable[[list[T]], bool]) -> Iterator[list[T]]:
    """Groups of consecutive items; a group ends as soon as `is_full` says so."""
    group: list[T] = []
    for item in items:
        group.append(item)
        if is_full(group):
            yield group
            group = []
    if group:
        yield group


def windows(items: Iterable[T], reach: int) -> Iterator[tuple[list[T], int]]:
    """Each item in a list of its neighbours, up to `reach` before and behind it, with its place in that list."""
    window: list[T] = []
    at = 0
    for item in items:
        window.append(item)
        if len(window) - at > reach:
            yield window[:], at
            at += 1
            if at > reach:
                del window[0]
                at -= 1
    for i in range(at, len(window)):
        first = max(0, i - reach)
        yield window[first:], i - first


class Stop(Exception):
    """Raised by the `emit` of `deliver` to end it early."""


def deliver(
    items: Iterable[T], finish: Callable[[T], R], emit: Callable[[R], None], *,
    depth: int, weigh_item: Callable[[T], int] | None = None,
) -> None:  # fmt: skip
    """Finishes each item in a thread behind, and emits each result in order, on the caller's thread.

    What is finished when the work ends early (by `Stop`, an error or an interrupt) is emitted before that goes on: an
    output that has its name is always told.

    Args:
        depth, weigh_item: as for `map_ahead`.

    Raises:
        Stop: `emit` did.
    """
    finished: deque[R] = deque()
    try:
        with closing(map_ahead(lambda item: finished.append(finish(item)), items, workers=1, depth=depth,
                               weigh_item=weigh_item)) as behind:  # fmt: skip
            for _ in behind:
                emit(finished.popleft())
    finally:
        for result in finished:
            with suppress(Stop):
                emit(result)
