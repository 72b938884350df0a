"""Options of a training run: degradation, losses, optimisation and schedule; and their presets."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace
from pathlib import Path

from gfpcli.errors import UsageError
from gfpcli.options import RUN, SPEED, TRAINING, CommandOptions, check_one_of, check_within, option, option_of
from gfpcli.train.degrade_options import DEGRADATIONS, DegradeOptions

COMPONENTS = ("left_eye", "right_eye", "mouth")  # left and right of the image
ARCHITECTURES = ("paper", "clean", "compact-unet", "compact-512")
COMPACT_SIZES = {"compact-unet": 256, "compact-512": 512}
TRAIN_STAGES = ("gfpgan", "prior")
PRIOR_FIGURES = ("identity", "fid")
PRIOR_TERMS = ("gan", "r1", "path_length")  # of LossOptions; the other terms need a degraded face and its true one
NOT_OF_A_PRIOR = ("prior", "identity_net", "rate_projected", "discriminators", "pyramid_until", "emphasis", "gan_from",
                  "components", "clean_share", "degrade")  # fmt: skip
AT_LEAST_0 = ("workers", "warmup", "clip", "shake", "rate", "rate_d", "rate_projected", "pyramid_until", "gan_from",
              "emphasis")  # fmt: skip
AT_LEAST_1 = ("iterations", "batch_size", "accumulate", "r1_every", "log_every", "validate_every", "save_every",
              "n_valid", "multiplier", "per_identity", "ema", "path_every", "ada_images")  # fmt: skip


@dataclass(frozen=True, slots=True)
class LossOptions:
    """The weight of each loss term. With 0 the term is not computed, and networks only it needs are not loaded.

    `gradient`, `lowpass`, `texture`, `checkerboard`, `lite` and `projected_gan` are not in the paper.

    Raises:
        UsageError: a negative weight.
    """

    l1: float = option(0.1, "L1 of the pixels")
    gradient: float = option(0.0, "L1 of the differences between neighbouring pixels; for networks without a prior")
    lowpass: float = option(0.0, "L1 of the images at a quarter of their size: leaves fine detail to other terms")
    texture: float = option(0.0, "L1 of the local strength of fine detail, wherever it lies; for short GAN runs")
    checkerboard: float = option(0.0, "repetition of detail every four pixels; for networks that fold pixels")
    pyramid: float = option(1.0, "L1 of the U-Net's own RGB outputs at each size, until `pyramid_until`")
    perceptual: float = option(1.0, "L1 of VGG19 features")
    style: float = option(50.0, "L1 of Gram matrices of VGG19 features")
    gan: float = option(0.1, "GAN loss of the whole-face discriminator")
    r1: float = option(10.0, "gamma of the whole-face discriminator's R1 penalty")
    component_gan: float = option(1.0, "GAN loss of the discriminators of eyes and mouth")
    component_style: float = option(200.0, "L1 of Gram matrices of those discriminators' features")
    identity: float = option(10.0, "difference of identity features, of the network `identity_net`")
    lite: float = option(0.0, "difference of EfficientNet-Lite0 features; needs no download: gfpcli[lite]")
    projected_gan: float = option(0.0, "GAN loss of a discriminator that sees EfficientNet-Lite0 features")
    path_length: float = option(0.0, "path length regularisation of a prior")

    def __post_init__(self) -> None:
        for each in fields(self):
            check_within(f"set loss.{each.name}", getattr(self, each.name), 0, 1e6)


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """Options of `gfp train`; the defaults are the paper's (upstream `train_gfpgan_v1.yml`).

    Raises:
        UsageError: a value out of range, an unknown word, or loss terms that the architecture cannot give.
    """

    stage: str = option("gfpgan", "what is trained: gfpgan (a restorer), or prior (the StyleGAN2 that --prior takes)")
    arch: str = option(
        "paper", "architecture: paper, clean, compact-unet or compact-512; of a prior: that of its GFP-GAN"
    )
    size: int = option(512, "edge of the faces, px, a power of two")
    narrow: float = option(1.0, "width of the U-Net, the decoder and the discriminator, of the official one")
    multiplier: int = option(1, "width from 64 px up (official checkpoints: 1 in paper, 2 in clean)")
    start: str = option("", "go on from compact, gfpgan-1.4, ..., or a file (of a prior: stylegan2-ffhq or a file)",
                        flag="--from")  # fmt: skip
    prior: str = option("", "StyleGAN2 in the decoder: stylegan2-ffhq, or best of a prior's run; none: random")
    is_prior_fixed: bool = option(True, "keep the weights of the prior as they are")
    identity_net: str = option("arcface", "network of the identity term: arcface (the paper's) or builtin")
    discriminators: str = option("fresh", "fresh or official (the released ones, for the paper's layout)")
    iterations: int = option(800_000, "iterations of the whole run")
    batch_size: int = option(3, "faces for each process and step")
    accumulate: int = option(1, "micro-batches whose gradients are added before the networks change")
    workers: int = option(2, "data processes; 0: the training process loads them itself")
    seed: int = option(0, "seed of the weights and of every draw")
    rate: float = option(2e-3, "learning rate of the generator (Adam)")
    beta1: float = option(0.0, "Adam's beta1 of the generator")
    rate_d: float = option(2e-3, "learning rate of the discriminators (Adam)")
    rate_projected: float = option(2e-4, "learning rate of the discriminator on EfficientNet-Lite0 features (Adam)")
    milestones: tuple[int, ...] = option((600_000, 700_000), "iterations at which the rates are halved")
    warmup: int = option(0, "iterations over which the rates grow from 0")
    cosine: bool = option(False, "let the rates fall to 0 along a cosine instead of at the milestones")
    clip: float = option(0.0, "largest norm of the generator's gradient; 0: any")
    precision: str = option("fp32", "fp32 or bf16 (autocast)")
    ema: int = option(10_000, "half-life of the generator's moving average, images")
    r1_every: int = option(16, "iterations from one R1 penalty to the next (lazy regularisation)")
    path_every: int = option(4, "of a prior: iterations from one path length penalty to the next")
    mixing: float = option(0.9, "of a prior: chance that a face has two style codes (style mixing)")
    ada_target: float = option(0.6, "of a prior: mean sign of D(real) that adaptive augmentation aims at; 0: none")
    ada_images: int = option(500_000, "of a prior: images over which the chance p of augmentation goes from 0 to 1")
    figure: str = option("identity", "of a prior: Frechet distance of features by the built-in identity network, "
                         "or fid (Inception)")  # fmt: skip
    truncation: float = option(0.7, "of a prior: truncation psi of the faces in the sample grid")
    pyramid_until: int = option(50_000, "iterations with the pyramid term")
    emphasis: float = option(0.0, "how much stronger fine detail is shown to the discriminators; for short runs")
    gan_from: int = option(0, "iterations without discriminators at the start")
    held_out: float = option(0.05, "share of the faces that only validation sees")
    clean_share: float = option(0.0, "share of the faces that are given undegraded")
    shake: float = option(0.0, "standard deviation of random misalignment (shift, turn, zoom), px at 512")
    relight: float = option(0.0, "share of the faces shown in other light, with a colour cast, or gray")
    identity_pattern: str = option("", "regular expression: file names with the same first group show one person")
    per_identity: int = option(3, "faces of one person in an epoch")
    components: str = option("auto", "boxes of eyes and mouth: auto (from landmarks), ffhq-components, or a .pth")
    log_every: int = option(20, "iterations from one logged step to the next")
    validate_every: int = option(5_000, "iterations from one validation to the next")
    save_every: int = option(1_000, "iterations from one saved state to the next")
    n_valid: int = option(16, "faces of a validation")
    degrade: DegradeOptions = option(DegradeOptions(), "degradation: a name (paper, ..., real-life), or single values")
    loss: LossOptions = option(LossOptions(), "weights of the loss terms")

    def __post_init__(self) -> None:
        check_one_of("set stage", self.stage, TRAIN_STAGES)
        check_one_of("set arch", self.arch, ARCHITECTURES)
        check_one_of("set figure", self.figure, PRIOR_FIGURES)
        check_one_of("set discriminators", self.discriminators, ("fresh", "official"))
        check_one_of("set identity_net", self.identity_net, ("arcface", "builtin"))
        check_one_of("set precision", self.precision, ("fp32", "bf16"))
        compact_size = COMPACT_SIZES.get(self.arch)
        if self.size not in ((compact_size,) if compact_size else (32, 64, 128, 256, 512, 1024)):
            sizes = compact_size or "32, 64, 128, 256, 512 or 1024"
            raise UsageError(f"--set size={self.size}: {self.arch} takes {sizes}")
        for name in AT_LEAST_0 + AT_LEAST_1:
            check_within(name.replace("_", "-"), getattr(self, name), int(name in AT_LEAST_1), 10**9)
        check_within("set seed", self.seed, 0, 2**63 - 1)
        check_within("set narrow", self.narrow, 1 / 64, 4)
        check_within("set held_out", self.held_out, 0, 0.9)
        check_within("set beta1", self.beta1, 0, 0.999)
        check_within("set clean_share", self.clean_share, 0, 1)
        check_within("set relight", self.relight, 0, 1)
        check_within("set mixing", self.mixing, 0, 1)
        check_within("set ada_target", self.ada_target, 0, 1)
        check_within("set truncation", self.truncation, 0, 2)
        if compact_size and (self.loss.pyramid or self.prior):
            raise UsageError(f"{self.arch} has no pyramid and no prior: --set loss.pyramid=0, and leave --prior out")
        if self.loss.gan and self.batch_size > 4 and self.batch_size % 4:  # groups of the minibatch standard deviation
            raise UsageError(f"--batch-size {self.batch_size}: the discriminator takes 1 to 4, or a multiple of 4")
        if self.start and self.prior:
            raise UsageError("--from brings its own prior: leave --prior out")
        try:
            re.compile(self.identity_pattern)
        except re.error as error:
            raise UsageError(f"--set identity_pattern={self.identity_pattern!r}: {error}") from error
        if self.stage == "prior":
            self._check_prior()
        elif self.loss.path_length:
            raise UsageError("--set loss.path_length: only a prior has it (--set stage=prior)")

    def _check_prior(self) -> None:
        """Refuses what has no meaning for a prior, so that nothing is ignored without a word."""
        if self.arch in COMPACT_SIZES:
            raise UsageError(f"--set arch={self.arch}: it has no prior; choose paper or clean")
        if not self.loss.gan:
            raise UsageError("--set loss.gan=0: a prior learns from its discriminator only")
        for each in fields(self.loss):
            if each.name not in PRIOR_TERMS and getattr(self.loss, each.name):
                raise UsageError(f"--set loss.{each.name}: a prior has {', '.join(PRIOR_TERMS)} only")
        for each in fields(self):
            if each.name in NOT_OF_A_PRIOR and getattr(self, each.name) != each.default:
                flag = "--prior" if each.name == "prior" else f"--set {each.name}"
                raise UsageError(f"{flag}: a prior is trained without it")

    @property
    def patch_sizes(self) -> tuple[int, int, int]:
        """Edges of the patches of COMPONENTS, px: 80, 80 and 120 at 512."""
        eye, mouth = (max(16, 4 * round(whole * self.size / 512 / 4)) for whole in (80, 120))
        return eye, eye, mouth


NO_DOWNLOADS = {"perceptual": 0.0, "style": 0.0, "identity": 0.0}
TRAIN_PRESETS = {
    "paper-512": TrainOptions(),
    "compact": TrainOptions(
        arch="compact-unet", size=256, narrow=0.125, iterations=6_000, batch_size=16, rate=1e-3, beta1=0.9, warmup=40,
        cosine=True, clip=1.0, precision="bf16", ema=1_600, gan_from=4_000, held_out=0.02, clean_share=0.08, shake=8.0,
        relight=0.25, validate_every=500, save_every=100,
        degrade=DegradeOptions(
            kernel_size=21, sigma=(0.1, 5.0), shrink=(0.8, 6.0), quality=(40.0, 100.0), shift_chance=0.0,
            jitter_chance=0.0,
        ),
        loss=LossOptions(l1=1.0, gradient=0.5, pyramid=0.0, gan=0.01, r1=2.0, component_gan=0.01, component_style=20.0,
                         **NO_DOWNLOADS),
    ),
    "compact-512": TrainOptions(  # goes on from `compact`
        arch="compact-512", start="compact", narrow=0.125, iterations=3_000, batch_size=8, rate=5e-4, beta1=0.9,
        rate_d=4e-3, warmup=20, cosine=True, clip=1.0, precision="bf16", ema=1_200, gan_from=400, emphasis=6,
        held_out=0.02, clean_share=0.08, shake=8.0, relight=0.25, validate_every=200, save_every=25,
        degrade=replace(DEGRADATIONS["real-life"], shrink=(0.8, 14.0)),
        loss=LossOptions(l1=1.0, lowpass=2.0, texture=3.0, checkerboard=0.5, lite=0.15, pyramid=0.0, gan=0.1,
                         r1=1.0, component_gan=0.1, component_style=100.0, **NO_DOWNLOADS),
    ),
    "tiny": TrainOptions(
        arch="clean", size=64, narrow=0.125, iterations=200, batch_size=8, workers=0, rate=1e-3, beta1=0.9,
        milestones=(), clip=1.0, ema=200, log_every=5, validate_every=30, save_every=15, n_valid=8, r1_every=4,
        degrade=DegradeOptions(kernel_size=9, sigma=(0.1, 1.5), shrink=(0.8, 2.5)),
        loss=LossOptions(l1=1.0, **NO_DOWNLOADS),
    ),
}  # fmt: skip
PRIOR = TrainOptions(
    stage="prior", iterations=400_000, batch_size=16, rate=2.5e-3, rate_d=2.5e-3, milestones=(), ema=20_000,
    held_out=0.0, n_valid=2048,
    loss=LossOptions(**{each.name: 0.0 for each in fields(LossOptions)} | {"gan": 1.0, "r1": 1.0, "path_length": 2.0}),
)  # fmt: skip
TRAIN_PRESETS |= {  # StyleGAN2-ADA's `paper256` and `paper512`, at the width of GFP-GAN's decoder
    "prior-256": replace(PRIOR, size=256),
    "prior-512": replace(PRIOR, size=512, batch_size=8, loss=replace(PRIOR.loss, r1=6.0)),
    "prior-tiny": replace(
        PRIOR, arch="clean", size=64, narrow=0.125, iterations=4_000, batch_size=8, workers=0, ema=2_000,
        ada_images=50_000, n_valid=256, log_every=20, validate_every=250, save_every=50,
        loss=replace(PRIOR.loss, r1=0.5),
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
