"""A few kills; `make torture` has 26, with videos and trainings, and `make load` 2,000 photos."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.launcher import Launcher
from tests.faults.load import run_load, run_repeats
from tests.faults.torture import interrupt_photos, kill_downloads, kill_photos, watch_and_interrupt


@pytest.fixture(scope="module")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launcher]:
    folder = tmp_path_factory.mktemp("launcher")
    with Launcher(folder / "log", GFP_HOME=str(folder / "none")) as each:
        yield each


def test_photos(launcher: Launcher, tmp_path: Path) -> None:
    kill_photos(launcher, tmp_path, random.Random(3), 2, n_photos=8)


def test_a_download(tmp_path: Path) -> None:
    kill_downloads(tmp_path, random.Random(5), 2, seconds=3.0)


def test_ctrl_c(launcher: Launcher, tmp_path: Path) -> None:
    assert interrupt_photos(launcher, tmp_path) < 5  # s of the processor


def test_a_watch_ends_by_ctrl_c_and_goes_on(launcher: Launcher, tmp_path: Path) -> None:
    watch_and_interrupt(launcher, tmp_path)


def test_many_photos_in_many_folders_and_the_same_bytes_again(launcher: Launcher, tmp_path: Path) -> None:
    assert "nothing done" in run_load(launcher, tmp_path / "load", 60, 12)
    assert "byte-identical" in run_repeats(launcher, tmp_path / "repeats", 8, 3)
