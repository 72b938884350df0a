"""What a training is asked to do: options of degradation, losses and the run, and their presets."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from pathlib import Path

from gfpcli.errors import UsageError
from gfpcli.options import RUN, SPEED, TRAINING, CommandOptions, check_one_of, check_within, option, option_of

Range = tuple[float, float]
ARCHITECTURES = ("paper", "clean", "compact-unet")


@dataclass(frozen=True, slots=True)
class DegradeOptions:
    """Ranges to draw from.

    Raises:
        UsageError: a range that runs backwards, a chance outside 0..1, an even kernel.
    """

    kernel_size: int = 41  # px, odd
    iso_chance: float = 0.5  # isotropic blur, else stretched and turned
    sigma: Range = (0.1, 10.0)  # of the blur, px
    shrink: Range = (0.8, 8.0)  # r
    noise: Range = (0.0, 20.0)  # sigma, of 255
    quality: Range = (60.0, 100.0)  # JPEG
    shift_chance: float = 0.3  # each channel moved by up to `shift`
    shift: float = 20.0  # of 255
    jitter_chance: float = 0.3  # brightness, contrast, saturation and hue
    brightness: Range = (0.5, 1.5)
    contrast: Range = (0.5, 1.5)
    saturation: Range = (0.0, 1.5)
    hue: Range = (-0.1, 0.1)  # turns
    gray_chance: float = 0.01

    def __post_init__(self) -> None:
        for name in ("sigma", "shrink", "noise", "quality", "brightness", "contrast", "saturation", "hue"):
            low, high = getattr(self, name)
            if not low <= high:
                raise UsageError(f"degradation {name}: {low} to {high} runs backwards")
        for name in ("iso_chance", "shift_chance", "jitter_chance", "gray_chance"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"degradation {name}: {getattr(self, name)} is not between 0 and 1")
        if self.kernel_size < 1 or self.kernel_size % 2 == 0:
            raise UsageError(f"degradation kernel_size: {self.kernel_size} is not an odd number")


DEGRADATIONS = {
    "paper": DegradeOptions(),
    "mild": DegradeOptions(sigma=(0.1, 4.0), shrink=(0.8, 4.0), noise=(0.0, 10.0), shift_chance=0.0, jitter_chance=0.0),
    "video": DegradeOptions(
        sigma=(0.1, 6.0), shrink=(1.0, 6.0), noise=(0.0, 8.0), quality=(20.0, 80.0), gray_chance=0.0
    ),
}


@dataclass(frozen=True, slots=True)
class LossOptions:
    """The weight of each term; 0 turns a term off and asks for none of its networks.

    Raises:
        UsageError: a negative weight.
    """

    l1: float = 0.1  # pixels
    edges: float = 0.0  # L1 between differences of neighbours; not in the paper, for networks without a prior
    coarse: float = 0.0  # L1 of pictures a quarter as large; not in the paper, leaves fine detail to other terms
    detail: float = 0.0  # local strength of fine detail, not its place; not in the paper, for short adversarial runs
    grid: float = (
        0.0  # fine detail that repeats every four pixels; not in the paper, for networks that fold pixels into channels
    )
    pyramid: float = 1.0  # L1 of the U-Net's own pictures, until `pyramid_until`
    perceptual: float = 1.0  # VGG19 features
    style: float = 50.0  # Gram matrices of VGG19 features
    gan: float = 0.1  # whole-face discriminator
    r1: float = 10.0  # gamma of the whole-face discriminator's penalty
    component_gan: float = 1.0  # discriminators of both eyes and the mouth
    component_style: float = 200.0  # Gram matrices of their features
    identity: float = 10.0  # ArcFace features

    def __post_init__(self) -> None:
        for each in fields(self):
            check_within(f"set loss.{each.name}", getattr(self, each.name), 0, 1e6)


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """Options of `gfp train`; the defaults are the paper's (upstream `train_gfpgan_v1.yml`).

    Raises:
        UsageError: a value out of range, an unknown word, or terms the architecture cannot give.
    """

    arch: str = "paper"  # of ARCHITECTURES
    size: int = 512  # px of the faces, a power of two
    narrow: float = 1.0  # width of the U-Net, the decoder and the discriminator
    multiplier: int = 1  # width from 64 px up (official: 1 in paper, 2 in clean checkpoints)
    start: str = option("", "go on from compact, gfpgan-1.4, ..., or a file", flag="--from")
    prior: str = option("", "StyleGAN2 in the decoder: stylegan2-ffhq or a file; none: random weights")
    is_prior_fixed: bool = True  # the decoder of a prior is not trained
    discriminators: str = "fresh"  # fresh | official (the released ones, for the paper's layout)
    iterations: int = option(800_000, "iterations of the whole run")
    batch_size: int = option(3, "faces for each process and step")
    accumulate: int = 1  # steps whose gradients are added before the networks change
    workers: int = option(2, "data processes; 0: the training process loads them itself")
    seed: int = 0
    rate: float = 2e-3  # Adam, generator
    beta1: float = 0.0  # its momentum
    rate_d: float = 2e-3  # Adam, discriminators
    milestones: tuple[int, ...] = (600_000, 700_000)  # the rate is halved there
    warmup: int = 0  # iterations of growing rate
    cosine: bool = False  # the rate falls to 0 at the last iteration instead of the milestones
    clip: float = 0.0  # largest norm of the generator's gradient; 0 = any
    precision: str = "fp32"  # fp32 | bf16 (autocast)
    ema: int = 10_000  # images after which the running mean has forgotten half
    r1_every: int = 16  # iterations
    pyramid_until: int = 50_000  # iterations
    emphasis: float = 0.0  # how much more of fine detail the discriminators are shown, times itself: short runs need it
    gan_from: int = 0  # iterations without any discriminator at the start
    held_out: float = 0.05  # share of the faces that only validation sees
    clean_share: float = 0.0  # of the faces that are given undegraded
    shake: float = 0.0  # random shift, turn and zoom, as alignment errs; px at 512
    relight: float = 0.0  # share of the faces shown in other light, another tint, or gray
    identity_pattern: str = ""  # regular expression: names with the same first group show one person
    per_identity: int = 3  # faces of one person in an epoch
    components: str = "auto"  # component boxes: our own landmarks, or the official .pth
    log_every: int = 20  # iterations
    validate_every: int = 5_000
    save_every: int = 1_000
    n_valid: int = 16  # held-out faces of a validation
    degrade: DegradeOptions = field(default_factory=DegradeOptions)
    loss: LossOptions = field(default_factory=LossOptions)

    def __post_init__(self) -> None:
        check_one_of("set arch", self.arch, ARCHITECTURES)
        check_one_of("set discriminators", self.discriminators, ("fresh", "official"))
        check_one_of("set precision", self.precision, ("fp32", "bf16"))
        if self.size not in (32, 64, 128, 256, 512, 1024) or (self.arch == "compact-unet" and self.size != 256):
            sizes = "256" if self.arch == "compact-unet" else "32, 64, 128, 256, 512 or 1024"
            raise UsageError(f"--set size={self.size}: {self.arch} takes {sizes}")
        at_least_one = ("iterations", "batch_size", "accumulate", "r1_every", "log_every", "validate_every",
                        "save_every", "n_valid", "multiplier", "per_identity", "ema")  # fmt: skip
        for name in at_least_one:
            check_within(name.replace("_", "-"), getattr(self, name), 1, 10**9)
        for name in ("workers", "warmup", "clip", "shake", "rate", "rate_d", "pyramid_until", "gan_from",
                     "emphasis"):  # fmt: skip
            check_within(name.replace("_", "-"), getattr(self, name), 0, 10**9)
        check_within("set narrow", self.narrow, 1 / 64, 4)
        check_within("set held_out", self.held_out, 0, 0.9)
        check_within("set beta1", self.beta1, 0, 0.999)
        check_within("set clean_share", self.clean_share, 0, 1)
        check_within("set relight", self.relight, 0, 1)
        if self.arch == "compact-unet" and (self.loss.pyramid or self.prior):
            raise UsageError("compact-unet has no pyramid and no prior: --set loss.pyramid=0, and leave --prior out")
        if self.loss.gan and self.batch_size > 4 and self.batch_size % 4:  # groups of its minibatch deviation
            raise UsageError(f"--batch-size {self.batch_size}: the discriminator takes 1 to 4, or a multiple of 4")
        if self.start and self.prior:
            raise UsageError("--from brings its own prior: leave --prior out")
        try:
            re.compile(self.identity_pattern)
        except re.error as error:
            raise UsageError(f"--set identity_pattern={self.identity_pattern!r}: {error}") from error

    @property
    def patch_sizes(self) -> tuple[int, int, int]:
        """px of the left eye's, the right eye's and the mouth's patch: 80, 80 and 120 at 512."""
        eye, mouth = (max(16, 4 * round(whole * self.size / 512 / 4)) for whole in (80, 120))
        return eye, eye, mouth


