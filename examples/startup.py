"""Times `gfp restore` of one small photo, all of it from the command to its end, by torch and by onnxruntime in turns.

    python examples/startup.py              the small photo beside this file
    python examples/startup.py a.jpg b.png  others

Everything that is on by default is on. The first run of each runtime is not counted: it fills the caches, and exports
the built-in networks. Told are the medians of PAIRS runs by the clock, and of the processor's time.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

PAIRS = 7
RUNTIMES = ("torch", "onnx")
SMALL = Path(__file__).parent / "photos" / "astronaut_small.jpg"


def run_once(photo: Path, runtime: str, folder: Path) -> tuple[float, float]:
    """Seconds by the clock, and of all cores together."""
    words = ["restore", photo, "-o", folder / runtime, "--model", "compact", "--runtime", runtime, "--offline",
             "--force", "--quiet"]  # fmt: skip
    environment = {**os.environ, "GFP_HOME": str(folder / "cache")}
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, "-m", "gfpcli", *map(str, words)], check=True, env=environment)
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    for photo in map(Path, sys.argv[1:] or [SMALL]):
        with TemporaryDirectory() as name:
            folder = Path(name)
            for runtime in RUNTIMES:
                run_once(photo, runtime, folder)
            rounds = [[run_once(photo, runtime, folder) for runtime in RUNTIMES] for _ in range(PAIRS)]
        for runtime, times in zip(RUNTIMES, zip(*rounds, strict=True), strict=True):
            clock, cpu = (median(each) for each in zip(*times, strict=True))
            sys.stdout.write(f"{photo.name}, {runtime:5} {clock:.2f} s by the clock, {cpu:.2f} s of the processor\n")


if __name__ == "__main__":
    main()
