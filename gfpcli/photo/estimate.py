"""What a run would find and cost, measured on its own inputs; nothing is written.

Inputs are decoded and their faces detected in random order, until all are or the time is up. A few of each output
format also go through the other stages. The whole run is estimated from these by pixels and faces.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray

from gfpcli.errors import GfpError
from gfpcli.files.atomic import sha256_of
from gfpcli.files.formats import SUFFIX_FORMATS
from gfpcli.files.jobs import Job
from gfpcli.options import RestoreOptions
from gfpcli.photo.codec import Photo, size_of
from gfpcli.photo.face_plan import check_unchanged, frame_as_planned
from gfpcli.photo.profile import Stopwatch, decode, encode, observed, resident_memory
from gfpcli.pipeline.faults import FAULTS, fault_text
from gfpcli.pipeline.restorer import Restorer
from gfpcli.pipeline.steps import AlignedFaces, Detected
from gfpcli.stream import MOST
from gfpcli.types import Face, Failed, Frame, Restored

BUDGET_S = 30.0  # for decoding inputs and detecting their faces
N_PROBES = 3  # inputs of each output format, and inputs with faces, that go through all stages
N_FACES = 8  # of each of those that go through the network
N_BEHIND = 5  # finished pictures that wait to be written, where that is the slower part
BYTES = 3  # of a pixel

Cost = NDArray[np.float64]
"""(2,) seconds: by the clock, and of all processor cores together."""


@dataclass(frozen=True, slots=True)
class InputEstimate:
    """What one input holds and would become."""

    job: Job
    size: tuple[int, int]  # (height, width)
    planned: tuple[int, int]  # (height, width) of the result
    n_found: int | None = None  # faces; None where none were looked for
    n_chosen: int = 0  # of them, to be restored
    problem: str | None = None  # why it would fail; sizes are 0 then


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run would do, on this machine as busy as it is now."""

    inputs: tuple[InputEstimate, ...]  # in the order of the jobs
    n_faces: float  # to be restored; extrapolated where not all inputs were looked at
    seconds: float  # of the work, without loading
    memory: int  # bytes of the process, at most
    gpu_memory: int  # bytes on the GPU, at most; 0 without one


@dataclass(slots=True)
class Costs:
    """What was measured: seconds, and the amount (of inputs, pixels or faces) they were spent on."""

    spent: dict[str, Cost] = field(default_factory=dict)
    amounts: dict[str, float] = field(default_factory=dict)
    peak: int = 0  # bytes
    gpu_peak: int = 0

    def add(self, what: str, watch: Stopwatch, stages: Sequence[str], amount: float) -> None:
        """Adds what these stages took, spent on `amount` inputs, pixels or faces."""
        for stage in stages:
            if stage in watch.spent:
                each = watch.spent[stage]
                self.spent[what] = self.spent.get(what, np.zeros(2)) + (each.seconds, each.cpu_s)
                self.peak, self.gpu_peak = max(self.peak, each.peak), max(self.gpu_peak, each.gpu_peak)
        self.amounts[what] = self.amounts.get(what, 0) + amount

    def of(self, what: str, amount: float) -> Cost:
        """What an amount would take; zeros where nothing was measured."""
        return self.spent.get(what, np.zeros(2)) * (amount / max(self.amounts.get(what, 0), 1))


def estimate(jobs: Sequence[Job], restorer: Restorer, options: RestoreOptions, device: torch.device) -> Estimate:
    """Measures a random sample of the inputs for BUDGET_S seconds, and extrapolates to all of them."""
    began, base, costs = time.monotonic(), resident_memory(), Costs()
    inputs: dict[int, InputEstimate] = {}
    n_probed: Counter[str] = Counter()
    for index in shuffled(len(jobs)):
        if inputs and time.monotonic() - began > BUDGET_S:
            break
        inputs[index] = _estimate_input(jobs[index], restorer, options, Stopwatch(device), costs, n_probed)
    for index in set(range(len(jobs))) - set(inputs):
        inputs[index] = _from_header(jobs[index], options)
    ordered = tuple(inputs[index] for index in range(len(jobs)))
    seen = [each for each in ordered if each.n_found is not None]
    n_readable = sum(each.problem is None for each in ordered)
    n_faces = sum(each.n_chosen for each in seen) * n_readable / max(len(seen), 1)
    lanes = _lanes(ordered, n_faces, costs)
    memory = max(base, costs.peak) + _waiting(ordered, seen, options, is_writing_slower=lanes[2][0] > lanes[1][0])
    return Estimate(ordered, n_faces, _together(lanes, n_readable, options), memory, costs.gpu_peak)


def shuffled(n: int) -> list[int]:
    """0 to n - 1, in such an order that any first part is a random sample of the whole; always the same order."""
    return [int(index) for index in np.random.default_rng(0).permutation(n)]


