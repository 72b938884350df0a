"""A processor without bf16: onnxruntime runs the face network where it agrees, and says the same every time."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from facexlib.parsing.parsenet import ParseNet
from torch import nn

from gfpcli.adapters.onnxruntime import OnnxClassNet
from gfpcli.errors import WeightsError
from gfpcli.options import RestoreOptions, VideoOptions
from gfpcli.types import PictureBatch
from gfpcli.weights import autotune, cpu, export, onnx_choice
from gfpcli.weights.cache import BUILTINS
from gfpcli.weights.face_model import load_face_model
from gfpcli.weights.onnx_choice import faster_onnx_model
from gfpcli.weights.torch_parts import may_be_onnx

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
CPU = torch.device("cpu")
PATH = BUILTINS["compact"]


@pytest.fixture(autouse=True)
def without_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "has_bf16", lambda: False)
    monkeypatch.setattr(cpu, "has_int8", lambda: True)


def faster() -> onnx_choice.OnnxFaceModel | None:
    return faster_onnx_model(PATH, CPU, fidelity=None, accepted=())


def test_the_built_in_network_runs_in_int8_and_agrees_with_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    model = faster()
    assert model and model.net.path.name.endswith(".int8.onnx") and model.net.facts
    assert model.net.facts.precision == "int8" and model.net.facts.kind == "restorer"
    probe = autotune.probe_batch(256)
    exact, made = load_face_model(PATH, CPU, "fp32", is_compiled=False)(probe), model(probe)
    levels = 127.5 * (np.clip(made, -1, 1) - np.clip(exact, -1, 1))
    assert 0 < np.sqrt(np.square(levels).mean()) < 1 and autotune.faces_match(exact, made)
    monkeypatch.setattr(autotune, "faces_match", None)  # nothing is compared or made a second time
    monkeypatch.setattr(export, "export_network", None)
    again = faster()
    assert again and (again(probe) == made).all()


def test_the_convolutions_of_parsenet_run_in_int8_and_it_agrees(tmp_path: Path) -> None:
    import onnx
    import onnxruntime

    torch.manual_seed(0)  # without biases, as it is made: the exporter lets its convolutions share one of zeros
    net = ParseNet(in_size=512, out_size=512, parsing_ch=19)
    torch.save(net.state_dict(), tmp_path / "parse.pth")
    masker = list(onnx_choice.onnx_maskers(tmp_path / "parse.pth").values())[-1]()
    assert masker.size == 256 and isinstance(masker.net, OnnxClassNet)
    probe = autotune.probe_batch(256)
    with torch.inference_mode():
        exact = net.eval()(torch.from_numpy(probe))[0].numpy()
    (made,) = masker.net.net.run({"image": probe}, ("classes",))
    assert 0 < np.abs(made - exact).mean() < 0.05 * exact.std()
    settings = onnxruntime.SessionOptions()
    settings.optimized_model_filepath, settings.log_severity_level = str(tmp_path / "run.onnx"), 4
    onnxruntime.InferenceSession(str(masker.net.net.path), settings, providers=["CPUExecutionProvider"])
    runs = Counter(node.op_type for node in onnx.load(str(tmp_path / "run.onnx")).graph.node)
    assert runs["Conv"] == 0 and runs["QLinearConv"] == sum(isinstance(m, nn.Conv2d) for m in net.modules()) - 1


def test_what_does_not_agree_or_cannot_be_exported_is_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise WeightsError("no such package")

    monkeypatch.setattr(export, "export_network", missing)
    assert faster() is None
    monkeypatch.setattr(cpu, "has_bf16", lambda: True)
    monkeypatch.setattr(onnx_choice, "_candidate", missing)
    assert faster() is None  # bf16 by torch comes first


def test_with_bf16_a_large_network_is_tried_too(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[list[str]] = []

    def first(candidates: list[autotune.Candidate[PictureBatch]], *_: object) -> str:
        tried.append([each.name for each in candidates])
        return candidates[0].name

    monkeypatch.setattr(cpu, "has_bf16", lambda: True)
    monkeypatch.setattr(autotune, "fastest_matching", first)
    monkeypatch.setattr(autotune, "SMALL", 0)
    assert faster() is None
    assert tried == [["torch fp32", "torch bf16", "onnxruntime int8", "onnxruntime fp32"]]


def test_onnxruntime_is_not_chosen_against_what_was_asked() -> None:
    assert may_be_onnx(RestoreOptions(), PATH) and may_be_onnx(VideoOptions(smooth=0.5), PATH)
    for asked in ({"runtime": "torch"}, {"precision": "fp32"}, {"precision": "bf16"}, {"compile": True}):
        assert not may_be_onnx(RestoreOptions(**asked), PATH)  # type: ignore[arg-type]
