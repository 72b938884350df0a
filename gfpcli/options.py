"""Options of the commands: one frozen dataclass each, whose fields are also the flags and the keys of gfp.toml."""

from __future__ import annotations

from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from gfpcli.errors import UsageError

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
RUNTIMES = ("auto", "torch", "onnx")
DEFAULT_TEMPLATE = "ffhq_512"
TEMPLATES = (DEFAULT_TEMPLATE, "arcface_128")  # how faces are aligned for the network; named as face tools name them
LICENCES = ("gpen", "codeformer", "spandrel-extra-arches")  # non-commercial, of networks of other origins
EXPORT_KINDS = ("restorer", "detector", "mask", "background", "identifier")
SAVE_KINDS = ("crops", "faces", "masks", "compare", "map")
ENGINES = ("local", "ray")
OUTPUT_FORMATS = ("auto", "png", "jpg", "webp", "tif", "bmp", "heic", "avif", "jxl")
FACE_CHOICES = ("all", "largest", "center")
CODECS = ("copy-of-source", "h264", "h265", "av1", "vp9", "prores")
HARDWARE = ("_nvenc", "_qsv", "_amf", "_videotoolbox", "_vaapi", "_v4l2m2m", "_mf")  # ends of encoders' names
LEAST_TILE = 32  # px
THREADS = 2  # that decode
# least score of a guarded face by the px of the photo across its crop; chosen on damaged training faces: MODEL_CARD.md
IDENTITY_LIMITS = ((32.0, 0.96), (64.0, 0.8))
MOST_DIGITS = 9  # of a number in a word, such as cuda:1
MOST_DEVICE = 127  # torch counts devices in 8 bits, and takes cuda:256 for cuda:0
PANELS = IN_OUT, FACES, BACKGROUND, TRAINING, SPEED, MACHINES, RUN = (
    "Input and output", "Faces", "Background", "Training", "Speed and devices", "Many machines", "Run",
)  # fmt: skip  # groups of flags, in the order of `--help`
T = TypeVar("T")


def option(
    default: T, help: str, *, short: str = "", panel: str = "", flag: str = "", in_fingerprint: bool = True,
    within: tuple[float, float] | None = None, words: tuple[str, ...] = (),
) -> T:  # fmt: skip
    """A field of an options dataclass with all that is said of it: commands are made from these fields.

    The flag of a tuple is a comma list where it has `words`; else it may be repeated.

    Args:
        help: one line for `--help`; the valid words are put before it.
        short: the one-letter flag, such as `-m`.
        panel: the group of flags under which `--help` lists it.
        flag: its name on the command line where that is not the field's (`--from` for `start`).
        in_fingerprint: whether it changes the pixels or the file of an output, so that outputs are made again with it.
        within: least and largest value; of an option that is text, of the numbers that it also takes.
        words: all valid values.
    """
    facts = {"help": help, "short": short, "panel": panel, "flag": flag, "in_fingerprint": in_fingerprint,
             "within": within, "words": words}  # fmt: skip
    return field(default=default, metadata=facts)  # type: ignore[no-any-return, call-overload]


def option_of(kind: type[Any], name: str, default: Any, *, panel: str = "") -> Any:
    """An option of another dataclass with a default, and where it is given a panel, of its own."""
    facts = kind.__dataclass_fields__[name].metadata
    return field(default=default, metadata={**facts, "panel": panel or facts["panel"]})


@dataclass(frozen=True)
class Options:
    """Base of the options that are checked field by field.

    Raises:
        UsageError: a value out of its range, or an unknown word; the message lists the valid ones.
    """

    left_out: ClassVar[tuple[str, ...]] = ()  # fields of a base class that are no options of the command

    def __post_init__(self) -> None:
        for each in fields(self):
            value, name = getattr(self, each.name), each.name.replace("_", "-")
            if (within := each.metadata["within"]) and isinstance(value, int | float):
                check_within(name, value, *within)
            if words := each.metadata["words"]:
                for word in value if isinstance(value, tuple) else (value,):
                    check_one_of(name, word, words)


def options_of(kind: type[Any]) -> list[Field[Any]]:
    """The fields of an options dataclass that its command offers."""
    return [each for each in fields(kind) if each.name not in kind.left_out]


