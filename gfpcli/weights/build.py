"""The only place where weights, networks and adapters meet: `load_restorer`."""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from gfpcli.errors import CheckpointError
from gfpcli.files.atomic import sha256_of
from gfpcli.memory import hand_back_memory
from gfpcli.model.checkpoint import read_state
from gfpcli.options import FaceOptions, PipelineOptions, RestoreOptions
from gfpcli.pipeline.guard import Guard
from gfpcli.pipeline.identity import UNSCALED, IdentityScale
from gfpcli.pipeline.paste import resize_background, soft_masker
from gfpcli.pipeline.refine import BoxLandmarker, LandmarkRefiner
from gfpcli.pipeline.restorer import Restorer
from gfpcli.pipeline.tensors import DTYPES
from gfpcli.pipeline.turns import TurningDetector
from gfpcli.pipeline.upsample import TileProgress
from gfpcli.types import Detector, Identifier, Masker, Upsampler
from gfpcli.weights import autotune
from gfpcli.weights.cache import BUILTINS
from gfpcli.weights.choose import Parts, Warn, choose_parts
from gfpcli.weights.devices import choose_devices
from gfpcli.weights.face_model import load_face_model
from gfpcli.weights.identifier import load_identifier

if TYPE_CHECKING:  # it brings torchvision, which aligned faces and a run whose photos are all done do not need
    from gfpcli.adapters.facexlib import FacexlibDetector

N_DETECT = {"cuda": 8}  # frames in one call of the detector; elsewhere one, which is as fast and takes less memory
OTHER_DETECTORS = {  # sha256 of public checkpoints in facexlib's layout that want other anchors and plain ReLU
    "ed6fa7d45a5179f03cb5ce82c73b0c6711372968e53782e88395acee88d319e1": ("[[10,20],[32,64],[128,256]]", 0.0),
}


def load_restorer(
    options: PipelineOptions | None = None, parts: Parts | None = None, *, n_inputs: int = 0,
    warn: Warn = lambda line: None, watch: TileProgress = lambda n_done, n_all: None,
) -> Restorer:  # fmt: skip
    """A ready restorer; its options hold the batch size that was chosen.

    Args:
        options: which networks, faces and device; `RestoreOptions(model="compact", strength=0.7)` for instance;
            None = the defaults.
        parts: the files of the networks; None = those that the options name, downloaded where that is needed.
        n_inputs: photos or frames of the whole run; in a long one the network is compiled.
        warn: told of what is done otherwise than asked for.
        watch: told how many tiles of a background are done, of how many.

    Raises:
        CheckpointError: a file that holds something else.
        DeviceError: this machine has no such device or precision.
        UsageError, WeightsError: as `choose_parts`, without `parts`.
    """
    options = options or RestoreOptions()
    parts = parts or choose_parts(options, warn=warn)
    devices = choose_devices(options.device)
    first, *others = [_load_on(device, options, parts, n_inputs=n_inputs, warn=warn, watch=watch) for device in devices]
    first = replace(first, guard=_guard_of(options, parts, devices[0], warn))
    if parts.identifier and isinstance(options, RestoreOptions) and (options.only or options.without):
        first = replace(first, identifier=first.guard.identifier or load_identifier(parts.identifier, devices[0])[0])
    hand_back_memory()  # of what was measured
    if parts.detector is None:
        return replace(first, replicas=tuple(others), files=parts)
    detector = _turning_detector(options, parts.detector, devices[0])
    return replace(
        first, detector=detector, n_detect=N_DETECT.get(devices[0].type, 1), replicas=tuple(others),
        files=parts, landmarker=BoxLandmarker(load_landmark_refiner),
    )  # fmt: skip


def load_detector_and_identifier(options: FaceOptions, parts: Parts) -> tuple[Detector, Identifier, IdentityScale]:
    """What finds faces and tells whose they are, without the networks that restore. Raises CheckpointError."""
    if parts.detector is None or parts.identifier is None:
        raise CheckpointError("this run has no detector, or no identity network")
    device = choose_devices(options.device)[0]
    identifier, scale = load_identifier(parts.identifier, device)
    return _turning_detector(options, parts.detector, device), identifier, scale


