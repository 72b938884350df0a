"""The only place where a training run's files, networks, data and detector meet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from gfpcli.adapters.basicsr import perceptual_loss
from gfpcli.errors import CheckpointError, InputError, UsageError, WeightsError
from gfpcli.files.atomic import write_bytes
from gfpcli.model.arcface import ArcFaceR18
from gfpcli.model.checkpoint import read_state
from gfpcli.options import RestoreOptions
from gfpcli.train.data import Components, FaceSamples, read_components, split_faces
from gfpcli.train.distributed import Ranks, local_device
from gfpcli.train.faces import CUT, Looked, TrainingFace, look_at_all
from gfpcli.train.loop import Run, Watch
from gfpcli.train.nets import PARTS, load_judges, make_nets
from gfpcli.train.objective import Objective, Perceptual
from gfpcli.train.options import TrainOptions
from gfpcli.train.sources import FolderSource, Source, open_source
from gfpcli.weights.build import load_detector_for
from gfpcli.weights.cache import BUILTINS, Progress, fetch
from gfpcli.weights.choose import MODELS, Warn
from gfpcli.weights.devices import choose_devices

LEFT_OUT = "left_out.txt"


@dataclass(frozen=True, slots=True)
class Files:
    """The weight files a run starts from; None where it needs none."""

    start: Path | None
    prior: Path | None
    vgg: Path | None
    arcface: Path | None
    components: Path | None
    judges: dict[str, Path]


def choose_files(options: TrainOptions, *, offline: bool, progress: Progress | None = None) -> Files:
    """Names to files, downloaded where they are not in the cache.

    Raises:
        UsageError: a name that is neither known nor a file.
        WeightsError: a download that failed or is not allowed; names the switch that turns its term off.
    """

    def get(name: str, switch: str) -> Path:
        try:
            return fetch(name, offline=offline, progress=progress)
        except WeightsError as error:
            raise type(error)(f"{error}; to train without it: {switch}") from error

    loss = options.loss
    vgg = arcface = None
    if loss.perceptual or loss.style:
        vgg = get("vgg19", "--set loss.perceptual=0 --set loss.style=0")
    if loss.identity:
        arcface = get("arcface-r18", "--set loss.identity=0")
    judges = {}
    if options.discriminators == "official":
        switch = "--set discriminators=fresh"
        if loss.gan:
            judges["discriminator"] = get("gfpgan-1-d", switch)
        if loss.component_gan or loss.component_style:
            judges |= {part: get(f"gfpgan-1-d-{part.replace('_', '-')}", switch) for part in PARTS}
    prior = None
    if options.prior:
        is_file = Path(options.prior).is_file()
        if not is_file and options.prior != "stylegan2-ffhq":
            raise UsageError(f"--prior {options.prior!r}: choose stylegan2-ffhq or a file")
        prior = Path(options.prior) if is_file else get("stylegan2-ffhq", "leave --prior out")
    components = None
    if options.components != "auto":
        is_official = options.components == "ffhq-components"
        switch = "--set components=auto"
        components = get("ffhq-components", switch) if is_official else Path(options.components)
    return Files(_start_of(options, get), prior, vgg, arcface, components, judges)


def _start_of(options: TrainOptions, get: Callable[[str, str], Path]) -> Path | None:
    if not options.start:
        return None
    if options.start in MODELS:
        return get(options.start, "leave --from out")
    if options.start == "compact":
        return BUILTINS["compact"]
    for path in (Path(options.start), Path(f"{options.start}.safetensors")):
        if path.is_file():
            return path
    raise UsageError(f"--from {options.start!r}: choose one of compact, {', '.join(MODELS)}, or a checkpoint file")


def load_run(
    data: Path, folder: Path, options: TrainOptions, files: Files, ranks: Ranks, watch: Watch, *, device: str,
    looked: Callable[[int, int], None],
) -> Run:  # fmt: skip
    """A run ready to train. The first process looks at the pictures, the others read what it found.

    Args:
        looked: hears how many pictures were looked at, of how many.

    Raises:
        GfpError: data, files or device that cannot be used.
    """
    target = choose_devices(local_device("cuda" if device == "auto" and torch.cuda.is_available() else device))[0]
    if target.type == "cuda":
        torch.cuda.set_device(target)
    nets = make_nets(options, files.start, files.prior)
    load_judges(nets, files.judges)
    perceptual: Perceptual | None = None
    if files.vgg:
        perceptual = perceptual_loss(files.vgg).to(target)
    arcface = load_arcface(files.arcface).to(target) if files.arcface else None
    samples, held_out = open_samples(data, folder, options, files.components, ranks, watch.note, looked)
    for net in nets.named().values():
        net.to(target)
    for judge in nets.judges():
        judge.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # faster in bf16
    objective = Objective(options, nets, perceptual, arcface)
    return Run(options, folder, samples, held_out, nets, objective, target, ranks, watch)


def load_arcface(path: Path) -> ArcFaceR18:
    """In eval mode, without gradients of its own. Raises CheckpointError."""
    net = ArcFaceR18()
    try:
        net.load_state_dict(read_state(path))
    except RuntimeError as error:
        raise CheckpointError(f"{path}: not the ArcFace-R18 of GFP-GAN") from error
    return net.eval().requires_grad_(False)


def open_samples(
    data: Path, folder: Path, options: TrainOptions, components: Path | None, ranks: Ranks, note: Warn,
    looked: Callable[[int, int], None],
) -> tuple[FaceSamples, FaceSamples]:  # fmt: skip
    """Training and held-out samples; says what was left out.

    Raises:
        InputError: no data, or no face in it.
    """
    source = open_source(data, besides=folder)
    detector = load_detector_for(RestoreOptions(detector="builtin", device="cpu"), BUILTINS["builtin"])
    if ranks.is_first:
        found = look_at_all(source, folder, options.size, detector, looked)
        tell_left_out(found, folder, note)
        ranks.wait()
    else:
        ranks.wait()
        found = look_at_all(source, folder, options.size, detector, looked)
    faces = tuple(face for picture in found.values() for face in picture.faces)
    if not faces:
        raise InputError(f"{data}: no face to train on in {len(found)} pictures; {next(iter(found.values())).problem}")
    return samples_of(source, folder, faces, options, read_components(components) if components else None)


def samples_of(
    source: Source, folder: Path, faces: tuple[TrainingFace, ...], options: TrainOptions,
    given: dict[str, Components] | None,
) -> tuple[FaceSamples, FaceSamples]:  # fmt: skip
    """Training and held-out samples of known faces. Raises InputError where none are left to train on."""
    cut = tuple(face.name for face in faces if face.is_cut)
    cut_source = FolderSource(folder / CUT, cut) if cut else None
    train, held = split_faces(faces, options.held_out)
    return (
        FaceSamples(source, cut_source, train, options, given),
        FaceSamples(source, cut_source, held, options, given),
    )


def tell_left_out(found: dict[str, Looked], folder: Path, note: Warn) -> None:
    """Pictures that give no face, each with its reason: the first few told, all in `left_out.txt`."""
    problems = [picture.problem for picture in found.values() if picture.problem]
    path = folder / LEFT_OUT
    path.unlink(missing_ok=True)
    if problems:
        write_bytes(path, "".join(f"{problem}\n" for problem in problems).encode())
        for problem in problems[:5]:
            note(f"left out: {problem}")
        if len(problems) > 5:
            note(f"left out: {len(problems) - 5} more, see {path}")
