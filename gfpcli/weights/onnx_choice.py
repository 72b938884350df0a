"""On a CPU a face network or ParseNet by onnxruntime, where that is fast and agrees with torch's fp32."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from gfpcli.adapters.onnxruntime import OnnxFaceModel, load_onnx_face_model
from gfpcli.options import FaceOptions
from gfpcli.pipeline.parsing import PARSE_SIZES, ParseNetMasker
from gfpcli.types import FaceModel, PictureBatch
from gfpcli.weights import autotune, cpu
from gfpcli.weights.face_model import load_face_model
from gfpcli.weights.onnx_parts import exported_in_cache, int8_in_cache, onnx_masker

IN_INT8, IN_FP32 = "onnxruntime int8", "onnxruntime fp32"


def faster_onnx_model(
    path: Path, device: torch.device, *, fidelity: float | None, accepted: Sequence[str]
) -> OnnxFaceModel | None:
    """The network as onnxruntime runs it; None where torch is the better choice.

    The first time a network is exported, and its copy in int8 made and compared: seconds for the built-in network, a
    minute for one of 512 px. A small network is taken in int8 where that agrees and torch has no bf16, a large one in
    whatever is fastest.

    Args:
        fidelity, accepted: as of `load_face_model`.

    Raises:
        GfpError: what was chosen earlier cannot be made again.
    """
    versions, has_bf16 = _versions(), cpu.has_bf16()
    is_small = path.stat().st_size < 2 * autotune.SMALL  # bytes: not read for that; a weight takes two at least
    if device.type != "cpu" or not versions or (has_bf16 and is_small):
        return None
    by_torch = partial(load_face_model, path, device, is_compiled=False, fidelity=fidelity, accepted=accepted)
    ways = {IN_FP32: partial(_load, path, fidelity, is_int8=False)}
    if cpu.has_int8():
        ways = {IN_INT8: partial(_load, path, fidelity, is_int8=True), **ways}
    halves = {"torch bf16": partial(by_torch, "bf16")} if has_bf16 else {}
    loaders: dict[str, Callable[[], FaceModel]] = {"torch fp32": partial(by_torch, "fp32"), **halves, **ways}
    candidates = [_candidate(name, cache(load)) for name, load in loaders.items()]
    key = f"{autotune.file_identity(path)}, {autotune.machine_of(device)}, {versions}, {' '.join(loaders)}"
    choose = autotune.first_matching if is_small else autotune.fastest_matching
    chosen = choose(candidates, autotune.faces_match, key)
    return ways[chosen]() if chosen in ways else None


def onnx_maskers(path: Path) -> dict[str, Callable[[], ParseNetMasker]]:
    """ParseNet by onnxruntime by name, at each size: in int8, or where the CPU has no instructions for it in fp32.

    Each is opened when it is called, the export made the first time: ten seconds. It then raises GfpError. The names
    tell the versions; none where a package is missing.
    """
    if not (versions := _versions()):
        return {}
    way = IN_INT8 if cpu.has_int8() else IN_FP32

    @cache
    def whole() -> ParseNetMasker:
        exported = int8_in_cache(path, "mask") if way == IN_INT8 else exported_in_cache(path, "mask")
        return onnx_masker(exported, FaceOptions(device="cpu", provider="cpu"), n_batch=1)

    def at_size(size: int) -> ParseNetMasker:
        return replace(whole(), size=size)

    return {f"{way} ({versions}) at {size}": partial(at_size, size) for size in PARSE_SIZES}


def _versions() -> str:
    """Of the packages that export and run; empty where one is missing."""
    try:
        return f"onnx {version('onnx')}, onnxruntime {version('onnxruntime')}"
    except PackageNotFoundError:
        return ""


def _load(path: Path, fidelity: float | None, *, is_int8: bool) -> OnnxFaceModel:
    exported = int8_in_cache(path, "restorer") if is_int8 else exported_in_cache(path, "restorer")
    return load_onnx_face_model(exported, provider="cpu", device="cpu", fidelity=fidelity)


def _candidate(name: str, load: Callable[[], FaceModel]) -> autotune.Candidate[PictureBatch]:
    def run() -> PictureBatch:
        model = load()
        return model(autotune.probe_batch(model.size))

    return autotune.Candidate(name, run)