@dataclass(frozen=True)
class CommandOptions(Options):
    """What every command that works for long is told. Nothing of it changes an output. Raises UsageError."""

    dry_run: bool = option(False, "print the plan, write nothing", panel=RUN, in_fingerprint=False)
    offline: bool = option(False, "open no socket", panel=RUN, in_fingerprint=False)
    quiet: bool = option(False, "failures only", short="-q", panel=RUN, in_fingerprint=False)


@dataclass(frozen=True)
class FaceOptions(Options):
    """Which faces are restored, by which networks and on which device: what photos and videos share.

    Raises:
        UsageError: a value out of range, or an unknown word; the message lists the valid ones.
    """

    # the files that these names lead to are in the fingerprint
    model: str = option("auto", "auto, gfpgan-1.4|1.3|1.2|1, compact, compact-512, or a checkpoint or ONNX file",
                        short="-m", panel=FACES, in_fingerprint=False)  # fmt: skip
    scale: float = option(2.0, "of the whole image, 1 to 8", short="-s", panel=IN_OUT, within=(1, 8))
    strength: str = option(
        "auto", "0 keeps the photo's face, 1 takes the network's; auto: by the blur and noise measured on each face",
        panel=FACES, within=(0, 1),
    )  # fmt: skip
    identity_guard: str = option(
        "on", "on, off, or the least identity score, 0 to 1: a face that would become another person is restored less, "
        "or kept as it is", panel=FACES, within=(0, 1),
    )  # fmt: skip
    background: str = option(
        "none",
        "what enlarges all but the faces: none (Lanczos), compact-x2 (built in), realesrgan-x2, realesrgan-x4, "
        "realesr-general, realesr-general-wdn, or a checkpoint; at scale 1 it cleans: enlarges, then reduces",
        short="-b", panel=BACKGROUND, in_fingerprint=False,
    )  # fmt: skip
    tile: int = option(0, "background tile edge, px; 0 = by free memory", panel=BACKGROUND, within=(0, 1 << 20))
    aligned: bool = option(False, "inputs are aligned square faces: no detection, no paste", panel=FACES)
    faces: str = option("all", "all, largest, center, or N largest", panel=FACES)
    min_face: float = option(16.0, "smaller boxes are left alone, px of the input", panel=FACES, within=(0, 1 << 20))
    max_face: float = option(0.0, "boxes with a longer side are left alone, px of the input; 0 = none", panel=FACES,
                             within=(0, 1 << 20))  # fmt: skip
    detector: str = option("auto", "auto, retinaface-r50, builtin, or a RetinaFace file", panel=FACES,
                           in_fingerprint=False)  # fmt: skip
    det_threshold: float = option(0.8, "lowest score of a face, 0 to 1", panel=FACES, within=(0, 1))
    det_size: int = option(1280, "longest side the detector sees, px; 0 = full", panel=FACES, within=(0, 1 << 20))
    turns: int = option(
        3, "turns in which a picture without an upright face is looked at too: 1 = 180 degrees, 3 = also 90 and 270, "
        "0 = none (all that clips do unless asked: each frame without a face would be looked at again)",
        panel=FACES, within=(0, 3),
    )  # fmt: skip
    mask: str = option("auto", "auto, parse, soft, or a ParseNet file", panel=FACES, in_fingerprint=False)
    identifier: str = option(
        "auto", "whose face it is: auto (builtin), builtin, arcface-r18, or a checkpoint of either kind", panel=FACES,
        in_fingerprint=False,
    )  # fmt: skip
    template: str = option("auto", "how faces are aligned for --model; auto goes by its name", panel=FACES,
                           words=("auto", *TEMPLATES))  # fmt: skip
    fidelity: float | None = option(None, "0 to 1: for a network that has a `weight` input (CodeFormer); 1 keeps most "
                                    "of the photo's face [default: 0.5]", panel=FACES, within=(0, 1))  # fmt: skip
    device: str = option("auto", "auto, cpu, cuda, cuda:N or mps; several with commas: cuda:0,cuda:1", panel=SPEED)
    precision: str = option("auto", "auto is the fastest that agrees with fp32", panel=SPEED, words=PRECISIONS)
    runtime: str = option(
        "auto", "what runs the networks: auto takes onnxruntime for .onnx files and, on a CPU, for ParseNet and the "
        "face network where it is faster with the same result, else torch; onnx exports all first, once, and then "
        "starts without torch (pip install 'gfpcli[onnx]')", panel=SPEED, words=RUNTIMES,
    )  # fmt: skip
    provider: str = option("auto", "of onnxruntime: cpu, cuda, openvino, dml, coreml, ...; auto goes by --device, then "
                           "by onnxruntime's own order", panel=SPEED)  # fmt: skip
    compile: bool | None = option(None, "torch.compile [default: in long runs]", panel=SPEED, in_fingerprint=False)
    batch_size: int = option(0, "faces per network call, 0 = automatic", panel=SPEED, in_fingerprint=False,
                             within=(0, 1024))  # fmt: skip
    accept_licence: tuple[str, ...] = option(
        (), "non-commercial licences of networks of other origins that you accept; once, it is remembered", panel=RUN,
        words=LICENCES, in_fingerprint=False,
    )  # fmt: skip
    strip: bool = option(False, "drop the input's metadata; gfp's label stays", panel=IN_OUT)
    label: bool = option(True, "say in each output's XMP that a network drew faces, which one and how strongly",
                         panel=IN_OUT)  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        if 0 < self.tile < LEAST_TILE:
            raise UsageError(f"--tile {self.tile}: choose 0 (automatic) or at least {LEAST_TILE}")
        if self.faces not in FACE_CHOICES and not (is_number(self.faces) and int(self.faces) > 0):
            raise UsageError(f"--faces {self.faces!r}: choose all, largest, center or a number above 0")
        check_share("strength", self.strength, ("auto",))
        check_share("identity-guard", self.identity_guard, ("on", "off"))
        devices_in(self.device)
        if self.aligned and self.background != "none":
            raise UsageError("--aligned has no background: leave --background out")

    @property
    def fixed_strength(self) -> float | None:
        """0..1; None where each face's own is measured."""
        return None if self.strength == "auto" else float(self.strength)

    @property
    def identity_limits(self) -> tuple[tuple[float, float], ...]:
        """Pairs of a face's size, px of the photo across its crop, and its least identity score, 0..1.

        Between them the score is interpolated. No pairs where faces are not guarded.
        """
        words = {"on": IDENTITY_LIMITS, "off": ()}
        return words[self.identity_guard] if self.identity_guard in words else ((0.0, float(self.identity_guard)),)


