"""Pick the fastest precision whose output matches fp32; measured once per machine, then remembered in the cache."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from gfpcli.errors import CheckpointError, GfpError, OutputError
from gfpcli.files.atomic import write_bytes
from gfpcli.pipeline.arrays import to_batch
from gfpcli.types import PictureBatch
from gfpcli.weights.cache import BUILTIN, cache_folder
from gfpcli.weights.cpu import ISA_LIMIT, cpu_name

if TYPE_CHECKING:  # a run by onnxruntime does not load it
    import torch
    from torch import Tensor

MATCH_DB = 40.0  # dB, least PSNR of a face against the one in fp32
MATCH_IOU = 0.99  # least overlap of a mask with the one in fp32 at full size
WORTH = 1.15  # times as fast as the candidate that it replaces, at least
SMALL = 20_000_000  # weights; a smaller network is not timed: what is fast for it is known by the CPU's instructions
COMPILE_FROM = 500  # inputs of a run, from which compiling saves more time than it takes
COMPILER_FOLDER = "TORCHINDUCTOR_CACHE_DIR"
MEMORY = "fastest.json"  # in the cache folder: the choices of earlier runs
FACE_BYTES = 1 << 30  # of a GPU's memory for a face of 512 px in fp32, reckoned on the safe side
MOST_FACES = 32  # at once
PROBE_PHOTO = BUILTIN / "probe.jpg"  # two faces side by side (NASA, US Navy: public domain)
HALVES = {"cpu": ("bf16",), "cuda": ("bf16", "fp16"), "mps": ("fp16",)}
T = TypeVar("T")
NetFunction: TypeAlias = "Callable[[Tensor], Tensor]"


@dataclass(frozen=True, slots=True, eq=False)
class Candidate(Generic[T]):
    """One precision (or size) to run a network in; `run` gives its output for the probe.

    It may raise RuntimeError, or GfpError, such as for a network that cannot be exported: all but the reference are
    then passed over.
    """

    name: str
    run: Callable[[], T]


def probe_faces(size: int) -> list[NDArray[np.uint8]]:
    """Two aligned faces (size, size, 3) BGR."""
    pair = cv2.imread(str(PROBE_PHOTO))
    if pair is None:
        raise CheckpointError(f"{PROBE_PHOTO}: missing or damaged; install gfpcli again")
    halves = np.split(np.asarray(pair, np.uint8), 2, axis=1)
    return [np.asarray(cv2.resize(half, (size, size), interpolation=cv2.INTER_AREA), np.uint8) for half in halves]


def probe_batch(size: int) -> PictureBatch:
    """The first probe face as (1, 3, size, size) RGB in [-1, 1]."""
    return to_batch(probe_faces(size)[:1])


def fastest_matching(candidates: Sequence[Candidate[T]], matches: Callable[[T, T], bool], key: str) -> str:
    """The name of the fastest candidate whose output matches the first one's; remembered under `key`.

    Args:
        matches: of the first candidate's output and another's.
        key: what was measured, with `machine_of` in it.
    """
    known = _remembered()
    if known.get(key) in [candidate.name for candidate in candidates]:
        return known[key]
    reference, best_s = _time_candidate(candidates[0])
    best = candidates[0].name
    for candidate in candidates[1:]:
        try:
            out, seconds = _time_candidate(candidate)
        except (RuntimeError, GfpError):  # the network cannot be run so here
            continue
        if seconds * WORTH < best_s and matches(reference, out):
            best, best_s = candidate.name, seconds
    _remember({**known, key: best})
    return best


def first_matching(candidates: Sequence[Candidate[T]], matches: Callable[[T, T], bool], key: str) -> str:
    """The name of the first candidate after the reference whose output matches it; remembered under `key`.

    Nothing is timed: what it says is the same in every process of a machine, whatever else that is doing.

    Args:
        candidates: the reference, which is taken where nothing matches, then the others, the best first.
        matches, key: as of `fastest_matching`.
    """
    known = _remembered()
    if known.get(key) in [candidate.name for candidate in candidates]:
        return known[key]
    reference, best = candidates[0].run(), candidates[0].name
    for candidate in candidates[1:]:
        with suppress(RuntimeError, GfpError):  # the network cannot be run so here
            if matches(reference, candidate.run()):
                best = candidate.name
                break
    _remember({**_remembered(), key: best})
    return best


def is_small(net: torch.nn.Module) -> bool:
    """Whether a network's precision is chosen without timing it."""
    return sum(weight.numel() for weight in net.parameters()) < SMALL


