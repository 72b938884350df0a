"""Assembles a training run from its options: weight files, networks, data and detector."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from gfpcli.adapters.basicsr import perceptual_loss
from gfpcli.adapters.efficientnet_lite0 import lite0_file, load_lite0
from gfpcli.errors import CheckpointError, InputError, UsageError, WeightsError
from gfpcli.files.atomic import write_bytes
from gfpcli.model.arcface import ArcFaceR18
from gfpcli.model.checkpoint import read_state
from gfpcli.options import RestoreOptions
from gfpcli.train.data import FaceDataset, read_components, split_faces
from gfpcli.train.distributed import World, local_device
from gfpcli.train.faces import CUT, FoundFaces, find_all_faces
from gfpcli.train.identity_loss import arcface_loss, builtin_identity_loss
from gfpcli.train.loop import TrainCallbacks, TrainingRun, make_optimizers
from gfpcli.train.nets import Nets, load_discriminators, make_nets
from gfpcli.train.objective import Identity, ImageFeatures, Objective, Perceptual, Phases
from gfpcli.train.options import COMPONENTS, TrainOptions
from gfpcli.train.prior import PriorObjective
from gfpcli.train.prior_figure import judge_by, load_face_features
from gfpcli.train.sources import FolderSource, open_source
from gfpcli.train.state import STATE, check_same, load_state, read_training_state
from gfpcli.weights.build import load_detector_for
from gfpcli.weights.cache import BUILTINS, Progress, fetch
from gfpcli.weights.choose import BUILT_IN_MODELS, MODELS, Warn
from gfpcli.weights.devices import choose_devices

LEFT_OUT = "left_out.txt"
PRIOR_NAME = "stylegan2-ffhq"


@dataclass(frozen=True, slots=True)
class WeightFiles:
    """The weight files that a run starts from; None where it needs none."""

    start: Path | None
    prior: Path | None
    vgg: Path | None
    arcface: Path | None
    lite: Path | None
    components: Path | None
    discriminators: dict[str, Path]  # as `load_discriminators` takes them
    inception: Path | None  # of FID


def choose_files(options: TrainOptions, *, offline: bool, progress: Progress | None = None) -> WeightFiles:
    """The files of the names in the options; downloaded where they are not in the cache.

    Raises:
        UsageError: a name that is neither known nor a file.
        WeightsError: a download that failed or is not allowed; the message says how to train without the file.
    """

    def get(name: str, switch: str) -> Path:
        try:
            return fetch(name, offline=offline, progress=progress)
        except WeightsError as error:
            raise type(error)(f"{error}; to train without it: {switch}") from error

    loss = options.loss
    vgg = arcface = lite = None
    if loss.perceptual or loss.style:
        vgg = get("vgg19", "--set loss.perceptual=0 --set loss.style=0")
    if loss.identity and options.identity_net == "arcface":
        arcface = get("arcface-r18", "--set identity_net=builtin, or --set loss.identity=0")
    if loss.lite or loss.projected_gan:
        lite = _lite_file("--set loss.lite=0 --set loss.projected_gan=0")
    discriminators = {}
    if options.discriminators == "official":
        switch = "--set discriminators=fresh"
        if loss.gan:
            discriminators["discriminator"] = get("gfpgan-1-d", switch)
        if loss.component_gan or loss.component_style:
            discriminators |= {part: get(f"gfpgan-1-d-{part.replace('_', '-')}", switch) for part in COMPONENTS}
    prior = None
    if options.prior:
        prior = _weight_file(options.prior)
        if prior is None and options.prior != PRIOR_NAME:
            raise UsageError(f"--prior {options.prior!r}: choose {PRIOR_NAME} or a file")
        prior = prior or get(PRIOR_NAME, "leave --prior out")
    components = None
    if options.components != "auto":
        is_official = options.components == "ffhq-components"
        switch = "--set components=auto"
        components = get("ffhq-components", switch) if is_official else Path(options.components)
    is_fid = options.stage == "prior" and options.figure == "fid"
    fid_net = get("inception-fid", "--set figure=identity") if is_fid else None
    return WeightFiles(_start_of(options, get), prior, vgg, arcface, lite, components, discriminators, fid_net)


def _lite_file(switch: str) -> Path:
    try:
        return lite0_file()
    except WeightsError as error:
        raise WeightsError(f"{error}; to train without it: {switch}") from error


def _start_of(options: TrainOptions, get: Callable[[str, str], Path]) -> Path | None:
    if not options.start:
        return None
    names = (PRIOR_NAME,) if options.stage == "prior" else (*BUILT_IN_MODELS, *MODELS)
    if options.start in names:
        return BUILTINS.get(options.start) or get(options.start, "leave --from out")
    if (path := _weight_file(options.start)) is not None:
        return path
    raise UsageError(f"--from {options.start!r}: choose one of {', '.join(names)}, or a checkpoint file")


def _weight_file(name: str) -> Path | None:
    """The file of this name, the suffix of a run's weights may be left out; None where there is none."""
    return next((path for path in (Path(name), Path(f"{name}.safetensors")) if path.is_file()), None)