def _turning_detector(options: FaceOptions, path: Path, device: torch.device) -> Detector:
    upright = load_detector_for(options, path, device if device.type == "cuda" else None)
    return TurningDetector(upright, options.turns) if options.turns else upright


@cache
def load_landmark_refiner() -> LandmarkRefiner:
    """The built-in landmark network, on the CPU. Raises CheckpointError."""
    path = BUILTINS["builtin"]
    refiner = load_detector_for(FaceOptions(), path).refiner
    if refiner is None:
        raise CheckpointError(f"{path}: holds no landmark network")
    return refiner


def load_detector_for(options: FaceOptions, path: Path, device: torch.device | None = None) -> FacexlibDetector:
    """The detector in a file, on `device` (None: the CPU). Raises CheckpointError."""
    from gfpcli.adapters.facexlib import load_detector

    min_sizes, slope = OTHER_DETECTORS.get(sha256_of(path), (None, None))
    return load_detector(
        read_state(path), source=str(path), threshold=options.det_threshold, longest=options.det_size,
        device=device or torch.device("cpu"), min_sizes=min_sizes, slope=slope,
    )  # fmt: skip


def _load_on(
    device: torch.device, options: FaceOptions, parts: Parts, *, n_inputs: int, warn: Warn, watch: TileProgress
) -> Restorer:
    """A restorer without a detector: aligned pictures and replicas need none."""
    model = load_face_model(parts.model, device, options.precision, is_compiled=options.compile, n_inputs=n_inputs)
    n_batch = options.batch_size or autotune.batch_size(device, model.size, model.dtype)
    masker = _masker_of(options, parts, device, n_batch)
    upsampler = _upsampler_of(options, parts, device, warn, watch)
    return Restorer(lambda images: [], model, masker, replace(options, batch_size=n_batch), upsampler)


def _guard_of(options: FaceOptions, parts: Parts, device: torch.device, warn: Warn) -> Guard:
    """What chooses each face's strength, by its identity where that is wanted."""
    limit = options.identity_limit
    if limit is None or parts.identifier is None:
        return Guard(options.fixed_strength)
    identifier, scale = load_identifier(parts.identifier, device)
    if scale is UNSCALED:
        warn(f"{parts.identifier}: how alike pairs of people are to it was not measured: identity is its bare cosine")
    return Guard(options.fixed_strength, identifier, scale, limit)


def _masker_of(options: FaceOptions, parts: Parts, device: torch.device, n_batch: int) -> Masker:
    """The oval, or ParseNet at the size and in the precision that is fastest here; fp32 where that is asked for."""
    if parts.mask is None:
        return soft_masker
    from gfpcli.adapters.facexlib import PARSE_SIZE, load_masker

    masker = load_masker(read_state(parts.mask), source=str(parts.mask), device=device, n_batch=n_batch)
    halves = () if options.precision == "fp32" else autotune.HALVES[device.type]
    variants = masker.variants(("fp32", *halves))
    faces = autotune.probe_faces(PARSE_SIZE)
    candidates = [autotune.Candidate(name, partial(variant, faces)) for name, variant in variants.items()]
    key = f"{autotune.file_identity(parts.mask)}, {autotune.machine_of(device)}, {' '.join(variants)}"
    return variants[autotune.fastest_matching(candidates, autotune.masks_match, key)]


def _upsampler_of(
    options: FaceOptions, parts: Parts, device: torch.device, warn: Warn, watch: TileProgress
) -> Upsampler:
    """Lanczos, or the background network."""
    if parts.background is None:
        return resize_background
    from gfpcli.adapters.realesrgan import load_upsampler

    return load_upsampler(
        read_state(parts.background), source=str(parts.background), device=device, tile=options.tile, watch=watch,
        dtype=DTYPES.get(options.precision, torch.float32), warn=warn,
    )  # fmt: skip
