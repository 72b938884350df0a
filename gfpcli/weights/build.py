"""The only place where weights, networks and adapters meet: `load_restorer`.

Torch is loaded where it runs a part; onnxruntime alone may run all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from gfpcli.errors import CheckpointError
from gfpcli.memory import hand_back_memory
from gfpcli.options import DEFAULT_TEMPLATE, FaceOptions, PipelineOptions, RestoreOptions, VideoOptions
from gfpcli.pipeline.guard import Guard
from gfpcli.pipeline.identity import UNSCALED, IdentityScale
from gfpcli.pipeline.parsing import PARSE_SIZE, at_sizes
from gfpcli.pipeline.paste import resize_background, soft_masker
from gfpcli.pipeline.refine import BoxLandmarker, LandmarkRefiner
from gfpcli.pipeline.restorer import Restorer
from gfpcli.pipeline.retinaface import RetinaFaceDetector
from gfpcli.pipeline.turns import TurningDetector
from gfpcli.pipeline.upsample import TileProgress
from gfpcli.types import Detector, FaceCoder, FaceModel, Identifier, Mask, Masker, Upsampler
from gfpcli.weights import autotune, onnx_parts
from gfpcli.weights.cache import BUILTINS
from gfpcli.weights.choose import Parts, Warn, choose_parts
from gfpcli.weights.known_faces import template_of
from gfpcli.weights.onnx_parts import onnx_file_of

if TYPE_CHECKING:
    import torch

N_DETECT = {"cuda": 8}  # frames in one call of the detector; elsewhere one, which is as fast and takes less memory


@dataclass(frozen=True, slots=True)
class _FacePart:
    """The face network, and what goes with it."""

    model: FaceModel
    template: str  # how faces are aligned for it
    n_batch: int  # faces in one call
    computes_in: str  # runtime and precision
    coder: FaceCoder | None = None


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
    devices = devices_of(options, parts)
    first, *others = [_load_on(device, options, parts, n_inputs=n_inputs, warn=warn, watch=watch) for device in devices]
    first = replace(first, guard=_guard_of(options, parts, devices[0], warn))
    if parts.identifier and isinstance(options, RestoreOptions) and (options.only or options.without):
        identifier = first.guard.identifier or load_identifier_for(options, parts.identifier, devices[0], warn)[0]
        first = replace(first, identifier=identifier)
    hand_back_memory()  # of what was measured
    if parts.detector is None:
        return replace(first, replicas=tuple(others), files=parts)
    n_detect = N_DETECT.get(devices[0].type, 1) if devices[0] else 1
    upright = _detector_on(devices[0], options, parts.detector, warn)
    whole = replace(
        first, detector=_turning_detector(options, upright), follower=upright.follow, n_detect=n_detect,
        replicas=tuple(others), files=parts,
        landmarker=BoxLandmarker(partial(load_landmark_refiner, options.runtime, options.provider)),
    )  # fmt: skip
    if isinstance(options, VideoOptions) and [each and each.type for each in devices] == ["cpu"]:
        from gfpcli.weights.threads import frames_side_by_side, is_light

        return frames_side_by_side(whole) if is_light(first) else whole
    return whole


def load_detector_and_identifier(options: FaceOptions, parts: Parts) -> tuple[Detector, Identifier, IdentityScale]:
    """What finds faces and tells whose they are, without the networks that restore. Raises CheckpointError."""
    if parts.detector is None or parts.identifier is None:
        raise CheckpointError("this run has no detector, or no identity network")
    device = devices_of(options, parts)[0]
    identifier, scale = load_identifier_for(options, parts.identifier, device)
    return _turning_detector(options, _detector_on(device, options, parts.detector)), identifier, scale


def devices_of(options: FaceOptions, parts: Parts) -> tuple[torch.device | None, ...]:
    """Those that torch runs networks on; a single None where onnxruntime runs all. Raises as `choose_devices`."""
    if options.runtime == "onnx" or all(path is None or onnx_parts.is_onnx(path) for path in parts.networks):
        return (None,)
    from gfpcli.weights.devices import choose_devices

    return choose_devices(options.device)


def _untold(line: str) -> None:
    """For what nobody listens to."""


def _detector_on(
    device: torch.device | None, options: FaceOptions, path: Path, warn: Warn = _untold
) -> RetinaFaceDetector:
    return load_detector_for(options, path, device if device and device.type == "cuda" else None, warn)


def _turning_detector(options: FaceOptions, upright: RetinaFaceDetector) -> Detector:
    return TurningDetector(upright, options.turns) if options.turns else upright


@cache
def load_landmark_refiner(runtime: str = "auto", provider: str = "auto") -> LandmarkRefiner:
    """The built-in landmark network, on the CPU. Raises CheckpointError."""
    path = BUILTINS["builtin"]
    refiner = load_detector_for(FaceOptions(runtime=runtime, provider=provider), path).refiner
    if refiner is None:
        raise CheckpointError(f"{path}: holds no landmark network")
    return refiner


def load_detector_for(
    options: FaceOptions, path: Path, device: torch.device | None = None, warn: Warn = _untold
) -> RetinaFaceDetector:
    """The detector in a file, on `device` (None: the CPU). Raises GfpError."""
    if onnx := onnx_file_of(path, "detector", options, warn):
        return onnx_parts.onnx_detector(onnx, options)
    from gfpcli.weights.detector import load_torch_detector

    return load_torch_detector(options, path, device)


def load_identifier_for(
    options: FaceOptions, path: Path, device: torch.device | None = None, warn: Warn = _untold
) -> tuple[Identifier, IdentityScale]:
    """The identity network in a file, on `device` (None: the CPU), and its scale. Raises GfpError."""
    if onnx := onnx_file_of(path, "identifier", options, warn):
        return onnx_parts.onnx_identifier(onnx, path, options)
    from gfpcli.weights.identifier import load_identifier

    return load_identifier(path, device)


def _load_on(
    device: torch.device | None, options: FaceOptions, parts: Parts, *, n_inputs: int, warn: Warn, watch: TileProgress
) -> Restorer:
    """A restorer without a detector: aligned pictures and replicas need none."""
    faces = _face_part_of(device, options, parts.model, n_inputs, warn)
    masker = _masker_of(options, parts, device, faces.n_batch, warn)
    small = _face_part_of(device, options, parts.small_model, n_inputs, warn).model if parts.small_model else None
    upsampler = _upsampler_of(options, parts, device, warn, watch)
    chosen = replace(options, batch_size=faces.n_batch, template=faces.template)
    return Restorer(
        lambda images: [], faces.model, masker, chosen, upsampler, coder=faces.coder, computes_in=faces.computes_in,
        small_model=small,
    )  # fmt: skip


def _face_part_of(
    device: torch.device | None, options: FaceOptions, path: Path, n_inputs: int, warn: Warn
) -> _FacePart:
    if onnx := onnx_file_of(path, "restorer", options, warn):
        return _onnx_face_part(onnx, options, warn)
    from gfpcli.weights.torch_parts import onnx_in_place_of_torch, torch_face_model

    assert device is not None  # torch runs a network
    template = DEFAULT_TEMPLATE if options.template == "auto" else options.template
    if faster := onnx_in_place_of_torch(path, options, device):
        return _FacePart(faster, template, options.batch_size or faster.n_batch, faster.computes_in)
    net = torch_face_model(path, options, device, n_inputs)
    n_batch = options.batch_size or autotune.batch_size(device, net.size, net.dtype)
    return _FacePart(net, template, n_batch, net.computes_in, net.coder)


def _onnx_face_part(path: Path, options: FaceOptions, warn: Warn) -> _FacePart:
    if options.precision not in ("auto", "fp32") or options.compile:
        warn(f"{path}: --precision and --compile are torch's; the file runs in the precision that it was made in")
    model = onnx_parts.onnx_face_model(path, options)
    if isinstance(options, VideoOptions) and options.smooth > 0 and onnx_parts.may_have_latents(model.net.facts):
        warn(f"{path}: the latents of a GFP-GAN network are averaged over frames by torch only, not by onnxruntime")
    template = options.template if options.template != "auto" else template_of(path, model.net.facts, warn)
    return _FacePart(model, template, options.batch_size or model.n_batch, model.computes_in)


def _guard_of(options: FaceOptions, parts: Parts, device: torch.device | None, warn: Warn) -> Guard:
    """What chooses each face's strength, by its identity where that is wanted."""
    limits = options.identity_limits
    if not limits or parts.identifier is None:
        return Guard(options.fixed_strength)
    identifier, scale = load_identifier_for(options, parts.identifier, device, warn)
    if scale is UNSCALED:
        warn(f"{parts.identifier}: how alike pairs of people are to it was not measured: identity is its bare cosine")
    return Guard(options.fixed_strength, identifier, scale, limits)


