"""What a test of files sees of the disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is brought to the disk (`sync NAME`) and renamed (`name NAME`), in order; hidden names read `part`."""
    seen: list[str] = []
    true_sync, true_replace = os.fsync, Path.replace

    def sync(handle: int) -> None:
        true_sync(handle)
        seen.append(f"sync {_short(Path(f'/proc/self/fd/{handle}').readlink().name)}")

    def replace(self: Path, target: Path) -> Path:
        seen.append(f"name {target.name}")
        return true_replace(self, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Path, "replace", replace)
    return seen


def _short(name: str) -> str:
    return "part" if name.endswith(".part") else name