@dataclass(frozen=True)
class RunOptions(CommandOptions):
    """How a run over many inputs goes, and on which machines. Nothing of it changes an output. Raises UsageError."""

    force: bool = option(False, "redo what the ledger says is done", panel=RUN, in_fingerprint=False)
    fail_fast: bool = option(False, "stop at the first failure", panel=RUN, in_fingerprint=False)
    engine: str = option("local", "this machine, or those of a Ray cluster (pip install 'gfpcli[ray]')",
                         panel=MACHINES, in_fingerprint=False, words=ENGINES)  # fmt: skip
    address: str = option(
        "",
        "of the Ray cluster: auto (the one that runs on this machine), HOST or HOST:PORT; default: RAY_ADDRESS, else "
        "one of this machine alone, for this run",
        panel=MACHINES, in_fingerprint=False,
    )  # fmt: skip
    gpus_per_worker: float = option(
        1.0, "with --engine ray, a share such as 0.5 too; none on a cluster without GPUs, or with cpu",
        panel=MACHINES, in_fingerprint=False, within=(0, 64),
    )  # fmt: skip
    workers: int = option(0, "with --engine ray, 0 = as many as the cluster holds", panel=MACHINES,
                          in_fingerprint=False, within=(0, 10_000))  # fmt: skip
    json: str | None = option(None, "FILE or -: one JSON record a line for each input", panel=IN_OUT,
                              in_fingerprint=False)  # fmt: skip
    hidden: bool = option(False, "in folders: take hidden files too, and what a NAS, a Mac or Windows leaves there",
                          panel=IN_OUT, in_fingerprint=False)  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.gpus_per_worker > 1 and self.gpus_per_worker % 1:  # Ray gives shares of one GPU, not of several
            raise UsageError(f"--gpus-per-worker {self.gpus_per_worker:g}: choose a whole number, or less than 1")
        if self.address and self.engine != "ray":
            raise UsageError("--address is of --engine ray: give both")


