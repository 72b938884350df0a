"""The fastest candidate whose output matches: chosen by time, checked by output, remembered."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from facexlib.parsing.parsenet import ParseNet

from gfpcli.errors import DeviceError
from gfpcli.options import RestoreOptions
from gfpcli.pipeline.tensors import to_tensor
from gfpcli.weights import autotune
from gfpcli.weights.build import load_restorer
from gfpcli.weights.cache import BUILTINS, cache_folder
from gfpcli.weights.choose import choose_parts
from gfpcli.weights.face_model import load_face_model

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
    face = torch.linspace(-1, 1, 3 * 64 * 64).reshape(1, 3, 64, 64)
    assert autotune.faces_match(face, face + 0.015) and not autotune.faces_match(face, face + 0.025)  # 42.5 and 38 dB
    assert not autotune.faces_match(face, face * torch.nan)
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


def test_a_small_network_is_run_in_fp32_without_a_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autotune, "fastest_matching", broken)
    assert load_face_model(BUILTINS["compact"], CPU, "auto", is_compiled=False).dtype == torch.float32


def test_auto_precision_takes_what_the_probe_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autotune, "SMALL", 0)
    seen: list[list[str]] = []

    def second(candidates: list[autotune.Candidate[torch.Tensor]], matches: Callable[..., bool], key: str) -> str:
        seen.append([each.name for each in candidates])
        assert matches(candidates[0].run(), candidates[1].run())  # bf16 on the probe face
        assert "cpu" in key and "compact.safetensors" in key
        return candidates[1].name

    monkeypatch.setattr(autotune, "fastest_matching", second)
    net = load_face_model(BUILTINS["compact"], CPU, "auto", is_compiled=False)
    assert net.dtype == torch.bfloat16 and seen == [["fp32", "bf16"]]
    assert net(autotune.probe_batch(256)).dtype == torch.float32


def test_what_is_compiled_is_run_and_what_cannot_be_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[autotune.NetFunction] = []

    def compiled(net: torch.nn.Module, batch: torch.Tensor) -> autotune.NetFunction:
        assert batch.shape == (1, 3, 256, 256)
        made.append(torch.compile(net))  # compiles nothing before it is run
        return made[-1]

    monkeypatch.setattr(autotune, "compiled", compiled)
    path = BUILTINS["compact"]
    assert load_face_model(path, CPU, "fp32", is_compiled=True).net is made[0]
    monkeypatch.setattr(autotune, "compiled", lambda net, batch: None)
    with pytest.raises(DeviceError, match="C\\+\\+ compiler"):
        load_face_model(path, CPU, "fp32", is_compiled=True)
    monkeypatch.setattr(autotune, "SMALL", 0)
    long = load_face_model(path, CPU, "fp32", is_compiled=None, n_inputs=autotune.COMPILE_FROM)
    assert long(autotune.probe_batch(256)).shape == (1, 3, 256, 256)  # goes on without
    monkeypatch.setattr(autotune, "compiled", compiled)
    long = load_face_model(path, CPU, "fp32", is_compiled=None, n_inputs=autotune.COMPILE_FROM)
    assert long.net is made[1]
    monkeypatch.setattr(autotune, "compiled", broken)
    load_face_model(path, CPU, "fp32", is_compiled=None, n_inputs=autotune.COMPILE_FROM - 1)
    load_face_model(path, CPU, "fp32", is_compiled=False, n_inputs=autotune.COMPILE_FROM)


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


def test_a_face_is_run_by_what_the_probe_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    compilations: list[int] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Callable[..., object]:
        compilations.append(len(inputs))
        return graph.forward

    own = torch.compile
    monkeypatch.setattr(torch, "compile", lambda net: own(net, backend=backend))
    monkeypatch.setenv(autotune.COMPILER_FOLDER, str(cache_folder()))
    model = load_face_model(BUILTINS["compact"], CPU, "fp32", is_compiled=True)
    n_at_load = len(compilations)
    with torch.inference_mode():
        model(to_tensor(autotune.probe_faces(256)[1:]))
    assert len(compilations) == n_at_load > 0


@pytest.mark.parametrize(("precision", "names"), [("fp32", ["fp32"]), ("auto", ["fp32", "bf16"])])
def test_masks_are_offered_at_half_size_and_exact_ones_in_fp32_only(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, precision: str, names: list[str]
) -> None:
    offered: list[str] = []

    def last(candidates: list[autotune.Candidate[object]], matches: Callable[..., bool], key: str) -> str:
        offered.extend(each.name for each in candidates)
        return candidates[-1].name

    monkeypatch.setattr(autotune, "fastest_matching", last)
    torch.save(ParseNet(in_size=512, out_size=512, parsing_ch=19).state_dict(), tmp_path / "parse.pth")
    options = RestoreOptions(model="compact", offline=True, mask=str(tmp_path / "parse.pth"), precision=precision)
    masker = load_restorer(options, choose_parts(options, warn=print)).masker
    assert offered == [f"{name} at {size}" for name in names for size in (512, 256)]
    (mask,) = masker(autotune.probe_faces(256)[:1])
    assert mask.shape == (256, 256) and mask[:5].max() == 0
