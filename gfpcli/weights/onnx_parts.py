"""The parts of a restorer that onnxruntime runs: which file each comes from, and its place behind the ports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gfpcli.adapters.onnxruntime import (
    OnnxClassNet,
    OnnxFaceModel,
    OnnxPictureNet,
    detector_nets,
    load_onnx_face_model,
    open_part,
)
from gfpcli.errors import CheckpointError, UsageError
from gfpcli.options import FaceOptions
from gfpcli.pipeline.parsing import ParseNetMasker
from gfpcli.pipeline.refine import LandmarkRefiner
from gfpcli.pipeline.retinaface import RetinaFaceDetector
from gfpcli.pipeline.upsample import NetUpsampler, TileProgress, Tiling


def onnx_file_of(path: Path, kind: str, options: FaceOptions) -> Path | None:
    """The ONNX file to run for a weight file: itself, or with `--runtime onnx` its export; None where torch runs it.

    Args:
        kind: one of EXPORT_KINDS.

    Raises:
        UsageError: torch is asked to run an ONNX file.
        GfpError: as `exported_in_cache`.
    """
    if is_onnx(path):
        if options.runtime == "torch":
            raise UsageError(f"--runtime torch: {path} is run by onnxruntime; leave --runtime out")
        return path
    if options.runtime != "onnx":
        return None
    from gfpcli.weights.export import exported_in_cache

    return exported_in_cache(path, kind)


def is_onnx(path: Path) -> bool:
    """Whether a file is one for onnxruntime, by its name: ONNX files have no other mark."""
    return path.suffix.lower() == ".onnx"


def onnx_face_model(path: Path, options: FaceOptions) -> OnnxFaceModel:
    """A face restorer. Raises GfpError as `load_onnx_face_model`."""
    return load_onnx_face_model(path, provider=options.provider, device=options.device, fidelity=options.fidelity)


def onnx_masker(path: Path, options: FaceOptions, n_batch: int) -> ParseNetMasker:
    """ParseNet. Raises GfpError as `open_part`."""
    net, _ = open_part(path, "mask", provider=options.provider, device=options.device)
    return ParseNetMasker(OnnxClassNet(net), n_batch=n_batch)


def onnx_detector(path: Path, options: FaceOptions) -> RetinaFaceDetector:
    """RetinaFace, with its landmark refiner where the file has one. Raises GfpError as `open_part`."""
    net, facts = open_part(path, "detector", provider=options.provider, device=options.device)
    finder, anchors, refiner = detector_nets(net, facts)
    look_again = LandmarkRefiner(refiner) if refiner else None
    return RetinaFaceDetector(finder, anchors, options.det_threshold, options.det_size, look_again)


def onnx_upsampler(path: Path, options: FaceOptions, watch: TileProgress) -> NetUpsampler:
    """A background network. Raises GfpError as `open_part`."""
    net, facts = open_part(path, "background", provider=options.provider, device=options.device)
    try:
        layout: dict[str, Any] = {name: int(value) for name, value in json.loads(facts.layout).items()}
        tiling = Tiling(**layout)
    except (ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path}: its gfpcli metadata do not say how it is tiled; export it again") from error
    return NetUpsampler(OnnxPictureNet(net, "enlarged"), tiling, tile=options.tile, watch=watch)