def batch_size(device: torch.device, size: int, dtype: torch.dtype) -> int:
    """Faces in one call of a network: as many as half the free memory of a GPU holds, one on a CPU.

    One by one is as fast on a CPU, and the bytes of a face do not depend on the others of its batch.
    """
    if device.type != "cuda":
        return 1
    import torch

    free, _ = torch.cuda.mem_get_info(device)
    each = FACE_BYTES * (size / 512) ** 2 * dtype.itemsize / 4
    return min(max(int(free / 2 / each), 1), MOST_FACES)


def faces_match(one: PictureBatch, other: PictureBatch) -> bool:
    """Whether two outputs in [-1, 1] are finite and the same to MATCH_DB."""
    error = float(np.square(np.clip(one, -1, 1) - np.clip(other, -1, 1)).mean())
    return bool(np.isfinite(error)) and error <= 4 * 10 ** (-MATCH_DB / 10)


def masks_match(one: Sequence[NDArray[np.float32]], other: Sequence[NDArray[np.float32]]) -> bool:
    """Whether each mask covers the same pixels to MATCH_IOU; empty masks do not match."""
    pairs = [(a > 0.5, b > 0.5) for a, b in zip(one, other, strict=True)]
    return all((a & b).sum() >= MATCH_IOU * (a | b).sum() > 0 for a, b in pairs)


def machine_of(device: torch.device | None) -> str:
    """What speed and precision depend on besides the network: device, its name, threads, version of torch.

    A CPU whose instructions are limited for oneDNN is another machine. None: onnxruntime runs it, without torch.
    """
    if device is None:
        return f"onnxruntime, {cpu_name()} x{cv2.getNumThreads()}"
    import torch

    is_cuda = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if is_cuda else f"{cpu_name()} x{torch.get_num_threads()}"
    if not is_cuda and (limit := os.environ.get(ISA_LIMIT)):
        name += f" up to {limit}"
    return f"{device.type} {name}, torch {torch.__version__}"


def file_identity(path: Path) -> str:
    """A file by name, size and age: its content is hashed elsewhere, where it matters for more than speed."""
    facts = path.stat()
    return f"{path.resolve()} {facts.st_size} {facts.st_mtime_ns}"


def compiled(net: torch.nn.Module, batch: Tensor) -> NetFunction | None:
    """The network through `torch.compile`, ready to run; None where that fails here, or changes the face.

    The compiled code is kept in the cache folder for the next run.

    Args:
        batch: the probe, as the network will be given its faces.
    """
    chosen = os.environ.get(COMPILER_FOLDER, "")
    if not chosen or Path(chosen).name.startswith("torchinductor_"):  # torch's own choice, among temporary files
        os.environ[COMPILER_FOLDER] = str(cache_folder() / "compiled")
    import torch

    from gfpcli.model.gfpgan import GFPGAN, Halves
    from gfpcli.pipeline.tensors import to_array

    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # it tells that there is no GPU
    run: NetFunction
    if isinstance(net, GFPGAN):  # by halves: a clip runs them apart, and neither is compiled twice
        run = Halves(torch.compile(net.encode), torch.compile(net.decode))
    else:
        run = torch.compile(net)
    with torch.inference_mode():
        batch = batch.clone()  # a tensor of this mode, as faces will be: else the first one is compiled anew
        try:
            return run if faces_match(to_array(net(batch)), to_array(run(batch))) else None
        except Exception:  # no C++ compiler, or one that fails: each raises its own kind
            return None


def _time_candidate(candidate: Candidate[T]) -> tuple[T, float]:
    """Its output for the probe and the better of two times, s."""
    times = []
    for _ in range(2):
        start = time.perf_counter()
        out = candidate.run()
        times.append(time.perf_counter() - start)
    return out, min(times)


def _remembered() -> dict[str, str]:
    try:
        known = json.loads((cache_folder() / MEMORY).read_text())
    except (OSError, ValueError):
        return {}  # none yet
    return known if isinstance(known, dict) else {}


def _remember(known: dict[str, str]) -> None:
    with suppress(OutputError):  # a cache that cannot be written only costs a probe at each run
        write_bytes(cache_folder() / MEMORY, json.dumps(known, indent=1).encode())
