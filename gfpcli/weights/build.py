"""The only place where weights, networks and adapters meet: `load_restorer`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from gfpcli.errors import CheckpointError
from gfpcli.memory import hand_back_memory
from gfpcli.model.checkpoint import kind_of, read_state
from gfpcli.options import DEFAULT_TEMPLATE, FaceOptions, PipelineOptions, RestoreOptions, VideoOptions
from gfpcli.pipeline.guard import Guard
from gfpcli.pipeline.identity import UNSCALED, IdentityScale
from gfpcli.pipeline.parsing import PARSE_SIZE, ParseNetMasker, at_sizes
from gfpcli.pipeline.paste import resize_background, soft_masker
from gfpcli.pipeline.refine import BoxLandmarker, LandmarkRefiner
from gfpcli.pipeline.restorer import Restorer
from gfpcli.pipeline.retinaface import RetinaFaceDetector
from gfpcli.pipeline.tensors import DTYPES, EnlargingNet
from gfpcli.pipeline.turns import TurningDetector
from gfpcli.pipeline.upsample import TileProgress
from gfpcli.types import Detector, Identifier, Masker, Upsampler
from gfpcli.weights import autotune
from gfpcli.weights.cache import BUILTINS
from gfpcli.weights.choose import Parts, Warn, choose_parts
from gfpcli.weights.devices import choose_devices
from gfpcli.weights.face_model import FaceNet, load_face_model
from gfpcli.weights.identifier import load_identifier
from gfpcli.weights.known_faces import template_of
from gfpcli.weights.licences import check_architecture
from gfpcli.weights.onnx_choice import faster_onnx_model
from gfpcli.weights.onnx_parts import (
    is_onnx,
    onnx_detector,
    onnx_face_model,
    onnx_file_of,
    onnx_masker,
    onnx_upsampler,
)
from gfpcli.weights.threads import frames_side_by_side
from gfpcli.weights.upsampler import upsampler_of

if TYPE_CHECKING:  # facexlib brings torchvision, which aligned faces and a run whose photos are all done do not need
    from gfpcli.adapters.onnxruntime import OnnxFaceModel

PROBE_SIDE = 512  # px of the photo that a community network is measured on
N_DETECT = {"cuda": 8}  # frames in one call of the detector; elsewhere one, which is as fast and takes less memory


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
    upright = _detector_on(devices[0], options, parts.detector)
    detector = _turning_detector(options, upright)
    whole = replace(
        first, detector=detector, follower=upright.follow, n_detect=N_DETECT.get(devices[0].type, 1),
        replicas=tuple(others), files=parts, landmarker=BoxLandmarker(load_landmark_refiner),
    )  # fmt: skip
    is_for_clips = isinstance(options, VideoOptions) and [each.type for each in devices] == ["cpu"]
    return frames_side_by_side(whole) if is_for_clips and _is_light(first) else whole


def _is_light(restorer: Restorer) -> bool:
    """Whether several frames fit into memory at once: a small face network that torch runs, and no background one."""
    net = restorer.model.net if isinstance(restorer.model, FaceNet) else None
    return isinstance(net, nn.Module) and autotune.is_small(net) and restorer.upsampler is resize_background


def load_detector_and_identifier(options: FaceOptions, parts: Parts) -> tuple[Detector, Identifier, IdentityScale]:
    """What finds faces and tells whose they are, without the networks that restore. Raises CheckpointError."""
    if parts.detector is None or parts.identifier is None:
        raise CheckpointError("this run has no detector, or no identity network")
    device = choose_devices(options.device)[0]
    identifier, scale = load_identifier(parts.identifier, device)
    return _turning_detector(options, _detector_on(device, options, parts.detector)), identifier, scale


def _detector_on(device: torch.device, options: FaceOptions, path: Path) -> RetinaFaceDetector:
    return load_detector_for(options, path, device if device.type == "cuda" else None)


def _turning_detector(options: FaceOptions, upright: RetinaFaceDetector) -> Detector:
    return TurningDetector(upright, options.turns) if options.turns else upright


@cache
def load_landmark_refiner() -> LandmarkRefiner:
    """The built-in landmark network, on the CPU. Raises CheckpointError."""
    path = BUILTINS["builtin"]
    refiner = load_detector_for(FaceOptions(), path).refiner
    if refiner is None:
        raise CheckpointError(f"{path}: holds no landmark network")
    return refiner


def load_detector_for(options: FaceOptions, path: Path, device: torch.device | None = None) -> RetinaFaceDetector:
    """The detector in a file, on `device` (None: the CPU). Raises GfpError."""
    from gfpcli.weights.detector import load_torch_detector

    if onnx := onnx_file_of(path, "detector", options):
        return onnx_detector(onnx, options)
    return load_torch_detector(options, path, device or torch.device("cpu"))


def _load_on(
    device: torch.device, options: FaceOptions, parts: Parts, *, n_inputs: int, warn: Warn, watch: TileProgress
) -> Restorer:
    """A restorer without a detector: aligned pictures and replicas need none."""
    model, template = _face_model_of(device, options, parts.model, n_inputs, warn)
    dtype = model.dtype if isinstance(model, FaceNet) else torch.float32
    n_batch = options.batch_size or autotune.batch_size(device, model.size, dtype)
    masker = _masker_of(options, parts, device, n_batch)
    upsampler = _upsampler_of(options, parts, device, warn, watch)
    chosen = replace(options, batch_size=n_batch, template=template)
    coder = model.coder if isinstance(model, FaceNet) else None
    return Restorer(
        lambda images: [], model, masker, chosen, upsampler, coder=coder, computes_in=model.computes_in
    )  # fmt: skip


def _face_model_of(
    device: torch.device, options: FaceOptions, path: Path, n_inputs: int, warn: Warn
) -> tuple[FaceNet | OnnxFaceModel, str]:
    """The face network, and how faces are aligned for it."""
    if onnx := onnx_file_of(path, "restorer", options):
        if options.precision not in ("auto", "fp32") or options.compile:
            warn(f"{onnx}: --precision and --compile are torch's; the file runs in the precision that it was made in")
        if isinstance(options, VideoOptions) and options.smooth > 0 and _may_have_latents(path):
            warn(f"{onnx}: the latents of a GFP-GAN network are averaged over frames by torch only, not by onnxruntime")
        model = onnx_face_model(onnx, options)
        return model, options.template if options.template != "auto" else template_of(onnx, model.net.facts, warn)
    own_template = DEFAULT_TEMPLATE if options.template == "auto" else options.template
    if _may_be_onnx(options, path) and (
        faster := faster_onnx_model(
            path, device, n_inputs=n_inputs, fidelity=options.fidelity, accepted=options.accept_licence
        )
    ):
        return faster, own_template
    net = load_face_model(
        path, device, options.precision, is_compiled=options.compile, n_inputs=n_inputs, fidelity=options.fidelity,
        accepted=options.accept_licence,
    )  # fmt: skip
    return net, own_template


def _may_be_onnx(options: FaceOptions, path: Path) -> bool:
    """Whether onnxruntime may run a face network without being asked to: it neither compiles nor averages latents."""
    is_free = options.runtime == "auto" and options.precision == "auto" and not options.compile
    averages = isinstance(options, VideoOptions) and options.smooth > 0
    return is_free and not (averages and _may_have_latents(path))


def _may_have_latents(path: Path) -> bool:
    """Whether a face network's file holds a GFP-GAN network, or does not tell."""
    return is_onnx(path) or kind_of(read_state(path)).startswith("gfpgan")