NO_DOWNLOADS = {"perceptual": 0.0, "style": 0.0, "identity": 0.0}
TRAIN_PRESETS = {
    "paper-512": TrainOptions(),
    "compact": TrainOptions(
        arch="compact-unet", size=256, narrow=0.125, iterations=6_000, batch_size=16, rate=1e-3, beta1=0.9, warmup=40,
        cosine=True, clip=1.0, precision="bf16", ema=1_600, gan_from=4_000, held_out=0.02, clean_share=0.08, shake=8.0,
        relight=0.25,
        validate_every=500, save_every=100,
        degrade=DegradeOptions(
            kernel_size=21, sigma=(0.1, 5.0), shrink=(0.8, 6.0), quality=(40.0, 100.0), shift_chance=0.0,
            jitter_chance=0.0,
        ),
        loss=LossOptions(l1=1.0, edges=0.5, pyramid=0.0, gan=0.01, r1=2.0, component_gan=0.01, component_style=20.0,
                         **NO_DOWNLOADS),
    ),
    "tiny": TrainOptions(
        arch="clean", size=64, narrow=0.125, iterations=200, batch_size=8, workers=0, rate=1e-3, beta1=0.9,
        milestones=(), clip=1.0, ema=200, log_every=5, validate_every=30, save_every=15, n_valid=8, r1_every=4,
        degrade=DegradeOptions(kernel_size=9, sigma=(0.1, 1.5), shrink=(0.8, 2.5)),
        loss=LossOptions(l1=1.0, **NO_DOWNLOADS),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class TrainCommandOptions(CommandOptions):
    """Options of the command `gfp train`, from which it makes `TrainOptions`.

    Raises:
        UsageError: an unknown preset.
    """

    preset: str = option("paper-512", "the values that the other flags change", panel=TRAINING,
                         words=tuple(TRAIN_PRESETS))  # fmt: skip
    start: str | None = option_of(TrainOptions, "start", None, panel=TRAINING)
    prior: str | None = option_of(TrainOptions, "prior", None, panel=TRAINING)
    config: Path | None = option(None, "YAML file of options", panel=TRAINING)
    changes: tuple[str, ...] = option((), "key=value, may be repeated: loss.gan=0.05, degrade=mild", panel=TRAINING,
                                      flag="--set")  # fmt: skip
    iterations: int | None = option_of(TrainOptions, "iterations", None, panel=TRAINING)
    batch_size: int | None = option_of(TrainOptions, "batch_size", None, panel=TRAINING)
    workers: int | None = option_of(TrainOptions, "workers", None, panel=SPEED)
    resume: bool = option(True, "no: begin anew in this folder", panel=RUN)
    device: str = option("auto", "auto, cpu, cuda or cuda:N", panel=SPEED)
    preview_degradation: Path | None = option(None, "FILE.png: write a contact sheet of degradations, do not train",
                                              panel=RUN)  # fmt: skip

    @property
    def given(self) -> dict[str, str | int]:
        """The flags that change `TrainOptions`; what was not given is the preset's."""
        named = {name: getattr(self, name) for name in ("start", "prior", "iterations", "batch_size", "workers")}
        return {name: value for name, value in named.items() if value is not None}
