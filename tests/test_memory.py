"""How memory that runs out is told."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from gfpcli import memory
from gfpcli.memory import free_memory, is_out_of_memory, lacking


def test_every_library_s_way_of_saying_so_is_known() -> None:
    told: list[BaseException] = [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("MPS backend out of memory"),
        RuntimeError("CUBLAS_STATUS_ALLOC_FAILED"),
    ]
    for take in (lambda: torch.empty(1 << 50), lambda: np.empty(1 << 55, np.uint8), lambda: bytearray(1 << 60)):
        with pytest.raises((RuntimeError, MemoryError)) as caught:
            take()
        told.append(caught.value)
    assert all(is_out_of_memory(error) for error in told), told
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_out_of_memory(cv2.error("(-215:Assertion failed) !_src.empty() in function 'cvtColor'"))


def test_what_is_free_is_known_and_what_lacks_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    free = free_memory()
    assert free is not None and 1 << 24 < free < 1 << 50
    assert lacking(1) is None
    assert "it needs about 1000000.0 GB" in str(lacking(1e15))
    monkeypatch.setattr(memory, "free_memory", lambda: None)
    assert lacking(1e15) is None  # where the system does not say, nothing is refused
