"""A face network from its file: its precision, and whether it is compiled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from gfpcli.errors import DeviceError
from gfpcli.model.gfpgan import GFPGANClean
from gfpcli.pipeline.arrays import to_batch
from gfpcli.types import ExportFacts, PictureBatch
from gfpcli.weights import autotune, face_model
from gfpcli.weights.cache import BUILTINS, cache_folder
from gfpcli.weights.face_model import load_face_model
from gfpcli.weights.onnx_parts import may_have_latents
from tests.nets import narrow_face_net

CPU = torch.device("cpu")


def broken(*_: object, **__: object) -> None:
    raise RuntimeError("not implemented for 'Half'")


def test_fp16_on_a_processor_is_refused() -> None:
    with pytest.raises(DeviceError, match="fp16 needs a GPU"):
        load_face_model(BUILTINS["compact"], CPU, "fp16", is_compiled=False)


def test_bf16_matches_fp32() -> None:
    faces = np.random.default_rng(0).uniform(-1, 1, (2, 3, 256, 256)).astype(np.float32)
    out = [
        load_face_model(BUILTINS["compact"], CPU, precision, is_compiled=False)(faces)
        for precision in ("fp32", "bf16")
    ]
    error = float(np.square(out[0] - out[1]).mean())
    assert error > 0 and 10 * np.log10(4 / error) > 40


@pytest.mark.parametrize(("has_bf16", "matches", "wanted"), [
    (True, True, torch.bfloat16), (True, False, torch.float32), (False, True, torch.float32),
])  # fmt: skip
def test_a_small_network_is_never_timed_and_runs_in_bf16_where_the_processor_has_it(
    monkeypatch: pytest.MonkeyPatch, has_bf16: bool, matches: bool, wanted: torch.dtype
) -> None:
    monkeypatch.setattr(autotune, "fastest_matching", broken)
    monkeypatch.setattr(face_model, "has_bf16", lambda: has_bf16)
    monkeypatch.setattr(autotune, "faces_match", lambda one, other: matches)
    for _ in range(2):  # as the first time, so later
        assert load_face_model(BUILTINS["compact"], CPU, "auto", is_compiled=False).dtype == wanted
        monkeypatch.setattr(autotune, "faces_match", broken)  # it is remembered


def test_auto_precision_takes_what_the_probe_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autotune, "SMALL", 0)
    seen: list[list[str]] = []

    def second(candidates: list[autotune.Candidate[PictureBatch]], matches: Callable[..., bool], key: str) -> str:
        seen.append([each.name for each in candidates])
        assert matches(candidates[0].run(), candidates[1].run())  # bf16 on the probe face
        assert "cpu" in key and "compact.safetensors" in key
        return candidates[1].name

    monkeypatch.setattr(autotune, "fastest_matching", second)
    net = load_face_model(BUILTINS["compact"], CPU, "auto", is_compiled=False)
    assert net.dtype == torch.bfloat16 and seen == [["fp32", "bf16"]]
    assert net(autotune.probe_batch(256)).dtype == np.float32


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
    model(to_batch(autotune.probe_faces(256)[1:]))
    assert len(compilations) == n_at_load > 0


def test_which_files_may_have_latents() -> None:
    facts = ExportFacts("restorer", "x", "", "", "", "fp32", "17")
    assert may_have_latents(None) and may_have_latents(facts)
    assert may_have_latents(replace(facts, layout='{"kind": "gfpgan-paper"}'))
    assert not may_have_latents(replace(facts, layout='{"kind": "compact-unet"}'))


def test_a_gan_is_compiled_by_halves_which_clips_run_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    compilations: list[int] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Callable[..., object]:
        compilations.append(len(inputs))
        return graph.forward

    own = torch.compile
    monkeypatch.setattr(torch, "compile", lambda function: own(function, backend=backend))
    monkeypatch.setenv(autotune.COMPILER_FOLDER, str(cache_folder()))
    plain = narrow_face_net(GFPGANClean)
    assert isinstance(plain.net, GFPGANClean) and plain.coder
    faces = autotune.probe_batch(64)
    compiled = autotune.compiled(plain.net, plain.placed(faces))
    assert compiled
    coder, n_at_load = replace(plain, net=compiled).coder, len(compilations)
    assert coder
    face = to_batch(autotune.probe_faces(64)[1:])
    assert np.allclose(coder.decode(coder.encode(face)), plain(face), atol=1e-5)
    assert len(compilations) == n_at_load >= 2
