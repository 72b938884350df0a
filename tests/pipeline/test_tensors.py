"""Torch's side of the ports: no copies that are not needed, and memory that is free again after a failure."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
import torch

from gfpcli.pipeline.arrays import to_batch
from gfpcli.pipeline.tensors import DTYPES, ArrayNet, inference, place, to_images, to_tensor

CPU = torch.device("cpu")


def test_a_batch_of_pictures_is_placed_without_a_copy_and_others_channels_last() -> None:
    batch = to_batch([np.zeros((8, 6, 3), np.uint8)] * 2)
    with inference():
        placed = place(batch, CPU)
        assert placed.is_inference() and placed.is_contiguous(memory_format=torch.channels_last)
    assert placed.data_ptr() == batch.ctypes.data
    plain = np.ascontiguousarray(batch)
    for given in (plain, plain[..., ::-1]):
        assert place(given, CPU).is_contiguous(memory_format=torch.channels_last)
        assert (place(given, CPU).numpy() == given).all()
    assert place(batch, CPU, torch.bfloat16).dtype == torch.bfloat16


def test_networks_give_float32_arrays() -> None:
    net = ArrayNet(lambda batch: batch * 2, CPU, torch.bfloat16)
    out = net(np.full((1, 3, 2, 2), 0.5, np.float32))
    assert out.dtype == np.float32 and (out == 1).all()
    pair = ArrayNet(lambda batch: (batch, batch.sum((1, 2, 3))), CPU).answers(np.ones((2, 3, 2, 2), np.float32))
    assert [each.shape for each in pair] == [(2, 3, 2, 2), (2,)]


def test_what_failed_holds_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    emptied: list[bool] = []
    alive: list[weakref.ref[torch.Tensor]] = []

    def greedy(batch: torch.Tensor) -> torch.Tensor:
        held = torch.zeros(9)
        alive.append(weakref.ref(held))
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append(alive[-1]() is None))
    with pytest.raises(torch.OutOfMemoryError):
        ArrayNet(greedy, CPU)(np.zeros((1, 3, 2, 2), np.float32))
    gc.collect()
    assert emptied == [True], "the tensor was gone before the cache was emptied"


def test_pictures_go_to_tensors_and_back() -> None:
    image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3) * 5
    assert to_tensor([image]).shape == (1, 3, 4, 4) and (to_images(to_tensor([image]))[0] == image).all()


def test_precisions_have_their_names() -> None:
    assert {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16} == DTYPES
