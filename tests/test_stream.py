"""Order, bounds and errors of work done ahead."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterable, Iterator

import pytest

from gfpcli.stream import MOST_IDLE, Stop, batched, deliver, map_ahead, prefetch, windows


def test_order_is_kept_and_no_more_than_depth_wait() -> None:
    drawn: list[int] = []

    def items() -> object:
        for i in range(20):
            drawn.append(i)
            yield i

    def work(i: int) -> int:
        time.sleep(0.01 * (i % 3))
        return i * i

    results = map_ahead(work, items(), workers=3, depth=4)  # type: ignore[arg-type]
    seen = []
    for result in results:
        seen.append(result)
        assert len(drawn) <= len(seen) + 4
    assert seen == [i * i for i in range(20)]


def test_heavy_work_waits_by_weight_and_one_always_goes_through() -> None:
    drawn: list[int] = []

    def items() -> Iterator[int]:
        for i in range(12):
            drawn.append(i)
            yield i

    ahead = map_ahead(lambda i: i, items(), workers=1, depth=8, weigh_result=lambda _: 40, most=100)
    assert next(ahead) == 0  # its weight is known now
    for done in ahead:
        assert len(drawn) <= done + 1 + 3  # two fit; with a third there is too much
    assert len(drawn) == 12
    drawn.clear()
    lazy = map_ahead(lambda i: time.sleep(0.01) or i, items(), workers=1, depth=8, weigh_item=lambda _: 200, most=100)
    assert [(done, len(drawn) - done) for done in lazy] == [(i, 1) for i in range(12)]


def test_an_error_comes_at_its_place_and_threads_end() -> None:
    def work(i: int) -> int:
        if i == 2:
            raise ValueError("two")
        return i

    results = map_ahead(work, range(5), workers=2, depth=3)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="two"):
        next(results)
    half = map_ahead(work, iter([0, 1, 3, 4]), workers=2, depth=2)
    next(half)
    half.close()  # type: ignore[attr-defined]
    assert not [t for t in threading.enumerate() if "ThreadPool" in t.name]


def grouped(items: Iterable[int], *, weight: int = 0, most: int = 100) -> list[list[int]]:
    """Groups of 4 pieces of work; an item is its own number of pieces."""
    return list(batched(items, count=lambda item: item, n_full=4, weigh=lambda _: weight, most=most))


def test_groups_end_when_they_hold_enough_work_or_weigh_enough() -> None:
    assert grouped([1, 1, 3, 1]) == [[1, 1, 3], [1]]
    assert grouped([1] * 5, weight=50) == [[1, 1], [1, 1], [1]]
    assert grouped([]) == []


def test_items_without_work_wait_for_what_stands_before_them_only() -> None:
    assert grouped([0, 0, 1, 0, 3, 0]) == [[0], [0], [1, 0, 3], [0]]
    assert grouped([1] + [0] * 10 + [1]) == [[1] + [0] * MOST_IDLE, [0], [0], [1]]


def test_each_item_is_counted_and_weighed_once() -> None:
    counted: list[int] = []
    weighed: list[int] = []
    n_groups = len(
        list(
            batched(
                range(1000), count=lambda i: counted.append(i) or 1, n_full=10_000, most=300,
                weigh=lambda i: weighed.append(i) or 1,
            )
        )
    )  # fmt: skip
    assert n_groups == 4 and counted == weighed == list(range(1000))


def test_waiting_work_is_weighed_once_for_each_item_and_each_result() -> None:
    weighed: list[int] = []

    def weigh(i: int) -> int:
        weighed.append(i)
        return 1

    assert list(map_ahead(lambda i: i, range(100), workers=1, depth=50, weigh_item=weigh, weigh_result=weigh)) == [
        *range(100)
    ]
    assert sorted(weighed) == sorted([*range(100)] * 2)


def test_what_is_finished_is_emitted_however_the_work_ends() -> None:
    for error in (Stop, ValueError, KeyboardInterrupt):
        finished: list[int] = []
        emitted: list[int] = []

        def finish(item: int, finished: list[int] = finished) -> int:
            finished.append(item)
            return item

        def emit(item: int, emitted: list[int] = emitted, error: type[BaseException] = error) -> None:
            emitted.append(item)
            time.sleep(0.05)  # others are finished meanwhile
            if len(emitted) == 2 or error is Stop and len(emitted) > 2:
                raise error

        with pytest.raises(error):
            deliver(iter(range(50)), finish, emit, depth=4)
        assert emitted == finished and 2 < len(emitted) < 50
    emitted = []
    deliver(iter(range(9)), str, emitted.append, depth=4)  # type: ignore[arg-type]
    assert emitted == [str(i) for i in range(9)]  # type: ignore[comparison-overlap]


def test_a_generator_runs_ahead_in_its_own_thread_and_is_closed() -> None:
    made: list[int] = []
    threads: set[str] = set()

    def numbers(last: int) -> Generator[int, None, None]:
        try:
            for i in range(100):
                if i == last:
                    raise ValueError("last")
                threads.add(threading.current_thread().name)
                made.append(i)
                yield i
        finally:
            made.append(-1)

    ahead = prefetch(numbers(100), depth=4)
    assert [next(ahead) for _ in range(3)] == [0, 1, 2]
    time.sleep(0.05)
    assert 3 < len(made) <= 8 and threading.current_thread().name not in threads
    ahead.close()
    assert made[-1] == -1 and not [t for t in threading.enumerate() if "ThreadPool" in t.name]
    assert list(prefetch((i for i in range(9)), depth=2)) == list(range(9))
    with pytest.raises(ValueError, match="last"):
        list(prefetch(numbers(5), depth=3))


def test_each_item_has_its_neighbours() -> None:
    for n in range(8):
        for reach in range(4):
            seen = [(window, at) for window, at in windows(range(n), reach)]
            assert [window[at] for window, at in seen] == list(range(n))
            for i, (window, at) in enumerate(seen):
                assert window[max(0, at - reach) :] == list(range(max(0, i - reach), min(n, i + reach + 1)))
