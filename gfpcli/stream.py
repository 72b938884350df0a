"""Work done ahead and behind in threads: the only file with threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from itertools import count
from typing import TypeVar

MOST = 512 << 20  # bytes that may wait
MOST_GROUPED = 64_000_000  # bytes that may wait until a group is full
MOST_IDLE = 8  # items without work that may wait behind one with work
T = TypeVar("T")
R = TypeVar("R")


def map_ahead(
    function: Callable[[T], R], items: Iterable[T], *, workers: int, depth: int,
    weigh_item: Callable[[T], int] | None = None, weigh_result: Callable[[R], int] | None = None, most: int = MOST,
) -> Generator[R, None, None]:  # fmt: skip
    """`function` of each item, computed in `workers` threads, in order, with at most `depth` results waiting.

    `items` is drawn on the consumer's thread, so a chain of generators keeps its torch work there: the same call serves
    to decode ahead of the network and to encode behind it. An exception of `function` is raised at its place.
    Closing the generator drops what has not begun and waits for what has.

    Args:
        weigh_item: bytes that an item holds while it waits. While more than `most` bytes wait no item is added, though
            one may always wait: a single item heavier than `most` still goes through.
        weigh_result: bytes of a result; each one that waits counts as the heaviest taken so far.
    """
    waiting: deque[tuple[Future[R], int]] = deque()
    item_bytes = 0  # of all that wait
    heaviest = 0 if weigh_result is None else most + 1  # as heavy as can be until the first result is there

    def take() -> R:
        nonlocal item_bytes, heaviest
        future, weight = waiting.popleft()
        item_bytes -= weight
        result = future.result()
        if weigh_result is not None:
            known = weigh_result(result)
            heaviest = known if heaviest > most else max(heaviest, known)
        return result

    def is_full() -> bool:
        return len(waiting) >= depth or waiting[0][0].done() or item_bytes + heaviest * len(waiting) > most

    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                waiting.append((pool.submit(function, item), weigh_item(item) if weigh_item else 0))
                item_bytes += waiting[-1][1]
                del item  # else it would live on while its result is waited for
                while waiting and is_full():
                    yield take()
            while waiting:
                yield take()
        finally:
            for future, _ in waiting:
                future.cancel()


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


def batched(
    items: Iterable[T], *, count: Callable[[T], int], n_full: int, weigh: Callable[[T], int], most: int = MOST_GROUPED
) -> Iterator[list[T]]:
    """Groups of consecutive items whose work is done together, such as the faces of many frames.

    A group ends as soon as it holds `n_full` pieces of work or `most` bytes. An item without work is a group of its own
    where nothing stands before it, and at most `MOST_IDLE` of them wait behind an item with work. Each item is counted
    and weighed once.

    Args:
        count: pieces of work of an item.
        weigh: bytes that an item holds while it waits.
    """
    group: list[T] = []
    n_pieces = n_idle = n_bytes = 0
    for item in items:
        n_own = count(item)
        group.append(item)
        n_pieces, n_idle, n_bytes = n_pieces + n_own, n_idle + (n_own == 0), n_bytes + weigh(item)
        if n_pieces == 0 or n_pieces >= n_full or n_idle >= MOST_IDLE or n_bytes >= most:
            yield group
            group, n_pieces, n_idle, n_bytes = [], 0, 0, 0
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
