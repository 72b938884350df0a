"""What one driver manages: many inputs and no network, by this machine alone and by the workers of a Ray cluster.

    python examples/driver_load.py 10000 100000 --workers 2

Decoding, networks and encoding are stubs; all else is the real run: listing, reading and hashing each input, staging
its output under a hidden name, ledger, names, records. With `ray` the driver's processor time for each input is what
counts: it says how many inputs a second one driver can see through when the workers have machines of their own; the
seconds of the run hold for workers that share this one's cores. Inputs and outputs lie in memory (/dev/shm).
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow

from gfpcli.cli.progress import Tally
from gfpcli.cli.restore import run_restore
from gfpcli.cluster import photos as on_ray
from gfpcli.options import RestoreOptions
from gfpcli.photo import batch
from gfpcli.photo.carried import Carried
from gfpcli.photo.codec import Photo
from gfpcli.photo.encode import EncodedPhoto
from gfpcli.photo.profile import peak_memory
from gfpcli.types import Face, FaceOutcome, Frame, Outcome, Restored

LOG = logging.getLogger("driver_load")
MEMORY = Path("/dev/shm")
FACE = Face(np.array([10.0, 10, 20, 20]), np.zeros((5, 2)), 0.99)
DOT = np.zeros((1, 1, 3), np.uint8)
PER_FOLDER = 1000


class NoRestorer:
    """Says of each frame that one face of it was restored."""

    def stream(self, frames: Iterable[Frame]) -> Iterator[Restored]:
        for frame in frames:
            times = {"network": 0.0, "total": 0.0}
            yield Restored(frame, frame.image, 1.0, (FACE,), (), (), (), (FaceOutcome("restored"),), None, times)


def stub(module: Any) -> None:
    """No pictures: every input is a dot, every output its name."""
    module.decode_photo = lambda data, name, index: Photo(Frame(index, DOT, name), "JPEG", Carried())
    module.encode_photo = lambda photo, *_, **__: EncodedPhoto(photo.frame.name.encode())


class StubWorker(on_ray.PhotoWorker):
    """A worker with the same stubs."""

    def __init__(self, setup: on_ray.WorkerSetup) -> None:
        super().__init__(setup)
        stub(batch)

    def load(self, warn: Callable[[str], None]) -> Any:
        return NoRestorer()


def make_inputs(folder: Path, n_inputs: int) -> None:
    """Small JPEGs, each with bytes of its own at its end."""
    small = io.BytesIO()
    Pillow.new("RGB", (16, 16), (90, 60, 30)).save(small, "JPEG")
    for i in range(n_inputs):
        path = folder / f"{i // PER_FOLDER:04d}" / f"{i:06d}.jpg"
        if i % PER_FOLDER == 0:
            path.parent.mkdir(parents=True)
        path.write_bytes(small.getvalue() + str(i).encode())


def run(engine: str, photos: Path, out: Path, n_workers: int) -> dict[str, float]:
    """One run in this process, measured."""
    stub(batch)
    setattr(batch, "load_restorer", lambda *_, **__: NoRestorer())  # noqa: B010
    setattr(on_ray, "PhotoWorker", StubWorker)  # noqa: B010
    times: list[float] = []
    spent: list[float] = []
    true = Tally.add

    def add(self: Tally, outcome: Outcome) -> None:
        true(self, outcome)
        times[1 if times else 0 :] = [time.perf_counter()]  # of the first and the last outcome
        spent[1 if spent else 0 :] = [time.process_time()]

    setattr(Tally, "add", add)  # noqa: B010
    workers = n_workers if engine == "ray" else 0
    options = RestoreOptions(model="compact", detector="builtin", mask="soft", scale=1, offline=True, engine=engine,
                             workers=workers)  # fmt: skip
    began, idle_mb = time.perf_counter(), peak_memory() / 1e6
    n_failed = run_restore([str(photos)], str(out), options, None, None, began=time.monotonic(), quiet=True)
    return {
        "failed": n_failed, "before_s": times[0] - began, "run_s": times[-1] - times[0],
        "driver_s": spent[-1] - spent[0], "idle_mb": idle_mb, "peak_mb": peak_memory() / 1e6,
    }  # fmt: skip


def measure(engine: str, photos: Path, out: Path, n_inputs: int, n_workers: int) -> None:
    """A run in a process of its own, then the same once more, which finds everything done."""
    for what in ("all to do", "all done"):
        words = [sys.executable, __file__, "--only", engine, "--workers", str(n_workers), str(photos), str(out)]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        facts = json.loads(done.stdout)
        rate, each_us = n_inputs / facts["run_s"], facts["driver_s"] / n_inputs * 1e6
        LOG.info("%-6s %7d inputs, %s: %.0f s until the first is told, then %.0f s", engine, n_inputs, what,
                 facts["before_s"], facts["run_s"])  # fmt: skip
        LOG.info("       %.0f inputs/s; the driver's own time %.0f us an input; memory %.0f MB, %.0f before; %d failed",
                 rate, each_us, facts["peak_mb"], facts["idle_mb"], facts["failed"])  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="+", help="numbers of inputs (with --only: folder of inputs, of outputs)")
    parser.add_argument("--engines", default="local,ray")
    parser.add_argument("--workers", type=int, default=2, help="of the cluster")
    parser.add_argument("--only", choices=("local", "ray"), help="one run over folders that are there; prints facts")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if args.only:
        facts = run(args.only, Path(args.what[0]), Path(args.what[1]), args.workers)
        sys.stdout.write(json.dumps(facts))
        return
    for n_inputs in map(int, args.what):
        with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as name:
            make_inputs(Path(name) / "in", n_inputs)
            for engine in args.engines.split(","):
                measure(engine, Path(name) / "in", Path(name) / engine, n_inputs, args.workers)


if __name__ == "__main__":
    main()
