"""What a dry run reckons, with stages whose cost is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from gfpcli.files.jobs import Job
from gfpcli.options import RestoreOptions
from gfpcli.photo import estimate as module
from gfpcli.photo import profile
from gfpcli.photo.estimate import estimate, shuffled
from gfpcli.pipeline.restorer import Restorer
from gfpcli.types import Face, Image, PictureBatch
from tests.clocks import SleptTime
from tests.pipeline.test_restorer import FACES, Model, restorer

Make = Callable[[int, int], NDArray[np.uint8]]
OPTIONS = RestoreOptions(scale=1)
CPU = torch.device("cpu")


class SlowModel(Model):
    """Takes 0.03 s of a clock for each face."""

    def __init__(self, clock: SleptTime) -> None:
        super().__init__()
        self.clock = clock

    def __call__(self, faces: PictureBatch) -> PictureBatch:
        self.clock.sleep(0.03 * len(faces))
        return super().__call__(faces)


def slow_restorer(clock: SleptTime) -> Restorer:
    """Its detector takes 0.02 s of the clock for each picture."""

    def detect(images: Sequence[Image]) -> list[tuple[Face, ...]]:
        clock.sleep(0.02 * len(images))
        return [FACES for _ in images]

    return replace(restorer(SlowModel(clock)), detector=detect)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SleptTime:
    found = SleptTime()
    for each in (module, profile):
        monkeypatch.setattr(each, "time", found)
    return found


@pytest.fixture
def jobs(tmp_path: Path, smooth_image: Make) -> list[Job]:
    for i in range(20):
        cv2.imwrite(str(tmp_path / f"{i:02d}.png"), smooth_image(120, 240))
    (tmp_path / "07.png").write_text("not an image")
    return [Job(path, tmp_path / "out" / path.name) for path in sorted(tmp_path.glob("*.png"))]


@pytest.mark.parametrize("n", [1, 2, 5, 400])
def test_any_first_part_of_the_order_stands_for_the_whole(n: int) -> None:
    order = shuffled(n)
    assert sorted(order) == list(range(n))
    if n == 400:
        for period in (2, 3, 5, 8, 44):
            assert np.bincount(np.array(order[:200]) % period, minlength=period).min() > 0
        assert 60 < sum(index < 200 for index in order[:200]) < 140


def test_time_faces_and_failures_are_foreseen(jobs: list[Job], clock: SleptTime) -> None:
    plan = estimate(jobs, slow_restorer(clock), OPTIONS, CPU)
    assert [each.job for each in plan.inputs] == jobs
    assert [each.n_chosen for each in plan.inputs] == [2] * 7 + [0] + [2] * 12
    assert plan.n_faces == 38 and plan.inputs[0].planned == (120, 240)
    assert "07.png" in (plan.inputs[7].problem or "") and plan.inputs[7].n_found is None
    assert plan.seconds == pytest.approx(19 * (0.02 + 2 * 0.03))
    assert plan.memory > 50e6 and plan.gpu_memory == 0
    assert not (jobs[0].target.parent).exists()


def test_many_inputs_are_reckoned_from_a_sample(
    jobs: list[Job], clock: SleptTime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BUDGET_S", 0.3)
    plan = estimate(jobs, slow_restorer(clock), OPTIONS, CPU)
    n_seen = sum(each.n_found is not None for each in plan.inputs)
    assert 1 <= n_seen < 15
    assert plan.n_faces == 38
    assert plan.seconds == pytest.approx(19 * 0.08)
    assert plan.inputs[7].problem and plan.inputs[-1].planned == (120, 240)


def test_a_result_that_its_format_cannot_hold_is_foreseen(tmp_path: Path, smooth_image: Make) -> None:
    cv2.imwrite(str(tmp_path / "wide.png"), np.zeros((2, 9000, 3), np.uint8))
    job = Job(tmp_path / "wide.png", tmp_path / "out" / "wide.webp")
    parts = replace(restorer(Model()), options=RestoreOptions(scale=2))
    (each,) = estimate([job], parts, RestoreOptions(scale=2), CPU).inputs
    assert each.problem and "WebP" in each.problem


def test_a_fault_of_a_library_is_not_called_a_lack_of_memory(jobs: list[Job], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise cv2.error("OpenCV(4.9) error: (-215:Assertion failed)")

    monkeypatch.setattr(module, "encode", broken)
    (each,) = estimate(jobs[:1], restorer(Model()), OPTIONS, CPU).inputs
    assert "Assertion failed" in str(each.problem) and "memory" not in str(each.problem)
