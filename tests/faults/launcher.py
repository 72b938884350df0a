"""A process that has imported everything and forks a `gfp` for each command: kills by the dozen without the imports."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int  # exit code, or the negative number of the signal
    told: str  # stderr
    seconds: float


class Launcher:
    """Runs commands one after the other. Used with `with`."""

    def __init__(self, log: Path, **settings: str) -> None:
        self.log = log
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.launcher", str(log)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1", **settings},
        )  # fmt: skip

    def __enter__(self) -> Launcher:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait(timeout=60)
        assert self.process.stdout
        self.process.stdout.close()

    def run(self, *words: object, during: Callable[[int], None] = lambda pid: None) -> Ended:
        """`gfp WORDS`; `during` is called with its process id while it runs."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps([str(word) for word in words]) + "\n")
        self.process.stdin.flush()
        pid = int(self.process.stdout.readline())
        start = time.monotonic()
        during(pid)
        code = int(self.process.stdout.readline())
        return Ended(code, self.log.read_text(errors="replace"), time.monotonic() - start)

    def kill_after(self, seconds: float, *words: object, number: int = signal.SIGKILL) -> Ended:
        """As `run`, with a signal after some time (none where it has ended before)."""

        def kill(pid: int) -> None:
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline and is_alive(pid):
                time.sleep(0.005)
            with suppress(ProcessLookupError):
                os.kill(pid, number)

        return self.run(*words, during=kill)


def is_alive(pid: int) -> bool:
    """Whether it runs; one that has ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def serve(log: str) -> None:
    """Reads commands, forks one `gfp` for each, tells its process id and then its exit code."""
    import gfpcli.cli.restore
    import gfpcli.cli.video
    import gfpcli.cli.watch  # noqa: F401  (everything before the first fork)
    from gfpcli.cli.app import main

    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(out, 1)
            os.dup2(out, 2)
            sys.stdin.close()
            signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
            sys.argv = ["gfp", *json.loads(line)]
            main()
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()
        sys.stdout.write(f"{os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve(sys.argv[1])
