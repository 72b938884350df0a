"""What a run would find and cost, measured on its own inputs; nothing is written.

Inputs are looked at (decoded, faces found) in random order, until all are or the time is up. A few
of each output format also go through the other stages. All together is reckoned from these by pixels and faces.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from gfpcli.errors import GfpError, failure_line
from gfpcli.files.formats import SUFFIX_FORMATS
from gfpcli.files.jobs import Job
from gfpcli.options import RestoreOptions
from gfpcli.photo.codec import size_of
from gfpcli.photo.profile import Stopwatch, assemble, decode, encode, find, make, resident_memory, watched
from gfpcli.pipeline.restorer import Restorer
from gfpcli.pipeline.steps import Found
from gfpcli.stream import MOST
from gfpcli.types import FaceOutcome

BUDGET_S = 30.0  # for looking
N_PROBES = 3  # inputs of each output format, and inputs with faces, that go through all stages
N_FACES = 8  # of each of those that go through the network
N_BEHIND = 5  # finished pictures that wait to be written, where that is the slower part
BYTES = 3  # of a pixel

Cost = NDArray[np.float64]
"""(2,) seconds: by the clock, and of all processor cores together."""


@dataclass(frozen=True, slots=True)
class Look:
    """What is known of one input."""

    job: Job
    size: tuple[int, int]  # (height, width)
    planned: tuple[int, int]  # (height, width) of the result
    n_found: int | None = None  # None where it was not looked at
    n_chosen: int = 0  # of them, to be restored
    problem: str | None = None  # why it would fail; sizes are 0 then


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run would do, on this machine as busy as it is now."""

    looks: tuple[Look, ...]  # in the order of the jobs
    n_faces: float  # to be restored; reckoned where not all inputs were looked at
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
        """Takes stages of a watch as the cost of an amount."""
        for stage in stages:
            if stage in watch.spent:
                each = watch.spent[stage]
                self.spent[what] = self.spent.get(what, np.zeros(2)) + (each.seconds, each.cpu_s)
                self.peak, self.gpu_peak = max(self.peak, each.peak), max(self.gpu_peak, each.gpu_peak)
        self.amounts[what] = self.amounts.get(what, 0) + amount

    def of(self, what: str, amount: float) -> Cost:
        """The cost of an amount; nothing where nothing was measured."""
        return self.spent.get(what, np.zeros(2)) * (amount / max(self.amounts.get(what, 0), 1))


def estimate(jobs: Sequence[Job], restorer: Restorer, options: RestoreOptions, device: torch.device) -> Estimate:
    """Looks, measures and reckons."""
    began, base, costs = time.monotonic(), resident_memory(), Costs()
    looks: dict[int, Look] = {}
    n_probed: Counter[str] = Counter()
    for index in shuffled(len(jobs)):
        if looks and time.monotonic() - began > BUDGET_S:
            break
        looks[index] = _look(jobs[index], restorer, options, Stopwatch(device), costs, n_probed)
    for index in set(range(len(jobs))) - set(looks):
        looks[index] = _glance(jobs[index], options)
    ordered = tuple(looks[index] for index in range(len(jobs)))
    seen = [look for look in ordered if look.n_found is not None]
    n_readable = sum(look.problem is None for look in ordered)
    n_faces = sum(look.n_chosen for look in seen) * n_readable / max(len(seen), 1)
    lanes = _lanes(ordered, n_faces, costs)
    memory = max(base, costs.peak) + _waiting(ordered, seen, options, is_writing_slower=lanes[2][0] > lanes[1][0])
    return Estimate(ordered, n_faces, _together(lanes, n_readable, options), memory, costs.gpu_peak)


def shuffled(n: int) -> list[int]:
    """0 to n - 1, in such an order that any first part is a random sample of the whole; always the same order."""
    return [int(index) for index in np.random.default_rng(0).permutation(n)]


def _look(
    job: Job, restorer: Restorer, options: RestoreOptions, watch: Stopwatch, costs: Costs, n_probed: Counter[str]
) -> Look:
    timed, suffix = watched(restorer, watch), job.target.suffix.lower()
    try:
        frame = decode(job.source, watch)
        found = find(timed, frame, watch)
        size = frame.image.shape[0], frame.image.shape[1]
        costs.add("read", watch, ["decode"], size[0] * size[1])
        costs.add("look", watch, ["detect", "align"], 1)
        if n_probed[suffix] < N_PROBES or (found.crops and n_probed["with faces"] < N_PROBES):
            n_probed[suffix] += 1
            n_probed["with faces"] += bool(found.crops)
            _probe(found, suffix, restorer, options, watch.device, costs)
    except (GfpError, MemoryError, torch.OutOfMemoryError, cv2.error) as error:
        return Look(job, (0, 0), (0, 0), problem=failure_line(job.source, error))
    planned = (restorer.model.size,) * 2 if options.aligned else _scaled(size, options.scale)
    return Look(job, size, planned, len(found.faces), len(found.crops))


