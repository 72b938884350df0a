"""Order, bounds and errors of work done ahead."""

from __future__ import annotations

import threading
import time

import pytest

from gfpcli.stream import batched, map_ahead


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


def test_groups_end_when_full() -> None:
    assert list(batched([1, 1, 3, 1], is_full=lambda group: sum(group) >= 3)) == [[1, 1, 3], [1]]
