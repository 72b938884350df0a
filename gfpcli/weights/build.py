"""The only place where weights, networks and adapters meet: `load_restorer`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from gfpcli.adapters.facexlib import PARSE_SIZE, FacexlibDetector, load_masker
from gfpcli.adapters.onnxruntime import OnnxFaceModel
from gfpcli.memory import hand_back_memory
from gfpcli.model.checkpoint import kind_of, read_state
from gfpcli.options import DEFAULT_TEMPLATE, FaceOptions
from gfpcli.pipeline.paste import resize_background, soft_masker
from gfpcli.pipeline.restorer import Restorer
from gfpcli.pipeline.tensors import DTYPES
from gfpcli.pipeline.turns import TurningDetector
from gfpcli.pipeline.upsample import EnlargingNet, TileProgress, upsampler_of
from gfpcli.types import Masker, Upsampler
from gfpcli.weights import autotune
from gfpcli.weights.choose import Parts, Warn
from gfpcli.weights.detector import load_torch_detector
from gfpcli.weights.devices import choose_devices
from gfpcli.weights.face_model import FaceNet, load_face_model
from gfpcli.weights.known_faces import template_of
from gfpcli.weights.licences import check_architecture
from gfpcli.weights.onnx_parts import onnx_detector, onnx_face_model, onnx_file_of, onnx_masker, onnx_upsampler

PROBE_SIDE = 512  # px of the photo that a community network is measured on
N_DETECT = {"cuda": 8}  # frames in one call of the detector; elsewhere one, which is as fast and takes less memory

def load_restorer(
    options: FaceOptions, parts: Parts, *, n_inputs: int = 0, warn: Warn = lambda line: None,
    watch: TileProgress = lambda n_done, n_all: None,
) -> Restorer:  # fmt: skip
    """A ready restorer; its options hold the batch size that was chosen.

    Args:
        n_inputs: photos or frames of the whole run; in a long one the network is compiled.
        warn: told of what is done otherwise than asked for.
        watch: told how many tiles of a background are done, of how many.

    Raises:
        CheckpointError: a file that holds something else.
        DeviceError: this machine has no such device or precision.
    """
    devices = choose_devices(options.device)
    first, *others = [_load_on(device, options, parts, n_inputs=n_inputs, warn=warn, watch=watch) for device in devices]
    hand_back_memory()  # of what was measured
    if parts.detector is None:
        return replace(first, replicas=tuple(others))
    kind = devices[0].type
    upright = load_detector_for(options, parts.detector, devices[0] if kind == "cuda" else None)
    detector = TurningDetector(upright, options.turns) if options.turns else upright
    return replace(first, detector=detector, n_detect=N_DETECT.get(kind, 1), replicas=tuple(others))


def load_detector_for(options: FaceOptions, path: Path, device: torch.device | None = None) -> FacexlibDetector:
    """The detector in a file, on `device` (None: the CPU). Raises GfpError."""
    if onnx := onnx_file_of(path, "detector", options):
        return onnx_detector(onnx, options)
    return load_torch_detector(options, path, device or torch.device("cpu"))


def _load_on(
    device: torch.device, options: FaceOptions, parts: Parts, *, n_inputs: int, warn: Warn, watch: TileProgress
) -> Restorer:
    """A restorer without a detector: aligned pictures and replicas need none."""
    model, template = _face_model_of(device, options, parts.model, n_inputs, warn)
    n_batch = options.batch_size or autotune.batch_size(device, model.size, model.dtype)
    masker = _masker_of(options, parts, device, n_batch)
    upsampler = _upsampler_of(options, parts, device, warn, watch)
    chosen = replace(options, batch_size=n_batch, template=template)
    return Restorer(lambda images: [], model, masker, chosen, upsampler)


def _face_model_of(
    device: torch.device, options: FaceOptions, path: Path, n_inputs: int, warn: Warn
) -> tuple[FaceNet | OnnxFaceModel, str]:
    """The face network, and how faces are aligned for it."""
    if onnx := onnx_file_of(path, "restorer", options):
        if options.precision not in ("auto", "fp32") or options.compile:
            warn(f"{onnx}: --precision and --compile are torch's; the file runs in the precision that it was made in")
        model = onnx_face_model(onnx, options)
        return model, options.template if options.template != "auto" else template_of(onnx, model.net.facts, warn)
    net = load_face_model(
        path, device, options.precision, is_compiled=options.compile, n_inputs=n_inputs, fidelity=options.fidelity,
        accepted=options.accept_licence,
    )  # fmt: skip
    return net, DEFAULT_TEMPLATE if options.template == "auto" else options.template


def _masker_of(options: FaceOptions, parts: Parts, device: torch.device, n_batch: int) -> Masker:
    """The oval, or ParseNet at the size and in the precision that is fastest here; fp32 where that is asked for."""
    if parts.mask is None:
        return soft_masker
    if onnx := onnx_file_of(parts.mask, "mask", options):
        masker = onnx_masker(onnx, options, n_batch)
    else:
        masker = load_masker(read_state(parts.mask), source=str(parts.mask), device=device, n_batch=n_batch)
    halves = () if onnx or options.precision == "fp32" else autotune.HALVES[device.type]
    variants = masker.variants(("fp32", *halves))
    faces = autotune.probe_faces(PARSE_SIZE)
    candidates = [autotune.Candidate(name, partial(variant, faces)) for name, variant in variants.items()]
    key = f"{autotune.file_identity(onnx or parts.mask)}, {autotune.machine_of(device)}, {' '.join(variants)}"
    return variants[autotune.fastest_matching(candidates, autotune.masks_match, key)]


def _upsampler_of(
    options: FaceOptions, parts: Parts, device: torch.device, warn: Warn, watch: TileProgress
) -> Upsampler:
    """Lanczos, or the background network."""
    if parts.background is None:
        return resize_background
    if onnx := onnx_file_of(parts.background, "background", options):
        return onnx_upsampler(onnx, options, watch)
    dtype = DTYPES.get(options.precision, torch.float32)
    enlarging = load_enlarging_net_in(parts.background, options.accept_licence)
    return upsampler_of(
        enlarging, source=str(parts.background), device=device, tile=options.tile, watch=watch, dtype=dtype, warn=warn
    )


def load_enlarging_net_in(path: Path, accepted: Sequence[str] = ()) -> EnlargingNet:
    """A background network from its checkpoint, by our own loaders, else by spandrel's.

    Raises:
        CheckpointError: it holds something else.
        WeightsError: its licence is not among the `accepted` ones, now or earlier.
    """
    state, source = read_state(path), str(path)
    if kind_of(state) != "unknown":
        from gfpcli.adapters.realesrgan import load_enlarging_net

        return load_enlarging_net(state, source=source)
    from gfpcli.adapters.spandrel import load_spandrel_net

    check = partial(check_architecture, path, accepted)
    return load_spandrel_net(state, source=source, probe=autotune.probe_faces(PROBE_SIDE)[0], check=check)