def _estimate_input(
    job: Job, restorer: Restorer, options: RestoreOptions, watch: Stopwatch, costs: Costs, n_probed: Counter[str]
) -> InputEstimate:
    timed, suffix = observed(restorer, watch), job.target.suffix.lower()
    try:
        photo = decode(job.source, watch)
        if job.planned:
            check_unchanged(job, sha256_of(job.source))
            photo = replace(photo, frame=frame_as_planned(photo.frame, job))
        (aligned,) = map(timed.align, timed.detect([photo.frame]))
        if isinstance(aligned, Failed):
            raise aligned.error
        size = photo.frame.image.shape[0], photo.frame.image.shape[1]
        costs.add("read", watch, ["decode"], size[0] * size[1])
        costs.add("look", watch, ["detect", "align"], 1)
        if n_probed[suffix] < N_PROBES or (aligned.crops and n_probed["with faces"] < N_PROBES):
            n_probed[suffix] += 1
            n_probed["with faces"] += bool(aligned.crops)
            _probe(photo, aligned, suffix, restorer, options, watch.device, costs)
    except GfpError as error:
        return InputEstimate(job, (0, 0), (0, 0), problem=str(error))
    except FAULTS as error:
        return InputEstimate(job, (0, 0), (0, 0), problem=f"{job.source}: {fault_text(error, 'not enough memory')}")
    planned = (restorer.model.size,) * 2 if options.aligned else _scaled(size, options.scale)
    return InputEstimate(job, size, planned, len(aligned.faces), len(aligned.crops))


def _from_header(job: Job, options: RestoreOptions) -> InputEstimate:
    """An input of which only the header is read."""
    try:
        size = size_of(job.source)
    except GfpError as error:
        return InputEstimate(job, (0, 0), (0, 0), problem=str(error))
    return InputEstimate(job, size, _scaled(size, options.scale))


def _scaled(size: tuple[int, int], scale: float) -> tuple[int, int]:
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _probe(
    photo: Photo, aligned: AlignedFaces, suffix: str, restorer: Restorer, options: RestoreOptions,
    device: torch.device, costs: Costs,
) -> None:
    """Measures what follows detection: the network and the paste by faces, the rest by pixels of the result."""
    faces = tuple(crop.face for crop in aligned.crops[:N_FACES])
    if faces and "net" not in costs.spent:
        _restore_faces(restorer, aligned.frame, faces[:1])  # the first call of a network is slower
    watch, bare_watch = Stopwatch(device), Stopwatch(device)
    if not options.aligned:  # without its face an aligned picture is nothing
        _restore_faces(observed(restorer, bare_watch), aligned.frame, ())
    result = _restore_faces(observed(restorer, watch), aligned.frame, faces)
    encode(photo, result, SUFFIX_FORMATS[suffix], options, watch)
    n_pixels = result.image.shape[0] * result.image.shape[1]
    costs.add("net", watch, ["net", "mask"], len(faces))
    costs.add("frame", bare_watch, ["background", "paste"], n_pixels)
    costs.add(f"write {suffix}", watch, ["encode"], n_pixels)
    if faces:  # what pasting takes more with faces than without
        costs.add("paste", watch, ["background", "paste"], len(faces))
        costs.spent["paste"] -= costs.of("frame", n_pixels)
        costs.spent["paste"] = np.maximum(costs.spent["paste"], 0)


def _restore_faces(restorer: Restorer, frame: Frame, faces: tuple[Face, ...]) -> Restored:
    """The frame with these of its faces restored. Raises GfpError."""
    (out,) = restorer.stream_detected([Detected(replace(frame, planned=None), faces)])
    if isinstance(out, Failed):
        raise out.error
    return out


def _lanes(inputs: Sequence[InputEstimate], n_faces: float, costs: Costs) -> tuple[Cost, Cost, Cost]:
    """Costs of the threads that run side by side: reading, the networks, writing."""
    pixels_in = sum(each.size[0] * each.size[1] for each in inputs)
    pixels_out: Counter[str] = Counter()
    for each in inputs:
        pixels_out[each.job.target.suffix.lower()] += each.planned[0] * each.planned[1]
    n_readable = sum(each.problem is None for each in inputs)
    main = costs.of("look", n_readable) + costs.of("net", n_faces) + costs.of("paste", n_faces)
    main = main + costs.of("frame", sum(pixels_out.values()))
    write = sum((costs.of(f"write {suffix}", n) for suffix, n in pixels_out.items()), np.zeros(2))
    return costs.of("read", pixels_in), main, write


def _together(lanes: tuple[Cost, Cost, Cost], n_inputs: int, options: RestoreOptions) -> float:
    """Seconds of all threads side by side: the slowest one or all work shared by the cores, and the first read and
    last write, while the others wait.

    Where other programs keep the cores busy, threads slow each other down: the more encoding had to wait for a core
    while it was measured, the more of its time is added to the networks'.
    """
    read, main, write = lanes
    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    work = sum(float(each.max()) for each in lanes) / n_cores
    ends = (read[0] + write[0]) / max(n_inputs, 1)
    waited = max(0.0, 1 - write[1] / write[0]) if write[0] else 0.0  # encoding never sleeps by itself
    return float(max(main[0] + waited * write[0], write[0], read[0] / options.n_threads, work) + ends)


def _waiting(
    inputs: Sequence[InputEstimate], seen: Sequence[InputEstimate], options: RestoreOptions, *, is_writing_slower: bool
) -> int:
    """Bytes of the largest pictures that may wait at once, besides what was measured with one picture at a time."""
    ins = sorted((each.size[0] * each.size[1] * BYTES for each in inputs), reverse=True) or [0]
    outs = sorted((each.planned[0] * each.planned[1] * BYTES for each in inputs), reverse=True) or [0]
    largest_seen = max((each.planned[0] * each.planned[1] * BYTES for each in seen), default=0)
    unseen = 3 * max(outs[0] - largest_seen, 0)  # the result, its encoder's copy and its bytes
    waiting_in = min(sum(ins[: options.n_threads + 2]), max(MOST, ins[0]))
    waiting_out = min(sum(outs[: N_BEHIND if is_writing_slower else 1]), max(MOST, outs[0]))
    return waiting_in + waiting_out + unseen
