"""The stopwatch, and a restorer whose stages it hears of."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from gfpcli.photo import profile
from gfpcli.photo.profile import STAGES, Stopwatch, observed
from gfpcli.pipeline.restorer import Restorer
from gfpcli.types import Face, Frame, Image
from tests.clocks import SleptTime
from tests.pipeline.test_restorer import FACES, Model, frames, restorer

Make = Callable[[int, int], NDArray[np.uint8]]
CPU = torch.device("cpu")
TWO_STAGES = """
import numpy as np, torch
from gfpcli.photo.profile import Stopwatch
watch = Stopwatch(torch.device("cpu"))
with watch.stage("large"):
    np.ones(30_000_000).sum()
with watch.stage("small"):
    np.ones(10).sum()
difference = watch.spent["large"].peak - watch.spent["small"].peak
assert difference > 200e6, difference
"""


def test_stages_are_summed_by_name_and_sleep_takes_no_processor_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SleptTime()
    monkeypatch.setattr(profile, "time", clock)
    watch = Stopwatch(CPU)
    for name, seconds in (("one", 0.02), ("other", 0.1), ("one", 0.02)):
        with watch.stage(name):
            clock.sleep(seconds)
    assert [watch.spent[name].seconds for name in ("one", "other")] == pytest.approx([0.04, 0.1])
    assert watch.spent["other"].cpu_s < 0.05


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux can reset the peak")
def test_each_stage_has_its_own_peak() -> None:
    """In a process of its own: a heap that keeps what earlier tests freed has its peak behind it."""
    subprocess.run([sys.executable, "-c", TWO_STAGES], check=True, timeout=120)


def slow_detect(images: Sequence[Image]) -> list[tuple[Face, ...]]:
    time.sleep(0.1)
    return [FACES for _ in images]


def test_the_stages_of_a_run_are_observed_and_the_result_is_the_same(smooth_image: Make) -> None:
    parts: Restorer = replace(restorer(Model()), detector=slow_detect)
    (frame,) = frames(smooth_image, 1)
    watch = Stopwatch(CPU)
    result = observed(parts, watch).restore(frame)
    assert (result.image == parts.restore(frame).image).all()
    assert set(watch.spent) == {"detect", "align", "net", "identity", "mask", "paste"}
    assert watch.spent["detect"].seconds > 0.09 > watch.spent["align"].seconds


def test_a_background_network_is_a_stage_of_its_own(smooth_image: Make) -> None:
    watch = Stopwatch(CPU)
    timed = observed(replace(restorer(Model()), upsampler=lambda image, size: image.copy()), watch)
    timed.restore(Frame(0, smooth_image(120, 240), "x"))
    assert set(watch.spent) == {stage for stage in STAGES if stage not in ("decode", "encode")}


def test_only_the_first_device_is_observed(smooth_image: Make) -> None:
    other = Model()
    watch = Stopwatch(CPU)
    observed(replace(restorer(Model()), replicas=(restorer(other),)), watch).restore(frames(smooth_image, 1)[0])
    assert other.batches == [] and "net" in watch.spent