def _masker_of(options: FaceOptions, parts: Parts, device: torch.device | None, n_batch: int, warn: Warn) -> Masker:
    """The oval, or ParseNet at the size and in the precision that is fastest here; fp32 where that is asked for."""
    loaders: dict[str, Callable[[], Masker]]
    if parts.mask is None:
        return soft_masker
    if onnx := onnx_file_of(parts.mask, "mask", options, warn):
        variants = at_sizes(onnx_parts.onnx_masker(onnx, options, n_batch), "fp32")
        loaders = {name: partial(replace, variant) for name, variant in variants.items()}
    else:
        from gfpcli.weights.torch_parts import maskers_of

        assert device is not None
        loaders = {**maskers_of(parts.mask, options, device, n_batch)}
    faces = autotune.probe_faces(PARSE_SIZE)

    def masks_by(load: Callable[[], Masker]) -> list[Mask]:
        return load()(faces)

    candidates = [autotune.Candidate(name, partial(masks_by, load)) for name, load in loaders.items()]
    machine = autotune.machine_of(None if onnx else device)
    key = f"{autotune.file_identity(onnx or parts.mask)}, {machine}, {' '.join(loaders)}"
    return loaders[autotune.fastest_matching(candidates, autotune.masks_match, key)]()


def _upsampler_of(
    options: FaceOptions, parts: Parts, device: torch.device | None, warn: Warn, watch: TileProgress
) -> Upsampler:
    """Lanczos, or the background network."""
    if parts.background is None:
        return resize_background
    if onnx := onnx_file_of(parts.background, "background", options, warn):
        return onnx_parts.onnx_upsampler(onnx, options, watch)
    from gfpcli.weights.torch_parts import torch_upsampler

    assert device is not None
    return torch_upsampler(parts.background, options, device, watch, warn)