def _guard_of(options: FaceOptions, parts: Parts, device: torch.device, warn: Warn) -> Guard:
    """What chooses each face's strength, by its identity where that is wanted."""
    limits = options.identity_limits
    if not limits or parts.identifier is None:
        return Guard(options.fixed_strength)
    identifier, scale = load_identifier(parts.identifier, device)
    if scale is UNSCALED:
        warn(f"{parts.identifier}: how alike pairs of people are to it was not measured: identity is its bare cosine")
    return Guard(options.fixed_strength, identifier, scale, limits)


def _masker_of(options: FaceOptions, parts: Parts, device: torch.device, n_batch: int) -> Masker:
    """The oval, or ParseNet at the size and in the precision that is fastest here; fp32 where that is asked for."""
    if parts.mask is None:
        return soft_masker
    if onnx := onnx_file_of(parts.mask, "mask", options):
        variants = at_sizes(onnx_masker(onnx, options, n_batch), "fp32")
    else:
        variants = _torch_maskers(parts.mask, device, n_batch, is_exact=options.precision == "fp32")
    faces = autotune.probe_faces(PARSE_SIZE)
    candidates = [autotune.Candidate(name, partial(variant, faces)) for name, variant in variants.items()]
    key = f"{autotune.file_identity(onnx or parts.mask)}, {autotune.machine_of(device)}, {' '.join(variants)}"
    return variants[autotune.fastest_matching(candidates, autotune.masks_match, key)]


def _torch_maskers(path: Path, device: torch.device, n_batch: int, *, is_exact: bool) -> dict[str, ParseNetMasker]:
    """ParseNet in each size, and where it need not be exact in each precision, that may be the fastest."""
    from gfpcli.adapters.facexlib import load_maskers

    dtypes = ("fp32", *(() if is_exact else autotune.HALVES[device.type]))
    return load_maskers(read_state(path), source=str(path), device=device, dtypes=dtypes, n_batch=n_batch)


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