def load_run(
    data: Path, folder: Path, options: TrainOptions, files: WeightFiles, world: World, callbacks: TrainCallbacks, *,
    device: str, is_fresh: bool, detected: Callable[[int, int], None],
) -> TrainingRun:  # fmt: skip
    """Makes a run ready to train. The first process detects the faces, the others read what it found.

    Args:
        is_fresh: the run begins anew. Else a state in the folder is loaded on trial, before anything is written there.
        detected: called with (number of pictures done, number of all) while faces are detected.

    Raises:
        GfpError: data, files or device that cannot be used.
    """
    target = choose_devices(local_device("cuda" if device == "auto" and torch.cuda.is_available() else device))[0]
    if target.type == "cuda":
        torch.cuda.set_device(target)
    nets = make_nets(options, files.start, files.prior)
    load_discriminators(nets, files.discriminators)
    if not is_fresh and (folder / STATE).exists():
        load_state(folder / STATE, nets, make_optimizers(options, nets), options)
    objective_for = load_objective(options, files, nets, target)
    samples, held_out = open_samples(data, folder, options, files.components, world, callbacks.note, detected)
    for net in nets.named().values():
        net.to(target)
    for net in nets.discriminators():
        net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # faster in bf16
    objective = objective_for(samples)
    return TrainingRun(options, folder, samples, held_out, nets, objective, target, world, callbacks)


def load_objective(
    options: TrainOptions, files: WeightFiles, nets: Nets, device: torch.device
) -> Callable[[FaceDataset], Phases]:
    """What makes the stage's objective, given the training faces.

    The frozen networks that it needs are loaded now, onto the device: before anything is written.

    Raises:
        CheckpointError: a file holds something else.
    """
    if options.stage == "prior":
        features = load_face_features(files.inception, device)
        return lambda samples: PriorObjective(options, nets, judge_by(samples, features))
    perceptual: Perceptual | None = perceptual_loss(files.vgg).to(device) if files.vgg else None
    identity: Identity | None = None
    if files.arcface:
        identity = arcface_loss(load_arcface(files.arcface).to(device))
    elif options.loss.identity:
        identity = builtin_identity_loss(BUILTINS["identity"], device)
    lite: ImageFeatures | None = load_lite0(files.lite).to(device) if files.lite else None
    objective = Objective(options, nets, perceptual, identity, lite)
    return lambda samples: objective


def is_begun(folder: Path, options: TrainOptions) -> bool:
    """Whether the folder holds a run, which these options can go on with.

    Raises:
        CheckpointError: a state that cannot be read.
        UsageError: the run was begun with other options, which the message names.
    """
    path = folder / STATE
    if not path.exists():
        return False
    check_same(path, read_training_state(path)["options"], options)
    return True


def load_arcface(path: Path) -> ArcFaceR18:
    """The identity network in eval mode, with frozen weights. Raises CheckpointError."""
    net = ArcFaceR18()
    try:
        net.load_state_dict(read_state(path))
    except RuntimeError as error:
        raise CheckpointError(f"{path}: not the ArcFace-R18 of GFP-GAN") from error
    return net.eval().requires_grad_(False)


def open_samples(
    data: Path, folder: Path, options: TrainOptions, components: Path | None, world: World, note: Warn,
    detected: Callable[[int, int], None],
) -> tuple[FaceDataset, FaceDataset]:  # fmt: skip
    """The training and the held-out samples; pictures without faces are named.

    Raises:
        InputError: no data, no face in it, or none that is not held out.
    """
    source = open_source(data, besides=folder)
    detector = load_detector_for(RestoreOptions(detector="builtin", device="cpu"), BUILTINS["builtin"])
    if not world.is_first:
        world.barrier()
    found = find_all_faces(source, folder, options.size, detector, detected)
    faces = tuple(face for picture in found.values() for face in picture.faces)
    if world.is_first:
        if faces:
            tell_left_out(found, folder, note)
        world.barrier()
    if not faces:
        raise InputError(f"{data}: no face to train on in {len(found)} pictures; {next(iter(found.values())).problem}")
    cut = tuple(face.name for face in faces if face.is_cut)
    cut_source = FolderSource(folder / CUT, cut) if cut else None
    given = read_components(components) if components else None
    train, held_out = split_faces(faces, options.held_out)
    samples = FaceDataset(source, cut_source, train, options, given)
    return samples, replace(samples, faces=held_out)


def tell_left_out(found: dict[str, FoundFaces], folder: Path, note: Warn) -> None:
    """Names the pictures without faces, each with its reason: the first five as notes, all in `left_out.txt`."""
    problems = [picture.problem for picture in found.values() if picture.problem]
    path = folder / LEFT_OUT
    path.unlink(missing_ok=True)
    if problems:
        write_bytes(path, ("\n".join(problems) + "\n").encode("utf-8", "surrogateescape"))
        for problem in problems[:5]:
            note(f"left out: {problem}")
        if len(problems) > 5:
            note(f"left out: {len(problems) - 5} more, see {path}")