@dataclass(frozen=True)
class RestoreOptions(RunOptions, FaceOptions):
    """Options of `gfp restore`. Raises UsageError as `FaceOptions`."""

    workers: int = option(
        0,
        "decoding threads (0 = 2); with --engine ray the workers, each with a restorer of its own (0 = as many as the "
        "cluster holds)",
        panel=SPEED, in_fingerprint=False, within=(0, 10_000),
    )  # fmt: skip
    format: str = option("auto", "auto keeps the input's", panel=IN_OUT, words=OUTPUT_FORMATS)
    quality: str = option(
        "auto",
        "of JPEG, WebP, HEIC, AVIF and JPEG XL: auto is the input's own (lossless WebP stays so), or 1 to 100",
        panel=IN_OUT, within=(1, 100),
    )  # fmt: skip
    suffix: str = option("", "added to each file name's stem", panel=IN_OUT)
    # not in the fingerprint: an output that is done is given the dates without being made again
    keep_times: bool = option(False, "give each output the dates of its input", panel=IN_OUT, in_fingerprint=False)
    save: tuple[str, ...] = option((), "kept besides the result: a comma list", panel=IN_OUT, words=SAVE_KINDS)
    only: tuple[str, ...] = option(
        (), "PHOTO of one face: restores that person's faces only; may be repeated", panel=FACES, in_fingerprint=False
    )
    without: tuple[str, ...] = option(
        (), "PHOTO of one face: leaves that person's faces alone; may be repeated", flag="--not", panel=FACES,
        in_fingerprint=False,
    )  # fmt: skip
    plan: str | None = option(
        None, "FILE.json of gfp faces or of a report: restores the faces it names, as it says; its word is obeyed over "
        "--faces, --min-face and --max-face", panel=FACES, in_fingerprint=False,
    )  # fmt: skip
    report: str | None = option(None, "FILE.html: one page with before/after sliders, faces, failures, settings",
                                panel=IN_OUT, in_fingerprint=False)  # fmt: skip

    # not in the fingerprint: what is listed changes no output
    review_below: float = option(0.0, "list the faces whose identity score, 0 to 1, is below this: look at them",
                                 panel=FACES, in_fingerprint=False, within=(0, 1))  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        check_within("workers", self.workers, 0, 64 if self.engine == "local" else 10_000)
        _check_suffix(self.suffix)
        named = [name for name in ("plan", "only", "not") if getattr(self, "without" if name == "not" else name)]
        if named and self.aligned:
            raise UsageError(f"--aligned pictures are one face each: leave --{named[0]} out")
        if self.plan and len(named) > 1:
            raise UsageError(f"--plan says which faces are restored: leave --{named[1]} out")
        is_quality = is_number(self.quality) and 1 <= int(self.quality) <= 100
        if self.quality != "auto" and not is_quality:
            raise UsageError(f"--quality {self.quality!r}: choose auto, or a number from 1 to 100")

    @property
    def n_threads(self) -> int:
        """Decoding threads of one machine or one worker."""
        return self.workers if self.workers and self.engine == "local" else THREADS


@dataclass(frozen=True)
class WatchOptions(RestoreOptions):
    """Options of `gfp watch`. Raises UsageError as `FaceOptions`."""

    left_out = ("dry_run", "force", "fail_fast", "engine", "address", "gpus_per_worker", "report")
    settle: float = option(
        2.0, "a file is whole when it has not changed for so long and nobody writes into it, s", panel=IN_OUT,
        in_fingerprint=False, within=(0.1, 3600),
    )  # fmt: skip


@dataclass(frozen=True)
class FacesOptions(RestoreOptions):
    """Options of `gfp faces`. Raises UsageError as `FaceOptions`."""

    left_out = (
        "dry_run", "fail_fast", "engine", "address", "gpus_per_worker", "json", "scale", "identity_guard", "background",
        "tile", "aligned", "mask", "precision", "compile", "batch_size", "strip", "format", "quality", "suffix",
        "keep_times", "save", "report", "label", "plan",
    )  # fmt: skip
    force: bool = option(False, "replace a plan, which somebody may have edited", panel=RUN, in_fingerprint=False)
    workers: int = option(0, "decoding threads (0 = 2)", panel=SPEED, in_fingerprint=False, within=(0, 64))
    sheet: str | None = option(None, "FILE.png: contact sheet with a row for each person", panel=IN_OUT,
                               in_fingerprint=False)  # fmt: skip


@dataclass(frozen=True)
class BenchOptions(RestoreOptions):
    """Options of `gfp bench`. Raises UsageError as `FaceOptions`."""

    left_out = (
        "dry_run", "quiet", "force", "fail_fast", "engine", "address", "gpus_per_worker", "workers", "hidden", "suffix",
        "keep_times", "save", "report", "label", "plan", "only", "without",
    )  # fmt: skip
    rounds: int = option(3, "how often each picture is restored", panel=SPEED, within=(1, 1000))
    threads: int = option(0, "of torch and OpenCV on the CPU; 0 = their own choice", panel=SPEED, within=(0, 1024))
    json: str | None = option(None, "FILE or -: one JSON record a line for each stage", panel=IN_OUT,
                              in_fingerprint=False)  # fmt: skip


