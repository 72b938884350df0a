"""One run of `gfp` as a user starts it, timed from outside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DETECTED = ("--detector", "builtin")
AS_ASKED = ("--strength", "1", "--offline")  # else a face that is sharp already would be left out of the work
BUILT_IN = ("--model", "compact", "--mask", "soft", *DETECTED, *AS_ASKED)  # the weights in the package


@dataclass(frozen=True)
class Run:
    """What a run took."""

    seconds: float
    cpu_s: float  # of all threads: what other work on the machine changes little
    peak_bytes: int  # of the process's memory
    n_faces: int  # that were restored
    records: tuple[dict[str, Any], ...]  # one for each input


def run_gfp(verb: str, source: Path, flags: Sequence[str], *, limit_s: float | None = None) -> Run:
    """Runs `gfp VERB SOURCE`; outputs and records lie beside the source.

    Args:
        verb: restore or video.
        limit_s: seconds after which the run is killed.

    Raises:
        TimeoutError: it was killed.
        RuntimeError: it failed.
    """
    out, records = source.with_name(f"{source.name} out"), source.with_name(f"{source.name}.jsonl")
    command = [sys.executable, "-m", "gfpcli", verb, str(source), "-o", str(out), "--json", str(records), "--force"]
    start = time.perf_counter()
    child = subprocess.Popen([*command, "--quiet", *flags])
    killer = threading.Timer(1e9 if limit_s is None else max(limit_s, 0), child.kill)
    killer.daemon = True
    killer.start()
    _, status, used = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - start
    is_late = not killer.is_alive()
    killer.cancel()
    child.returncode = os.waitstatus_to_exitcode(status)  # else Popen waits for a child that is gone
    if child.returncode and is_late:
        raise TimeoutError(f"{verb} took more than {limit_s:.0f} s")
    if child.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit code {child.returncode}")
    told = tuple(json.loads(line) for line in records.read_text().splitlines())
    n_faces = sum(each["n_faces"] if verb == "video" else len(each["faces"]) for each in told)
    return Run(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024, n_faces, told)
