"""Frames of a clip side by side on the CPU: one thread for each call of a network, and the same bytes."""

from __future__ import annotations

from dataclasses import replace
from threading import Barrier

import numpy as np
import pytest
import torch

from gfpcli.options import RestoreOptions, VideoOptions
from gfpcli.pipeline.restorer import Restorer
from gfpcli.types import Frame, PictureBatch, Restored
from gfpcli.weights.build import load_restorer
from gfpcli.weights.choose import choose_parts
from gfpcli.weights.threads import MOST_AT_ONCE, OneThreadModel, on_one_thread
from tests.clips import talking

OPTIONS = VideoOptions(model="compact", detector="builtin", mask="soft", device="cpu", offline=True, precision="fp32")
N_AT_ONCE = 2


@pytest.fixture(scope="module")
def restorer() -> Restorer:
    return load_restorer(OPTIONS, choose_parts(OPTIONS, warn=lambda line: None))


class Meeting:
    """A face network that waits until so many calls are in it at once."""

    size = 256

    def __init__(self) -> None:
        self.barrier = Barrier(N_AT_ONCE)

    def __call__(self, faces: PictureBatch) -> PictureBatch:
        self.barrier.wait(20)
        return faces


def test_a_call_takes_one_thread_and_leaves_the_setting_as_it_was() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert on_one_thread(torch.get_num_threads, 3)() == 1 and torch.get_num_threads() == 3
        model = OneThreadModel(lambda faces: faces * torch.get_num_threads(), 3)  # type: ignore[arg-type]
        assert model(np.full((1, 3, 2, 2), 5, np.float32)).max() == 5 and torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_clips_alone_are_restored_so(restorer: Restorer) -> None:
    assert isinstance(restorer.model, OneThreadModel)
    assert restorer.n_at_once == min(torch.get_num_threads(), MOST_AT_ONCE)
    photos = RestoreOptions(model="compact", detector="builtin", device="cpu", offline=True, precision="fp32")
    assert not isinstance(load_restorer(photos, choose_parts(photos, warn=print)).model, OneThreadModel)


def test_batches_are_in_work_at_once_and_come_out_in_order(restorer: Restorer) -> None:
    frames = [Frame(i, image, str(i)) for i, image in enumerate(talking(4))]
    together = replace(restorer, model=Meeting(), n_at_once=N_AT_ONCE)
    results = list(together.stream(frames))
    assert [result.frame.index for result in results if isinstance(result, Restored)] == [0, 1, 2, 3]


def test_the_bytes_do_not_depend_on_how_many_are_in_work(restorer: Restorer) -> None:
    frames = [Frame(i, image, str(i)) for i, image in enumerate(talking(4))]
    one, other = (
        [result.image for result in replace(restorer, n_at_once=n).stream(frames) if isinstance(result, Restored)]
        for n in (1, 3)
    )
    assert len(one) == len(other) == 4 and all(map(np.array_equal, one, other))