@dataclass(frozen=True)
class VideoOptions(RunOptions, FaceOptions):
    """Options of `gfp video`. Raises UsageError as `FaceOptions`."""

    left_out = ("aligned",)
    scale: float = option_of(FaceOptions, "scale", 1.0)  # a clip is mostly wanted at its own size, a photo larger
    turns: int = option_of(FaceOptions, "turns", 0)
    suffix: str = option_of(RestoreOptions, "suffix", "")
    codec: str = option("copy-of-source", f"{', '.join(CODECS)}, or a hardware encoder (h264_nvenc)", panel=IN_OUT)
    crf: int = option(-1, "constant quality, lower is better; -1 = the codec's usual", panel=IN_OUT, within=(-1, 63))
    preset: str = option("", "the encoder's speed: medium, slow, ...; empty = its usual", panel=IN_OUT)
    pix_fmt: str = option("auto", "ffmpeg's name; auto keeps depth and chroma", panel=IN_OUT)
    audio: str = option("auto", "auto: AAC for what players of .mp4 do not know; copy: as it is", panel=IN_OUT,
                        words=("auto", "copy"))  # fmt: skip
    start: float = option(0.0, "leave out what comes before, s", panel=IN_OUT, within=(0, 1e9))
    end: float = option(0.0, "leave out what comes after, s; 0 = nothing", panel=IN_OUT, within=(0, 1e9))
    smooth: float = option(0.5, "temporal stability, 0 to 1; 0 = each frame alone", panel=FACES, within=(0, 1))
    detect_every: int = option(0, "look for faces in every N-th frame; 0 = automatic", panel=FACES, within=(0, 60))
    look_every: int = option(
        0, "look for new faces in every N-th frame only, and follow known ones between; 1 = follow none, 0 = every "
        "half second (with --smooth 0: 1)", panel=FACES, within=(0, 60),
    )  # fmt: skip
    rate: float = option(25.0, "frames/s of a folder of frames", panel=IN_OUT, within=(0.1, 1000))
    frames_dir: str = option("", "also keep each finished frame as PNG in this folder", panel=IN_OUT)
    preview: int = option(0, "N: only a before/after strip of N frames and a short clip", panel=IN_OUT, within=(0, 32))
    report: str | None = option(None, "FILE.html: one page with before and after playing together, faces, failures",
                                panel=IN_OUT, in_fingerprint=False)  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.workers and self.engine == "local":
            raise UsageError("--workers is of --engine ray: give both")
        _check_suffix(self.suffix)
        if self.end and self.end <= self.start:
            raise UsageError(f"--end {self.end:g} is not after --start {self.start:g}")
        if self.codec not in CODECS and not self.codec.endswith(HARDWARE):
            raise UsageError(
                f"--codec {self.codec!r}: choose one of {', '.join(CODECS)}, or a hardware encoder such as h264_nvenc"
            )
        if self.codec == "prores" and self.crf >= 0:
            raise UsageError("--crf: prores has no such setting; leave it out")


@dataclass(frozen=True)
class ExportOptions(Options):
    """Options of `gfp export`: exactly one of the five parts. Raises UsageError."""

    model: str = option("", "a face restorer: gfpgan-1.4, compact, or a checkpoint file", short="-m", panel=IN_OUT)
    detector: str = option("", "a detector: retinaface-r50, builtin, or a checkpoint file", panel=IN_OUT)
    mask: str = option("", "a face parser: parse, or a checkpoint file", panel=IN_OUT)
    background: str = option("", "a background network: realesrgan-x4, compact-x2, or a checkpoint file", short="-b",
                             panel=IN_OUT)  # fmt: skip
    identifier: str = option("", "an identity network: builtin, arcface-r18, or a checkpoint file", panel=IN_OUT)
    precision: str = option("fp32", "of the file's numbers; fp16 is half as large", panel=IN_OUT,
                            words=("fp32", "fp16"))  # fmt: skip
    force: bool = option(False, "replace a file that is there already", panel=RUN)
    offline: bool = option(False, "open no socket", panel=RUN)

    def __post_init__(self) -> None:
        super().__post_init__()
        if sum(bool(name) for name in self.part_names) != 1:
            raise UsageError("give one of --model, --detector, --mask, --background and --identifier")

    @property
    def part_names(self) -> tuple[str, ...]:
        """The name given for each of EXPORT_KINDS, or an empty one."""
        return self.model, self.detector, self.mask, self.background, self.identifier


