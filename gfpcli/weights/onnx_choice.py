"""Where the CPU has no bf16: a face network by onnxruntime, in int8 or fp32, if that agrees with torch's fp32."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from gfpcli.adapters.onnxruntime import OnnxFaceModel, load_onnx_face_model
from gfpcli.errors import GfpError
from gfpcli.types import FaceModel, PictureBatch
from gfpcli.weights import autotune, cpu
from gfpcli.weights.face_model import load_face_model

IN_INT8, IN_FP32 = "onnxruntime int8", "onnxruntime fp32"


def faster_onnx_model(
    path: Path, device: torch.device, *, fidelity: float | None, accepted: Sequence[str]
) -> OnnxFaceModel | None:
    """The network as onnxruntime runs it; None where torch is the better choice.

    The first time a network is exported, and its copy in int8 made and compared. A small network is taken in int8
    where that agrees, a large one in whatever is fastest.

    Args:
        fidelity, accepted: as of `load_face_model`.

    Raises:
        GfpError: what was chosen earlier cannot be made again.
    """
    versions = _versions()
    if device.type != "cpu" or cpu.has_bf16() or not versions:
        return None
    reference = cache(partial(load_face_model, path, device, "fp32", is_compiled=False, fidelity=fidelity,
                              accepted=accepted))  # fmt: skip
    ways = {IN_FP32: partial(_load, path, fidelity, is_int8=False)}
    if cpu.has_int8():
        ways = {IN_INT8: partial(_load, path, fidelity, is_int8=True), **ways}
    candidates = [_candidate("torch", reference), *(_candidate(name, cache(load)) for name, load in ways.items())]
    key = f"{autotune.file_identity(path)}, {autotune.machine_of(device)}, {versions}, {' '.join(ways)}"
    is_small = path.stat().st_size < 2 * autotune.SMALL  # bytes: not read for that, two for each weight at least
    choose = autotune.first_matching if is_small else autotune.fastest_matching
    chosen = choose(candidates, autotune.faces_match, key)
    return ways[chosen]() if chosen in ways else None


def _versions() -> str:
    """Of the packages that export and run; empty where one is missing."""
    try:
        return f"onnx {version('onnx')}, onnxruntime {version('onnxruntime')}"
    except PackageNotFoundError:
        return ""


def _load(path: Path, fidelity: float | None, *, is_int8: bool) -> OnnxFaceModel:
    from gfpcli.weights.export import exported_in_cache, int8_in_cache

    exported = int8_in_cache(path) if is_int8 else exported_in_cache(path, "restorer")
    return load_onnx_face_model(exported, provider="cpu", device="cpu", fidelity=fidelity)


def _candidate(name: str, load: Callable[[], FaceModel]) -> autotune.Candidate[PictureBatch]:
    def run() -> PictureBatch:
        try:
            model = load()
        except GfpError as error:  # such as a network that cannot be exported
            raise RuntimeError(str(error)) from error
        return model(autotune.probe_batch(model.size))

    return autotune.Candidate(name, run)
