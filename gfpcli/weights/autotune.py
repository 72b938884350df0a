"""The fastest way to run a network on this machine that still says what fp32 says: probed once, then remembered."""

from __future__ import annotations

import json
import logging
import os
import platform
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gfpcli.errors import CheckpointError, OutputError
from gfpcli.files.atomic import write_bytes
from gfpcli.pipeline.tensors import to_tensor
from gfpcli.weights.cache import BUILTIN, cache_folder

AGREES_DB = 40.0  # PSNR of a face against the one in fp32
AGREES_IOU = 0.99  # of a mask against the one in fp32 at full size
WORTH = 1.15  # times as fast as what it replaces
SMALL = 20_000_000  # weights; a smaller network is quick in fp32, and needs no probe that depends on the clock
COMPILE_FROM = 500  # inputs of a run from which the compiler's minutes come back
COMPILER_FOLDER = "TORCHINDUCTOR_CACHE_DIR"
MEMORY = "fastest.json"  # in the cache folder: what was found out
FACE_BYTES = 1 << 30  # of a GPU's memory for a face of 512 px in fp32, reckoned on the safe side
MOST_FACES = 32  # at once
PROBE = BUILTIN / "probe.jpg"  # two faces side by side (NASA, US Navy: public domain)
HALVES = {"cpu": ("bf16",), "cuda": ("bf16", "fp16"), "mps": ("fp16",)}
T = TypeVar("T")
Run = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Way(Generic[T]):
    """One way to run a network; `run` gives what it makes of the probe, and may raise RuntimeError."""

    name: str
    run: Callable[[], T]


def probe_faces(size: int) -> list[NDArray[np.uint8]]:
    """Two aligned faces (size, size, 3) BGR."""
    pair = cv2.imread(str(PROBE))
    if pair is None:
        raise CheckpointError(f"{PROBE}: missing or damaged; install gfpcli again")
    halves = np.split(np.asarray(pair, np.uint8), 2, axis=1)
    return [np.asarray(cv2.resize(half, (size, size), interpolation=cv2.INTER_AREA), np.uint8) for half in halves]


def probe_batch(size: int) -> Tensor:
    """The first probe face as (1, 3, size, size) RGB in [-1, 1]."""
    return to_tensor(probe_faces(size)[:1])


def choose(ways: Sequence[Way[T]], agrees: Callable[[T, T], bool], key: str) -> str:
    """The name of the fastest way that agrees with the first one; remembered under `key` for the next run.

    Args:
        agrees: of the first way's result and another's.
        key: what was probed, with `machine_of` in it.
    """
    known = _remembered()
    if known.get(key) in [way.name for way in ways]:
        return known[key]
    truth, best_s = _timed(ways[0])
    best = ways[0].name
    for way in ways[1:]:
        try:
            out, seconds = _timed(way)
        except RuntimeError:  # what the device cannot compute it cannot compute fast
            continue
        if seconds * WORTH < best_s and agrees(truth, out):
            best, best_s = way.name, seconds
    _remember({**known, key: best})
    return best


def is_small(net: torch.nn.Module) -> bool:
    """Whether a network is not worth a probe."""
    return sum(weight.numel() for weight in net.parameters()) < SMALL


def batch_size(device: torch.device, size: int, dtype: torch.dtype) -> int:
    """Faces at once: half the free memory's worth on a GPU, one on a CPU.

    One by one is as fast on a CPU, and gives the same bytes whatever the neighbours.
    """
    if device.type != "cuda":
        return 1
    free, _ = torch.cuda.mem_get_info(device)
    each = FACE_BYTES * (size / 512) ** 2 * dtype.itemsize / 4
    return min(max(int(free / 2 / each), 1), MOST_FACES)


def faces_agree(one: Tensor, other: Tensor) -> bool:
    """Whether two outputs in [-1, 1] are finite and the same to AGREES_DB."""
    error = float((one.float().clamp(-1, 1) - other.float().clamp(-1, 1)).square().mean())
    return bool(np.isfinite(error)) and error <= 4 * 10 ** (-AGREES_DB / 10)


def masks_agree(one: Sequence[NDArray[np.float32]], other: Sequence[NDArray[np.float32]]) -> bool:
    """Whether each mask covers the same pixels to AGREES_IOU; masks of nothing agree on nothing."""
    pairs = [(a > 0.5, b > 0.5) for a, b in zip(one, other, strict=True)]
    return all((a & b).sum() >= AGREES_IOU * (a | b).sum() > 0 for a, b in pairs)


def machine_of(device: torch.device) -> str:
    """What a probe's result depends on besides the network."""
    is_cuda = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if is_cuda else f"{_cpu_name()} x{torch.get_num_threads()}"
    return f"{device.type} {name}, torch {torch.__version__}"


def file_of(path: Path) -> str:
    """A file by name, size and age: its content is hashed elsewhere, where it matters for more than speed."""
    facts = path.stat()
    return f"{path.resolve()} {facts.st_size} {facts.st_mtime_ns}"


def compiled(net: torch.nn.Module, batch: Tensor) -> Run | None:
    """The network through `torch.compile`, ready to run; None where this machine cannot compile or gets another face.

    What the compiler made is kept in the cache folder for the next run.

    Args:
        batch: the probe, as the network will be given its faces.
    """
    chosen = os.environ.get(COMPILER_FOLDER, "")
    if not chosen or Path(chosen).name.startswith("torchinductor_"):  # torch's own choice, among temporary files
        os.environ[COMPILER_FOLDER] = str(cache_folder() / "compiled")
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # it tells that there is no GPU
    run: Run = torch.compile(net)
    with torch.inference_mode():
        batch = batch.clone()  # a tensor of this mode, as faces will be: else the first one is compiled anew
        try:
            return run if faces_agree(net(batch), run(batch)) else None
        except Exception:  # no C++ compiler, or one that fails: each raises its own kind
            return None


def _timed(way: Way[T]) -> tuple[T, float]:
    """Its result and the better of two times, s."""
    times = []
    for _ in range(2):
        start = time.perf_counter()
        out = way.run()
        times.append(time.perf_counter() - start)
    return out, min(times)


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _remembered() -> dict[str, str]:
    try:
        known = json.loads((cache_folder() / MEMORY).read_text())
    except (OSError, ValueError):
        return {}  # none yet
    return known if isinstance(known, dict) else {}


def _remember(known: dict[str, str]) -> None:
    with suppress(OutputError):  # a cache that cannot be written only costs a probe at each run
        write_bytes(cache_folder() / MEMORY, json.dumps(known, indent=1).encode())
