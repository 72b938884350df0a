"""Shared fixtures: where the test data lies, seeding, tiny images."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of test photos and faces that is not part of the repository."""
    folder = Path(os.environ.get("GFP_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"test data not present: {folder} (set GFP_TEST_DATA)")
    return folder


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test has an empty weights cache of its own, so that no machine's cache changes a result."""
    monkeypatch.setenv("GFP_HOME", str(tmp_path_factory.mktemp("gfp-home")))
    yield


@pytest.fixture
def store() -> Iterator[fsspec.AbstractFileSystem]:
    """An empty `memory://`."""
    files = fsspec.filesystem("memory")
    files.store.clear()
    files.pseudo_dirs[:] = [""]
    yield files
    files.store.clear()
    files.pseudo_dirs[:] = [""]


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator with a fixed seed."""
    return np.random.default_rng(20210611)


@pytest.fixture
def smooth_image(rng: np.random.Generator) -> Callable[[int, int], NDArray[np.uint8]]:
    """Makes an (H, W, 3) uint8 image with detail at photo-like scales."""
    import cv2

    def make(height: int, width: int) -> NDArray[np.uint8]:
        coarse = rng.integers(0, 256, (height // 8 + 2, width // 8 + 2, 3), dtype=np.uint8)
        return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)

    return make


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """This process computes as a worker of one core does: sums of several threads may differ in their last bits."""
    import cv2
    import torch

    before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    yield
    torch.set_num_threads(before[0])
    cv2.setNumThreads(before[1])