def _glance(job: Job, options: RestoreOptions) -> Look:
    """The header only."""
    try:
        size = size_of(job.source)
    except GfpError as error:
        return Look(job, (0, 0), (0, 0), problem=str(error))
    return Look(job, size, _scaled(size, options.scale))


def _scaled(size: tuple[int, int], scale: float) -> tuple[int, int]:
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _probe(
    found: Found, suffix: str, restorer: Restorer, options: RestoreOptions, device: torch.device, costs: Costs
) -> None:
    """Measures what follows the look: the network and the paste by faces, the rest by pixels of the result."""
    crops = found.crops[:N_FACES]
    if crops and "net" not in costs.spent:
        restorer.restore_crops(crops[:1])  # the first call of a network is slower
    watch, bare_watch = Stopwatch(device), Stopwatch(device)
    timed = watched(restorer, watch)
    faces = make(timed, crops, watch)
    few = replace(
        found, faces=tuple(crop.face for crop in crops), outcomes=(FaceOutcome("restored"),) * len(crops), crops=crops
    )
    if not options.aligned:  # without its face an aligned picture is nothing
        bare = replace(found, faces=(), outcomes=(), crops=())
        assemble(watched(restorer, bare_watch), bare, (), bare_watch)
    result = assemble(timed, few, faces, watch)
    encode(result, SUFFIX_FORMATS[suffix], options, watch)
    n_pixels = result.image.shape[0] * result.image.shape[1]
    costs.add("net", watch, ["net", "mask"], len(crops))
    costs.add("frame", bare_watch, ["background", "paste"], n_pixels)
    costs.add(f"write {suffix}", watch, ["encode"], n_pixels)
    if crops:  # what pasting takes more with faces than without
        costs.add("paste", watch, ["background", "paste"], len(crops))
        costs.spent["paste"] -= costs.of("frame", n_pixels)
        costs.spent["paste"] = np.maximum(costs.spent["paste"], 0)


def _lanes(looks: Sequence[Look], n_faces: float, costs: Costs) -> tuple[Cost, Cost, Cost]:
    """Costs of what goes on side by side: reading, the network's thread, writing."""
    pixels_in = sum(look.size[0] * look.size[1] for look in looks)
    pixels_out: Counter[str] = Counter()
    for look in looks:
        pixels_out[look.job.target.suffix.lower()] += look.planned[0] * look.planned[1]
    n_readable = sum(look.problem is None for look in looks)
    main = costs.of("look", n_readable) + costs.of("net", n_faces) + costs.of("paste", n_faces)
    main = main + costs.of("frame", sum(pixels_out.values()))
    write = sum((costs.of(f"write {suffix}", n) for suffix, n in pixels_out.items()), np.zeros(2))
    return costs.of("read", pixels_in), main, write


def _together(lanes: tuple[Cost, Cost, Cost], n_inputs: int, options: RestoreOptions) -> float:
    """Seconds of all lanes side by side: the slowest, or what the cores can do; and the ends, where one waits.

    Where other programs keep the cores busy, lanes do not run side by side for nothing: the more encoding had
    to wait for a core while it was measured, the more of its time adds to the network's.
    """
    read, main, write = lanes
    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    work = sum(float(each.max()) for each in lanes) / n_cores
    ends = (read[0] + write[0]) / max(n_inputs, 1)
    waited = max(0.0, 1 - write[1] / write[0]) if write[0] else 0.0  # encoding never sleeps by itself
    return float(max(main[0] + waited * write[0], write[0], read[0] / options.n_threads, work) + ends)


def _waiting(looks: Sequence[Look], seen: Sequence[Look], options: RestoreOptions, *, is_writing_slower: bool) -> int:
    """Bytes of the largest pictures that may wait at once, besides what was measured with one picture at a time."""
    ins = sorted((look.size[0] * look.size[1] * BYTES for look in looks), reverse=True) or [0]
    outs = sorted((look.planned[0] * look.planned[1] * BYTES for look in looks), reverse=True) or [0]
    largest_seen = max((look.planned[0] * look.planned[1] * BYTES for look in seen), default=0)
    unseen = 3 * max(outs[0] - largest_seen, 0)  # the result, its encoder's copy and its bytes
    waiting_in = min(sum(ins[: options.n_threads + 2]), max(MOST, ins[0]))
    waiting_out = min(sum(outs[: N_BEHIND if is_writing_slower else 1]), max(MOST, outs[0]))
    return waiting_in + waiting_out + unseen
