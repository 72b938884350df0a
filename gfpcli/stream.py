"""Work done ahead and behind in threads: the only file with threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import count
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def map_ahead(function: Callable[[T], R], items: Iterable[T], *, workers: int, depth: int) -> Iterator[R]:
    """`function` of each item, computed in `workers` threads, in order, at most `depth` results waiting.

    `items` is drawn on the consumer's thread, so a chain of generators keeps its torch work there: the same call serves
    to decode ahead of the network and to encode behind it. An exception of `function` is raised at its place.
    Closing the generator drops what has not begun and waits for what has.
    """
    waiting: deque[Future[R]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                while len(waiting) >= depth or (waiting and waiting[0].done()):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
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