@dataclass(frozen=True)
class EvalOptions(Options):
    """Options of `gfp eval`. Raises UsageError: a wrong value, or a table named like another kind of file."""

    channel: str = option("rgb", "what PSNR and SSIM are measured on", words=("rgb", "y"))
    crop: int = option(0, "px cut off each edge for PSNR, SSIM, NIQE and sharpness", within=(0, 10_000))
    no_reference: bool = option(False, "one picture or folder, no true ones: NIQE, sharpness; FID with --fid-stats",
                                flag="--no-reference")  # fmt: skip
    fid_stats: Path | None = option(None, "FILE.npz: FID's statistics of the reference; made from REFERENCE where the "
                                    "file is not there, else read in place of it")  # fmt: skip
    json: str | None = option(None, "FILE or -: one JSON record a line for each pair, then the means")
    csv: Path | None = option(None, "FILE.csv: the table of means")
    latex: Path | None = option(None, "FILE.tex: the table of means as a LaTeX tabular")
    video: bool = option(False, "compare a restored clip with its input: flicker, warping error, jitter of landmarks, "
                         "fine detail, beside the input's own; needs no weights but those in the package")  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, suffix in (("csv", ".csv"), ("latex", ".tex"), ("fid_stats", ".npz")):
            path = getattr(self, name)
            if path is not None and path.suffix.lower() != suffix:
                raise UsageError(f"--{name.replace('_', '-')} {path}: give a name that ends in {suffix}")


@dataclass(frozen=True)
class VerifyOptions(Options):
    """Options of `gfp verify`."""

    json: str | None = option(None, "FILE or -: one JSON record a line for each file")
    quiet: bool = option(False, "tell only of files that are not gfp's and unchanged", short="-q")


PipelineOptions = RestoreOptions | VideoOptions  # what a run of the pipeline is told, `gfp bench` with them


def devices_in(names: str) -> tuple[str, ...]:
    """The devices of a list such as cuda:0,cuda:1. Raises UsageError for what names no device, and for a mixture."""
    devices = tuple(names.split(","))
    for name in devices:
        check_device(name)
    if len(devices) > 1 and ("auto" in devices or len({name.partition(":")[0] for name in devices}) > 1):
        raise UsageError(f"--device {names!r}: several devices must be of one kind, such as cuda:0,cuda:1")
    return devices


def check_device(name: str) -> None:
    """Raises UsageError for what names no kind of device."""
    number = name.removeprefix("cuda:") if name.startswith("cuda:") else ""
    is_numbered = is_number(number) and int(number) <= MOST_DEVICE
    if name not in ("auto", "cpu", "cuda", "mps") and not is_numbered:
        raise UsageError(f"--device {name!r}: choose auto, cpu, cuda, cuda:N or mps")


def is_number(word: str) -> bool:
    """Whether it is a whole number in ASCII digits: other scripts' digits are none to `int` or to torch."""
    return word.isascii() and word.isdigit() and len(word) <= MOST_DIGITS


def check_within(name: str, value: float, low: float, high: float) -> None:
    """Raises UsageError for a flag's number outside of low to high."""
    if not low <= value <= high:  # also refuses NaN
        raise UsageError(f"--{name} {value}: choose a number from {low} to {high}")


def check_share(name: str, value: str, words: tuple[str, ...]) -> None:
    """Raises UsageError for a flag's text that is neither one of `words` nor a number from 0 to 1."""
    if value in words:
        return
    try:
        number = float(value)
    except ValueError:
        raise UsageError(f"--{name} {value!r}: choose {', '.join(words)}, or a number from 0 to 1") from None
    check_within(name, number, 0, 1)


def check_one_of(name: str, value: str, valid: tuple[str, ...]) -> None:
    """Raises UsageError for a flag's word that is not valid."""
    if value not in valid:
        raise UsageError(f"--{name} {value!r}: choose one of {', '.join(valid)}")


def _check_suffix(suffix: str) -> None:
    if any(sign in suffix for sign in "/\\\0"):
        raise UsageError("--suffix must not hold a path separator")
