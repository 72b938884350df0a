"""ONNX files of other origins: those that keep to the face tools' contract run, the others are refused in one line."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.onnx_files import DOUBLE, FLOAT, HALF, INT64, node, same_face, striped_face, weighted_face, write_graph

pytest.importorskip("onnxruntime", reason="the extra gfpcli[onnx] is not installed")

from gfpcli.adapters.onnxruntime import OnnxFaceModel, choose_providers, load_onnx_face_model, open_part  # noqa: E402
from gfpcli.errors import CheckpointError, DeviceError, UsageError, WeightsError  # noqa: E402

RNG = np.random.default_rng(3)


def load(path: Path, fidelity: float | None = None) -> OnnxFaceModel:
    return load_onnx_face_model(path, provider="cpu", device="auto", fidelity=fidelity)


@pytest.mark.parametrize(
    ("made", "size"),
    [
        (same_face, 256),
        (lambda path: same_face(path, batch=1), 256),  # most files take one face at a time
        (lambda path: same_face(path, kind=HALF), 256),
        (lambda path: same_face(path, side=2048, batch=1), 2048),
        (lambda path: same_face(path, side="size"), 512),
    ],
)
def test_the_contract_runs_in_every_form(tmp_path: Path, made: Callable[[Path], Path], size: int) -> None:
    model = load(made(tmp_path / "x.onnx"))
    assert model.size == model.seen == size
    faces = RNG.uniform(-1, 1, (2 if size < 2048 else 1, 3, size, size)).astype(np.float32)
    out = model(faces)
    assert out.dtype == np.float32 and np.abs(out - faces).max() < 1e-3


@pytest.mark.parametrize(("shape", "kind"), [((), DOUBLE), ((1,), DOUBLE), ((1,), FLOAT)])
def test_fidelity_feeds_the_weight(tmp_path: Path, shape: tuple[int, ...], kind: int) -> None:
    path = weighted_face(tmp_path / "codeformer.onnx", shape, kind)
    faces = RNG.uniform(0, 1, (2, 3, 512, 512)).astype(np.float32)
    np.testing.assert_allclose(load(path, 0.25)(faces), faces * 0.25, atol=1e-6)
    np.testing.assert_allclose(load(path)(faces), faces * 0.5, atol=1e-6)
    with pytest.raises(UsageError, match="has no `weight` input"):
        load(same_face(tmp_path / "gfpgan.onnx"), 0.25)


def test_a_larger_face_comes_out_at_its_own_size(tmp_path: Path) -> None:
    model = load(striped_face(tmp_path / "x.onnx"))
    assert (model.size, model.seen) == (1024, 256)
    row = model(np.zeros((1, 3, 1024, 1024), np.float32))[0, 0, 0]
    assert row[:8].tolist() == pytest.approx([0.8] * 4 + [-0.8] * 4)


FACE = ("input", FLOAT, [1, 3, 256, 256])
COPY = [node("Identity", ["input"], "output")]


@pytest.mark.parametrize(
    ("inputs", "output", "nodes", "said"),
    [
        ([("input", FLOAT, [3, 256, 256])], [3, 256, 256], COPY, r"takes input \(3, 256, 256\); a face restorer takes"),
        ([("input", FLOAT, [1, 256, 256, 3])], [1, 256, 256, 3], COPY, r"not \(N, 3, S, S\)"),
        ([("input", FLOAT, [1, 3, 256, 128])], [1, 3, 256, 128], COPY, r"not \(N, 3, S, S\)"),
        ([("input", FLOAT, [4, 3, 256, 256])], [4, 3, 256, 256], COPY, "one face or any number"),
        ([FACE, ("noise", FLOAT, [1, 1]), ("mode", FLOAT, [1])], [1, 3, 256, 256], COPY, r"noise \(1, 1\), mode \(1\)"),
        ([FACE, ("other", FLOAT, [1, 3, 256, 256])], [1, 3, 256, 256], COPY, "takes one"),
        ([FACE, ("weight", INT64, [1])], [1, 3, 256, 256], COPY, "'weight' is tensor.int64."),
        ([FACE], [1, 3], [node("ReduceMean", ["input"], "output", axes=[2, 3], keepdims=0)],
         r"gives output \(1, 3\), not a picture"),
        ([("input", FLOAT, [1, 3, 64, 64])], [1, 3, 64, 64], COPY, "takes 64 px and gives 64 px"),
        ([FACE], [1, 3, 128, 128], [node("MaxPool", ["input"], "output", kernel_shape=[2, 2], strides=[2, 2])],
         "takes 256 px and gives 128 px"),
    ],
)  # fmt: skip
def test_other_contracts_are_refused_in_one_line(
    tmp_path: Path, inputs: list[tuple[str, int, list[int]]], output: list[int], nodes: list[object], said: str
) -> None:
    path = write_graph(tmp_path / "odd.onnx", inputs, [("output", FLOAT, output)], nodes)
    with pytest.raises(CheckpointError, match=said) as caught:
        load(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_what_is_no_onnx_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"not onnx at all")
    whole = same_face(tmp_path / "b.onnx").read_bytes()
    (tmp_path / "b.onnx").write_bytes(whole[: len(whole) // 2])
    for name in ("a", "b", "missing"):
        with pytest.raises(CheckpointError, match=f"{name}.onnx: ") as caught:
            load(tmp_path / f"{name}.onnx")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["detector", "mask", "background"])
def test_other_parts_are_taken_from_gfp_only(tmp_path: Path, kind: str) -> None:
    with pytest.raises(CheckpointError, match="not made by `gfp export`"):
        open_part(same_face(tmp_path / "x.onnx"), kind, provider="auto", device="cpu")


def test_without_the_extra_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(WeightsError, match=re.escape("pip install 'gfpcli[onnx]'")):
        load(same_face(tmp_path / "x.onnx"))


HERE = ("TensorrtExecutionProvider", "CUDAExecutionProvider", "AzureExecutionProvider", "CPUExecutionProvider")


@pytest.mark.parametrize(
    ("provider", "device", "names"),
    [
        ("auto", "auto", ["CUDAExecutionProvider", "CPUExecutionProvider"]),
        ("auto", "cpu", ["CPUExecutionProvider"]),
        ("auto", "cuda:1,cuda:0", [("CUDAExecutionProvider", {"device_id": "1"}), "CPUExecutionProvider"]),
        ("CUDA", "auto", ["CUDAExecutionProvider", "CPUExecutionProvider"]),
        ("tensorrt", "auto", ["TensorrtExecutionProvider", "CPUExecutionProvider"]),
        ("cpu", "cuda", ["CPUExecutionProvider"]),
    ],
)
def test_providers_are_those_that_onnxruntime_lists(provider: str, device: str, names: list[object]) -> None:
    assert choose_providers(HERE, provider, device) == names


@pytest.mark.parametrize(("provider", "device"), [("openvino", "auto"), ("directml", "auto"), ("auto", "cuda")])
def test_a_provider_that_is_not_here_lists_those_that_are(provider: str, device: str) -> None:
    with pytest.raises(DeviceError, match="onnxruntime has here: cpu$"):
        choose_providers(["CPUExecutionProvider"], provider, device)
