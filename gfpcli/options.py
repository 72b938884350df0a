"""What a run is asked to do: one frozen dataclass per command; the CLI's defaults are these defaults."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

from gfpcli.errors import UsageError

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
SAVE_KINDS = ("crops", "faces", "masks", "compare")
ENGINES = ("local", "ray")
FORMATS = ("auto", "png", "jpg", "webp", "tif", "bmp")
FACE_CHOICES = ("all", "largest", "center")
CODECS = ("copy-of-source", "h264", "h265", "av1", "vp9", "prores")
HARDWARE = ("_nvenc", "_qsv", "_amf", "_videotoolbox", "_vaapi", "_v4l2m2m", "_mf")  # ends of encoders' names
LEAST_TILE = 32  # px
THREADS = 2  # that decode
T = TypeVar("T")


def option(
    default: T, help: str, *, short: str = "", panel: str = "", flag: str = "", in_fingerprint: bool = True
) -> T:
    """A field of an options dataclass with all that is said of it: commands are made from these fields.

    Args:
        help: one line for `--help`.
        short: the one-letter flag, such as `-m`.
        panel: the group of flags under which `--help` lists it.
        flag: its name on the command line where that is not the field's (`--from` for `start`).
        in_fingerprint: whether it changes the pixels or the file of an output, so that outputs are made again with it.
    """
    facts = {"help": help, "short": short, "panel": panel, "flag": flag, "in_fingerprint": in_fingerprint}
    return field(default=default, metadata=facts)  # type: ignore[no-any-return, call-overload]


@dataclass(frozen=True, slots=True)
class FaceOptions:
    """Which faces are restored, by what and where: what photos and videos share.

    Raises:
        UsageError: a value out of range, or an unknown word; the message lists the valid ones.
    """

    model: str = "auto"  # name in the weights table, `compact`, or a checkpoint file
    scale: float = 2.0  # final scale of the whole image, 1..8
    strength: float = 1.0  # 0 gives the input back, 1 the network's face
    background: str = "none"  # name or checkpoint of the background upsampler; `none` is Lanczos
    tile: int = 0  # background tile edge in px; 0 = automatic
    aligned: bool = False  # inputs are aligned square faces: no detection, no paste
    faces: str = "all"  # all | largest | center | N (the N largest)
    min_face: float = 16.0  # px of the input; smaller boxes are left alone
    detector: str = "auto"  # name, `builtin`, or a checkpoint file
    det_threshold: float = 0.8  # lowest score
    det_size: int = 1280  # longest side the detector sees, px; 0 = full size
    mask: str = "auto"  # auto | parse | soft | a ParseNet checkpoint
    device: str = "auto"  # auto | cpu | cuda[:i] | mps, or several of one kind with commas
    precision: str = "auto"  # auto | fp32 | bf16 | fp16
    compile: bool | None = None  # torch.compile the face network; None: where the run is long enough
    batch_size: int = 0  # faces per network call; 0 = automatic
    strip: bool = False  # drop metadata
    force: bool = False  # redo what the ledger says is done
    dry_run: bool = False  # print the plan, write nothing
    offline: bool = False  # open no socket
    fail_fast: bool = False  # stop at the first failure
    engine: str = "local"  # local | ray
    address: str = ""  # of a Ray cluster: auto, HOST or HOST:PORT; empty = RAY_ADDRESS, else one of this machine alone
    gpus_per_worker: float = 1.0  # of Ray, where there are any

    def __post_init__(self) -> None:
        check_within("scale", self.scale, 1, 8)
        check_within("strength", self.strength, 0, 1)
        check_within("det-threshold", self.det_threshold, 0, 1)
        check_within("batch-size", self.batch_size, 0, 1024)
        check_within("tile", self.tile, 0, 1 << 20)
        if 0 < self.tile < LEAST_TILE:
            raise UsageError(f"--tile {self.tile}: choose 0 (automatic) or at least {LEAST_TILE}")
        check_within("det-size", self.det_size, 0, 1 << 20)
        check_within("min-face", self.min_face, 0, 1 << 20)
        check_one_of("precision", self.precision, PRECISIONS)
        if self.faces not in FACE_CHOICES and not (self.faces.isdigit() and int(self.faces) > 0):
            raise UsageError(f"--faces {self.faces!r}: choose all, largest, center or a number above 0")
        devices_in(self.device)
        check_one_of("engine", self.engine, ENGINES)
        check_within("gpus-per-worker", self.gpus_per_worker, 0, 64)
        if self.gpus_per_worker > 1 and self.gpus_per_worker % 1:  # Ray gives shares of one GPU, not of several
            raise UsageError(f"--gpus-per-worker {self.gpus_per_worker:g}: choose a whole number, or less than 1")
        if self.address and self.engine != "ray":
            raise UsageError("--address is of --engine ray: give both")
        if self.aligned and self.background != "none":
            raise UsageError("--aligned has no background: leave --background out")


@dataclass(frozen=True, slots=True)
class RestoreOptions(FaceOptions):
    """Options of `gfp restore`. Raises UsageError as `FaceOptions`."""

    workers: int = 0  # decoding threads, or the workers of a cluster; 0 = automatic
    format: str = "auto"  # output format; auto keeps the input's
    quality: int = 95  # JPEG and WebP quality, 1..100
    suffix: str = ""  # added to the file name's stem
    save: tuple[str, ...] = ()  # of SAVE_KINDS

    def __post_init__(self) -> None:
        FaceOptions.__post_init__(self)
        check_within("quality", self.quality, 1, 100)
        check_within("workers", self.workers, 0, 64 if self.engine == "local" else 10_000)
        check_one_of("format", self.format, FORMATS)
        for kind in self.save:
            check_one_of("save", kind, SAVE_KINDS)
        _check_suffix(self.suffix)

    @property
    def n_threads(self) -> int:
        """That decode, of one machine or one worker."""
        return self.workers if self.workers and self.engine == "local" else THREADS


@dataclass(frozen=True, slots=True)
class BenchOptions(RestoreOptions):
    """Options of `gfp bench`. Raises UsageError as `FaceOptions`."""

    rounds: int = 3  # each picture is restored so many times
    threads: int = 0  # of torch and OpenCV on the CPU; 0 = their own choice

    def __post_init__(self) -> None:
        RestoreOptions.__post_init__(self)
        if self.engine != "local":
            raise UsageError("engine: bench times this machine only; leave it out")
        check_within("rounds", self.rounds, 1, 1000)
        check_within("threads", self.threads, 0, 1024)


@dataclass(frozen=True, slots=True)
class VideoOptions(FaceOptions):
    """Options of `gfp video`. Raises UsageError as `FaceOptions`."""

    scale: float = 1.0  # a clip is mostly wanted at its own size; photos are mostly wanted larger
    suffix: str = ""  # added to the file name's stem
    codec: str = "copy-of-source"  # of CODECS, or a hardware encoder by ffmpeg's name
    crf: int = -1  # constant quality, lower is better; -1 = the codec's usual one
    preset: str = ""  # the encoder's own speed word or number; empty = its usual one
    pix_fmt: str = "auto"  # ffmpeg's name; auto keeps the input's depth and chroma
    start: float = 0.0  # seconds from the first frame; what comes before is left out
    end: float = 0.0  # seconds from the first frame; 0 = to the end
    smooth: float = 0.5  # temporal stability, 0 = each frame alone
    detect_every: int = 0  # frames from one look for faces to the next; 0 = automatic
    rate: float = 25.0  # frames/s of a folder of frames
    frames_dir: str = ""  # folder that keeps each finished frame as PNG
    preview: int = 0  # frames of a before/after strip, made instead of the video; 0 = the video
    workers: int = 0  # of a cluster; 0 = as many as it holds

    def __post_init__(self) -> None:
        FaceOptions.__post_init__(self)
        check_within("smooth", self.smooth, 0, 1)
        check_within("crf", self.crf, -1, 63)
        check_within("detect-every", self.detect_every, 0, 60)
        check_within("rate", self.rate, 0.1, 1000)
        check_within("preview", self.preview, 0, 32)
        check_within("workers", self.workers, 0, 10_000)
        if self.workers and self.engine == "local":
            raise UsageError("--workers is of --engine ray: give both")
        check_within("start", self.start, 0, 1e9)
        check_within("end", self.end, 0, 1e9)
        _check_suffix(self.suffix)
        if self.aligned:
            raise UsageError("aligned: for photos only; gfp video finds the faces of its clips")
        if self.end and self.end <= self.start:
            raise UsageError(f"--end {self.end:g} is not after --start {self.start:g}")
        if self.codec not in CODECS and not self.codec.endswith(HARDWARE):
            raise UsageError(
                f"--codec {self.codec!r}: choose one of {', '.join(CODECS)}, or a hardware encoder such as h264_nvenc"
            )
        if self.codec == "prores" and self.crf >= 0:
            raise UsageError("--crf: prores has no such setting; leave it out")


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
    is_numbered = name.startswith("cuda:") and name.removeprefix("cuda:").isdigit()
    if name not in ("auto", "cpu", "cuda", "mps") and not is_numbered:
        raise UsageError(f"--device {name!r}: choose auto, cpu, cuda, cuda:N or mps")


def check_within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:  # also refuses NaN
        raise UsageError(f"--{name} {value}: choose a number from {low} to {high}")


def _check_suffix(suffix: str) -> None:
    if any(sign in suffix for sign in "/\\\0"):
        raise UsageError("--suffix must not hold a path separator")


def check_one_of(name: str, value: str, valid: tuple[str, ...]) -> None:
    if value not in valid:
        raise UsageError(f"--{name} {value!r}: choose one of {', '.join(valid)}")
