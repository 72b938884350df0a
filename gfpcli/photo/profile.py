"""How long each stage takes on a picture and how much memory it needs at most: for `gfp bench` and `--dry-run`."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from gfpcli.options import RestoreOptions
from gfpcli.photo.codec import Photo, read_photo
from gfpcli.photo.encode import encode_photo
from gfpcli.pipeline.restorer import Restorer
from gfpcli.types import Restored

STAGES = (  # in the order of the work
    "decode", "detect", "align", "net", "identity", "mask", "background", "paste", "encode",
)  # fmt: skip
CLEAR_REFS, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


@dataclass(slots=True)
class Spent:
    """What a stage took, summed over its calls."""

    seconds: float = 0.0
    cpu_s: float = 0.0  # of all threads
    peak: int = 0  # bytes of the process, at most
    gpu_peak: int = 0  # bytes on the GPU, at most


@dataclass(slots=True)
class Stopwatch:
    """Sums up the stages of pictures that are restored one at a time: no stage may begin before another has ended."""

    device: torch.device
    spent: dict[str, Spent] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Times the block as `name`."""
        self._wait_for_gpu()
        reset_peaks(self.device)
        start, cpu_start = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            self._wait_for_gpu()
            spent = self.spent.setdefault(name, Spent())
            spent.seconds += time.perf_counter() - start
            spent.cpu_s += time.process_time() - cpu_start
            spent.peak = max(spent.peak, peak_memory())
            if self.device.type == "cuda":
                spent.gpu_peak = max(spent.gpu_peak, torch.cuda.max_memory_allocated(self.device))

    def _wait_for_gpu(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def peak_memory() -> int:
    """Bytes of the process: the most since the last reset on Linux, else since it began; 0 on Windows."""
    if (most := _status("VmHWM:")) is not None:
        return most
    if sys.platform == "win32":
        return 0
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most << 10


def resident_memory() -> int:
    """Bytes of the process now; where that is not known, the most so far."""
    now = _status("VmRSS:")
    return peak_memory() if now is None else now


def _status(key: str) -> int | None:
    with suppress(OSError):
        for line in STATUS.read_text().splitlines():
            if line.startswith(key):
                return int(line.split()[1]) << 10
    return None


def reset_peaks(device: torch.device) -> None:
    """Peaks count from now on, where this system can do so."""
    with suppress(OSError):  # not Linux, or not allowed: then peaks are those of the whole run
        CLEAR_REFS.write_text("5")
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def observed(restorer: Restorer, watch: Stopwatch) -> Restorer:
    """The same restorer, on its first device only, with its stages timed."""
    return replace(restorer, observer=watch.stage, replicas=())


def decode(path: Path, watch: Stopwatch) -> Photo:
    """A picture from its file. Raises InputError."""
    with watch.stage("decode"):
        return read_photo(path, 0)


def encode(photo: Photo, result: Restored, kind: str, options: RestoreOptions, watch: Stopwatch) -> int:
    """Bytes of the output's file. Raises OutputError."""
    with watch.stage("encode"):
        encoded = encode_photo(
            photo, result.image, result.alpha, kind, quality=options.quality, strip=options.strip
        )
    return len(encoded.data)
