"""A clock for tests of times, which a machine with other work would make too long."""

from __future__ import annotations

import time


class SleptTime:
    """In place of the module `time`: only its own `sleep` lets time go by, at once; processor time is the true one."""

    def __init__(self) -> None:
        self._now_s = 0.0

    def sleep(self, seconds: float) -> None:
        self._now_s += seconds

    def monotonic(self) -> float:
        return self._now_s

    def perf_counter(self) -> float:
        return self._now_s

    def process_time(self) -> float:
        return time.process_time()
