"""The fastest candidate whose output matches: chosen by time, checked by output, remembered."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from gfpcli.weights import autotune
from gfpcli.weights.cache import cache_folder

CPU = torch.device("cpu")


def same(one: int, other: int) -> bool:
    return one == other


def candidate(name: str, seconds: float, result: int, calls: list[str]) -> autotune.Candidate[int]:
    def run() -> int:
        calls.append(name)
        time.sleep(seconds)
        return result

    return autotune.Candidate(name, run)


def broken() -> int:
    raise RuntimeError("not implemented for 'Half'")


def test_the_fastest_candidate_that_matches_is_chosen_and_remembered() -> None:
    calls: list[str] = []
    candidates = [
        candidate("exact", 0.2, 1, calls), candidate("quick", 0.05, 1, calls), candidate("wrong", 0.0, 2, calls),
        candidate("hardly quicker", 0.048, 1, calls), autotune.Candidate("broken", broken),
    ]  # fmt: skip
    assert autotune.fastest_matching(candidates, same, "here") == "quick"
    calls.clear()
    assert autotune.fastest_matching(candidates, same, "here") == "quick" and calls == []
    few = [candidates[0], candidates[2]]
    assert autotune.fastest_matching(few, same, "there") == "exact" and calls  # another key is measured
    assert autotune.fastest_matching(few, same, "here") == "exact"  # the remembered one is no longer a candidate


def test_the_first_candidate_that_matches_is_chosen_however_slow_and_remembered() -> None:
    calls: list[str] = []
    candidates = [
        candidate("exact", 0, 1, calls), autotune.Candidate("broken", broken), candidate("wrong", 0, 2, calls),
        candidate("slow", 0.05, 1, calls), candidate("quick", 0, 1, calls),
    ]  # fmt: skip
    assert autotune.first_matching(candidates, same, "here") == "slow" and "quick" not in calls
    calls.clear()
    assert autotune.first_matching(candidates, same, "here") == "slow" and calls == []
    assert autotune.first_matching(candidates[:3], same, "there") == "exact"


@pytest.mark.parametrize("content", ["", "[]", "{", '{"here": 3}'])
def test_a_damaged_memory_costs_a_probe_only(content: str) -> None:
    cache_folder().mkdir(parents=True, exist_ok=True)
    (cache_folder() / autotune.MEMORY).write_text(content)
    assert autotune.fastest_matching([candidate("exact", 0, 1, [])], same, "here") == "exact"


def test_a_cache_that_cannot_be_written_costs_a_probe_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GFP_HOME", str(tmp_path / "file" / "below"))
    assert autotune.fastest_matching([candidate("exact", 0, 1, [])], same, "here") == "exact"


def test_faces_match_by_psnr_and_masks_by_overlap() -> None:
    face = np.linspace(-1, 1, 3 * 64 * 64, dtype=np.float32).reshape(1, 3, 64, 64)
    assert autotune.faces_match(face, face + 0.015) and not autotune.faces_match(face, face + 0.025)  # 42.5 and 38 dB
    assert not autotune.faces_match(face, face * np.float32("nan"))
    mask = np.zeros((100, 100), np.float32)
    mask[:, :50] = 1
    moved = np.roll(mask, 1, axis=1)
    assert autotune.masks_match([mask], [mask]) and not autotune.masks_match([mask], [moved])
    assert not autotune.masks_match([0 * mask], [0 * mask])


def test_the_batch_follows_the_free_memory_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    assert autotune.batch_size(CPU, 512, torch.float32) == 1
    for free, size, dtype, wanted in (
        (24 << 30, 512, torch.float32, 12), (24 << 30, 512, torch.bfloat16, 24), (24 << 30, 256, torch.float32, 32),
        (1 << 20, 512, torch.float32, 1),
    ):  # fmt: skip
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, 80 << 30))
        assert autotune.batch_size(torch.device("cuda"), size, dtype) == wanted


@pytest.mark.parametrize(("before", "is_kept"), [(None, False), ("/tmp/torchinductor_me", False), ("/my/own", True)])
def test_what_the_compiler_made_is_kept_in_the_cache(
    monkeypatch: pytest.MonkeyPatch, before: str | None, is_kept: bool
) -> None:
    monkeypatch.setenv(autotune.COMPILER_FOLDER, before or "")  # also lets what the code sets be taken back
    if before is None:
        monkeypatch.delenv(autotune.COMPILER_FOLDER)
    monkeypatch.setattr(torch, "compile", lambda net: net)
    net = torch.nn.Identity()
    assert autotune.compiled(net, torch.zeros(1, 3, 8, 8)) is net
    assert os.environ[autotune.COMPILER_FOLDER] == (before if is_kept else str(cache_folder() / "compiled"))
    monkeypatch.setattr(torch, "compile", lambda net: lambda x: x + 1)  # another face
    assert autotune.compiled(net, torch.zeros(1, 3, 8, 8)) is None
    monkeypatch.setattr(torch, "compile", lambda net: broken)  # takes no face: TypeError
    assert autotune.compiled(net, torch.zeros(1, 3, 8, 8)) is None
