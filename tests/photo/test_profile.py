"""The stopwatch, and a restorer whose ports are timed."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from gfpcli.photo.profile import PORTS, Stopwatch, assemble, find, make, watched
from gfpcli.pipeline.restorer import Restorer
from gfpcli.types import Face, Frame, Image
from tests.pipeline.test_restorer import FACES, Model, frames, restorer

Make = Callable[[int, int], NDArray[np.uint8]]
CPU = torch.device("cpu")


def test_a_stage_within_a_stage_counts_for_itself_only() -> None:
    watch = Stopwatch(CPU)
    with watch.stage("outer"):
        time.sleep(0.02)
        with watch.stage("inner"):
            time.sleep(0.1)
        time.sleep(0.02)
    assert 0.04 <= watch.spent["outer"].seconds < 0.09 < watch.spent["inner"].seconds
    assert watch.spent["inner"].cpu_s < 0.05


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux can reset the peak")
def test_each_stage_has_its_own_peak() -> None:
    watch = Stopwatch(CPU)
    with watch.stage("large"):
        np.ones(30_000_000).sum()
    with watch.stage("small"):
        np.ones(10).sum()
    assert watch.spent["large"].peak - watch.spent["small"].peak > 200e6


def slow_detect(image: Image) -> tuple[Face, ...]:
    time.sleep(0.1)
    return FACES


def test_ports_are_timed_and_the_result_is_the_same(smooth_image: Make) -> None:
    parts: Restorer = replace(restorer(Model()), detector=slow_detect)
    (frame,) = frames(smooth_image, 1)
    watch = Stopwatch(CPU)
    timed = watched(parts, watch)
    found = find(timed, frame, watch)
    result = assemble(timed, found, make(timed, found.crops, watch), watch)
    assert (result.image == parts.restore(frame).image).all()
    assert set(watch.spent) == {"detect", "align", "net", "mask", "paste"}
    assert watch.spent["detect"].seconds > 0.09 > watch.spent["align"].seconds


def test_a_background_network_is_a_stage_and_lanczos_is_none(smooth_image: Make) -> None:
    watch = Stopwatch(CPU)
    timed = watched(replace(restorer(Model()), upsampler=lambda image, size: image.copy()), watch)
    found = find(timed, Frame(0, smooth_image(120, 240), "x"), watch)
    assemble(timed, found, make(timed, found.crops, watch), watch)
    assert set(PORTS.values()) <= set(watch.spent)
