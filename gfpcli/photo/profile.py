"""How long each stage takes on a picture and how much memory it needs at most: for `gfp bench` and `--dry-run`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from gfpcli.options import RestoreOptions
from gfpcli.photo.codec import encode_image, read_frame
from gfpcli.pipeline.paste import resize_background
from gfpcli.pipeline.restorer import Restorer
from gfpcli.pipeline.steps import Found, Made
from gfpcli.types import Crop, Frame, Restored

PORTS = {"detector": "detect", "masker": "mask", "upsampler": "background"}  # the restorer's fields, their stages
STAGES = ("decode", "detect", "align", "net", "mask", "background", "paste", "encode")  # in the order of the work
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
    """Sums up stages. A stage within a stage is not counted for the outer one."""

    device: torch.device
    spent: dict[str, Spent] = field(default_factory=dict)
    _open: list[str] = field(default_factory=list)
    _mark: tuple[float, float] = (0.0, 0.0)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Times the block as `name`."""
        self._settle()
        self._open.append(name)
        try:
            yield
        finally:
            self._settle()
            self._open.pop()

    def _settle(self) -> None:
        """What passed since the last call belongs to the innermost open stage."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        now = time.perf_counter(), time.process_time()
        if self._open:
            spent = self.spent.setdefault(self._open[-1], Spent())
            spent.seconds += now[0] - self._mark[0]
            spent.cpu_s += now[1] - self._mark[1]
            spent.peak = max(spent.peak, peak_memory())
            if self.device.type == "cuda":
                spent.gpu_peak = max(spent.gpu_peak, torch.cuda.max_memory_allocated(self.device))
        reset_peaks(self.device)
        self._mark = time.perf_counter(), time.process_time()


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


def watched(restorer: Restorer, watch: Stopwatch) -> Restorer:
    """The same restorer with its ports timed. Lanczos is part of `paste`: only a network makes a background stage."""

    def timed(stage: str, port: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: object) -> object:
            with watch.stage(stage):
                return port(*given)

        return call

    ports = {name: getattr(restorer, name) for name in PORTS}
    changes: dict[str, Any] = {
        name: timed(PORTS[name], port) for name, port in ports.items() if port is not resize_background
    }
    return replace(restorer, **changes)


def decode(path: Path, watch: Stopwatch) -> Frame:
    """Raises InputError."""
    with watch.stage("decode"):
        return read_frame(path, 0)


def find(restorer: Restorer, frame: Frame, watch: Stopwatch) -> Found:
    """Faces and crops, by a watched restorer. Raises GfpError."""
    with watch.stage("align"):
        return restorer.find(frame)


def make(restorer: Restorer, crops: Sequence[Crop], watch: Stopwatch) -> list[Made]:
    """What the network makes of crops."""
    with watch.stage("net"):
        return restorer.restore_crops(crops)


def assemble(restorer: Restorer, found: Found, faces: Sequence[Made], watch: Stopwatch) -> Restored:
    """The finished picture, by a watched restorer. Raises GfpError."""
    with watch.stage("paste"):
        return restorer.assemble(found, faces, seconds=0.0)


def encode(result: Restored, kind: str, options: RestoreOptions, watch: Stopwatch) -> int:
    """Bytes of the file. Raises OutputError."""
    with watch.stage("encode"):
        data = encode_image(result.image, result.frame, result.alpha, kind, options.quality, options.strip)
    return len(data)
