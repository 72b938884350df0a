"""The parts of a restorer that onnxruntime runs: which file each comes from, and its place behind the ports.

Nothing here loads torch, but for a network that is not exported yet.
"""

from __future__ import annotations

import json
from collections.abc import Callable
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
from gfpcli.files.atomic import sha256_of
from gfpcli.options import FaceOptions
from gfpcli.pipeline.identity import FACES_PER_CALL, UNSCALED, VIEWS, IdentityScale, NetIdentifier
from gfpcli.pipeline.parsing import ParseNetMasker
from gfpcli.pipeline.refine import LandmarkRefiner
from gfpcli.pipeline.retinaface import RetinaFaceDetector
from gfpcli.pipeline.upsample import NetUpsampler, TileProgress, Tiling
from gfpcli.types import ExportFacts
from gfpcli.weights.cache import cache_folder
from gfpcli.weights.identity_scale import read_scale, scale_in

EXPORT_VERSION = 3  # of files in the cache: a new number has them exported again
LATENTS = "gfpgan"  # how the names of kinds begin whose networks have latents


def onnx_file_of(path: Path, kind: str, options: FaceOptions, warn: Callable[[str], None]) -> Path | None:
    """The ONNX file to run for a weight file: itself, or with `--runtime onnx` its export; None where torch runs it.

    Args:
        kind: one of EXPORT_KINDS.
        warn: told where an export is made.

    Raises:
        UsageError: torch is asked to run an ONNX file.
        GfpError: as `exported_in_cache`.
    """
    if is_onnx(path):
        if options.runtime == "torch":
            raise UsageError(f"--runtime torch: {path} is run by onnxruntime; leave --runtime out")
        return path
    return exported_in_cache(path, kind, warn) if options.runtime == "onnx" else None


def is_onnx(path: Path) -> bool:
    """Whether a file is one for onnxruntime, by its name: ONNX files have no other mark."""
    return path.suffix.lower() == ".onnx"


def exported_in_cache(path: Path, kind: str, warn: Callable[[str], None] = lambda line: None) -> Path:
    """The fp32 export of a weight file, made when it is not in the cache yet, which needs torch.

    Raises:
        GfpError: as `export_network`.
    """
    digest = sha256_of(path)
    target = cache_folder() / "onnx" / f"{path.stem}-{digest[:16]}-{EXPORT_VERSION}.onnx"
    if not target.is_file():
        from gfpcli.weights.export import export_network

        warn(f"{path.name}: exported for onnxruntime, once, to {target}")
        export_network(path, path.stem, kind, "fp32", target)
    return target


def int8_in_cache(path: Path, kind: str) -> Path:
    """The export of a network that takes one picture in int8, made from the fp32 one when it is not in the cache yet.

    Raises:
        GfpError: as `export_network`.
    """
    exported = exported_in_cache(path, kind)
    target = exported.with_suffix(".int8.onnx")
    if not target.is_file():
        from gfpcli.weights.export import write_export_in_int8

        write_export_in_int8(path, kind, exported, target)
    return target


def may_have_latents(facts: ExportFacts | None) -> bool:
    """Whether a face network's file holds a GFP-GAN network, or does not tell."""
    return facts is None or str(json.loads(facts.layout).get("kind", LATENTS)).startswith(LATENTS)


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


def onnx_identifier(path: Path, source: Path, options: FaceOptions) -> tuple[NetIdentifier, IdentityScale]:
    """An identity network, and its scale: of the file beside `source`, else as it was when it was exported.

    Raises:
        GfpError: as `open_part` and `read_scale`.
    """
    net, facts = open_part(path, "identifier", provider=options.provider, device=options.device)
    try:
        layout = json.loads(facts.layout)
        seen = layout["view"]
        view, n_together, own = VIEWS[seen], FACES_PER_CALL[seen], scale_in(layout) if "same" in layout else UNSCALED
    except (ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"{path}: its gfpcli metadata do not say what it sees; export it again") from error
    beside = read_scale(source)
    return NetIdentifier(OnnxPictureNet(net, "vector"), view, n_together), own if beside is UNSCALED else beside
