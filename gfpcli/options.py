"""What a run is asked to do: one frozen dataclass per command; the CLI's defaults are these defaults."""

from __future__ import annotations

from dataclasses import dataclass

from gfpcli.errors import UsageError

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
SAVE_KINDS = ("crops", "faces", "masks", "compare")
FORMATS = ("auto", "png", "jpg", "webp", "tif", "bmp")
FACE_CHOICES = ("all", "largest", "center")


@dataclass(frozen=True, slots=True)
class RestoreOptions:
    """Options of `gfp restore`.

    Raises:
        UsageError: a value out of range, or an unknown word; the message lists the valid ones.
    """

    model: str = "auto"  # name in the weights table, `compact`, or a checkpoint file
    scale: float = 2.0  # final scale of the whole image, 1..8
    strength: float = 1.0  # 0 gives the input back, 1 the network's face
    background: str = "none"  # background upsampler; `none` is Lanczos
    tile: int = 0  # background tile edge in px; 0 = automatic
    aligned: bool = False  # inputs are aligned square faces: no detection, no paste
    faces: str = "all"  # all | largest | center | N (the N largest)
    min_face: float = 16.0  # px of the input; smaller boxes are left alone
    detector: str = "auto"  # name, `builtin`, or a checkpoint file
    det_threshold: float = 0.8  # lowest score
    det_size: int = 1280  # longest side the detector sees, px; 0 = full size
    mask: str = "auto"  # auto | parse | soft | a ParseNet checkpoint
    device: str = "auto"  # auto | cpu | cuda[:i] | mps
    precision: str = "auto"  # auto | fp32 | bf16 | fp16
    compile: bool = False  # torch.compile the face network
    batch_size: int = 0  # faces per network call; 0 = automatic
    workers: int = 2  # decoding and encoding threads
    format: str = "auto"  # output format; auto keeps the input's
    quality: int = 95  # JPEG and WebP quality, 1..100
    suffix: str = ""  # added to the file name's stem
    save: tuple[str, ...] = ()  # of SAVE_KINDS
    strip: bool = False  # drop metadata
    force: bool = False  # redo what the ledger says is done
    dry_run: bool = False  # print the plan, write nothing
    offline: bool = False  # open no socket
    fail_fast: bool = False  # stop at the first failure

    def __post_init__(self) -> None:
        _within("scale", self.scale, 1, 8)
        _within("strength", self.strength, 0, 1)
        _within("det-threshold", self.det_threshold, 0, 1)
        _within("quality", self.quality, 1, 100)
        _within("batch-size", self.batch_size, 0, 1024)
        _within("workers", self.workers, 1, 64)
        _within("tile", self.tile, 0, 1 << 20)
        _within("det-size", self.det_size, 0, 1 << 20)
        _within("min-face", self.min_face, 0, 1 << 20)
        _one_of("precision", self.precision, PRECISIONS)
        _one_of("format", self.format, FORMATS)
        for kind in self.save:
            _one_of("save", kind, SAVE_KINDS)
        if self.faces not in FACE_CHOICES and not (self.faces.isdigit() and int(self.faces) > 0):
            raise UsageError(f"--faces {self.faces!r}: choose all, largest, center or a number above 0")
        if self.device not in ("auto", "cpu", "cuda", "mps") and not self.device.removeprefix("cuda:").isdigit():
            raise UsageError(f"--device {self.device!r}: choose auto, cpu, cuda, cuda:N or mps")
        if any(sign in self.suffix for sign in "/\\\0"):
            raise UsageError("--suffix must not hold a path separator")
        if self.aligned and self.background != "none":
            raise UsageError("--aligned has no background: leave --background out")


def _within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:  # also refuses NaN
        raise UsageError(f"--{name} {value}: choose a number from {low} to {high}")


def _one_of(name: str, value: str, valid: tuple[str, ...]) -> None:
    if value not in valid:
        raise UsageError(f"--{name} {value!r}: choose one of {', '.join(valid)}")
