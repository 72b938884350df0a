"""The networks of a run, with random weights or those of checkpoints in the official layouts."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from gfpcli.errors import CheckpointError, UsageError
from gfpcli.model.checkpoint import KINDS, kind_of, load_face_net, read_state
from gfpcli.model.compact import CompactUNet, CompactUNet512
from gfpcli.model.discriminator import ComponentDiscriminator, StyleGAN2Discriminator
from gfpcli.model.gfpgan import GFPGAN, GFPGANClean, Shape
from gfpcli.model.paper import GFPGANPaper
from gfpcli.train.options import COMPONENTS, TrainOptions

N_STYLE, N_MLP = 512, 8
UNET_NARROW = 0.5  # of the decoder's width (upstream)
KIND_OF = {"paper": "gfpgan-paper", "clean": "gfpgan-clean", "compact-unet": "compact-unet",
           "compact-512": "compact-512"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Nets:
    """The networks that are trained, and the moving average of the generator.

    Attributes:
        g_ema: exponential moving average of the generator: the network that a run is for.
        discriminator: of the whole face; None where the GAN term is off.
        components: the discriminators of COMPONENTS; empty where the component terms are off.
    """

    generator: nn.Module
    g_ema: nn.Module
    discriminator: nn.Module | None
    components: nn.ModuleDict

    def named(self) -> dict[str, nn.Module]:
        """All networks by the names they have in `state.pt`."""
        whole = {} if self.discriminator is None else {"discriminator": self.discriminator}
        return {"generator": self.generator, "g_ema": self.g_ema, **whole, "components": self.components}

    def discriminators(self) -> Iterator[nn.Module]:
        """The whole-face discriminator and those of the components, as far as there are any."""
        if self.discriminator is not None:
            yield self.discriminator
        yield from self.components.values()


def widths_of(size: int, narrow: float, multiplier: int) -> tuple[int, ...]:
    """Official channel counts from 4x4 up to `size`: 512 up to 32x32, then halved, times `multiplier`."""
    widths = []
    for level in range(round(math.log2(size)) - 1):
        at = 4 << level
        full = 512 if at <= 32 else 512 * 32 * multiplier // at
        widths.append(max(8, int(full * narrow)))
    return tuple(widths)


def shape_for(options: TrainOptions) -> Shape:
    """The hyper-parameters of the generator that the options ask for."""
    decoder = widths_of(options.size, options.narrow, options.multiplier)
    unet = widths_of(options.size, options.narrow * UNET_NARROW, options.multiplier)
    return Shape(unet, decoder, N_STYLE, N_MLP, is_half=True, has_own_codes=True)


def make_nets(options: TrainOptions, start: Path | None, prior: Path | None) -> Nets:
    """Makes networks ready to train, on the CPU; `seed` sets the random weights.

    Args:
        start: checkpoint of a restorer to go on from.
        prior: checkpoint of a StyleGAN2 generator for the decoder.

    Raises:
        CheckpointError: a file that holds something else, or a network of another size.
        UsageError: a `start` that does not fit the architecture.
    """
    torch.manual_seed(options.seed)
    generator = _generator(options, start)
    if prior is not None:
        load_prior(generator, prior, is_fixed=options.is_prior_fixed)
    _freeze_unused(generator, options)
    loss = options.loss
    discriminator = None
    if loss.gan:
        widths = widths_of(options.size, options.narrow, options.multiplier)
        discriminator = StyleGAN2Discriminator(tuple(reversed(widths)))
    has_parts = bool(loss.component_gan or loss.component_style)
    components = nn.ModuleDict({part: ComponentDiscriminator() for part in COMPONENTS} if has_parts else {})
    g_ema = copy.deepcopy(generator).requires_grad_(False).eval()
    return Nets(generator, g_ema, discriminator, components)


def _generator(options: TrainOptions, start: Path | None) -> nn.Module:
    if start is not None:
        net = load_face_net(start).requires_grad_(True).train()
        if isinstance(net, CompactUNet) and net.fine is None:
            net.add_fine_layers()
        if isinstance(net, CompactUNet) and options.arch == "compact-512":
            net = CompactUNet512(net)
        kind = kind_of(net.state_dict())
        if kind != KIND_OF[options.arch]:
            arch = next((name for name, other in KIND_OF.items() if other == kind), kind)
            raise UsageError(f"--from {start}: {KINDS[kind]}; --set arch={arch} goes on from it")
        if net.size != options.size:
            raise UsageError(f"--from {start}: made for {net.size} px, not {options.size}: --set size={net.size}")
        return net
    if options.arch == "compact-unet":
        return CompactUNet()
    if options.arch == "compact-512":
        return CompactUNet512(CompactUNet())
    return {"paper": GFPGANPaper, "clean": GFPGANClean}[options.arch](shape_for(options))


def load_prior(generator: nn.Module, path: Path, *, is_fixed: bool) -> None:
    """Loads the weights of a StyleGAN2 generator into the decoder (upstream: `decoder_load_path`, `fix_decoder`).

    Raises:
        CheckpointError: the file holds something else, or other widths.
    """
    state = read_state(path)
    decoder = generator.stylegan_decoder
    assert isinstance(decoder, nn.Module)
    own = decoder.state_dict()
    if kind_of(state) != "stylegan2":
        raise CheckpointError(f"{path}: {KINDS[kind_of(state)]}, not a StyleGAN2 generator")
    wrong = [key for key, value in own.items() if key not in state or state[key].shape != value.shape]
    if wrong:
        raise CheckpointError(f"{path}: does not fit this size, width or architecture (first at {wrong[0]})")
    decoder.load_state_dict({key: state[key] for key in own})
    decoder.requires_grad_(not is_fixed)


def _freeze_unused(generator: nn.Module, options: TrainOptions) -> None:
    """Freezes what no loss reaches: the mapping network always, the U-Net's RGB heads without the pyramid term."""
    if isinstance(generator, GFPGAN):
        generator.stylegan_decoder.style_mlp.requires_grad_(False)  # type: ignore[union-attr]
        if not options.loss.pyramid:
            generator.toRGB.requires_grad_(False)


def load_discriminators(nets: Nets, files: dict[str, Path]) -> None:
    """Loads released discriminators; keys are `discriminator` or one of COMPONENTS. Raises CheckpointError."""
    for name, path in files.items():
        net = nets.discriminator if name == "discriminator" else nets.components[name]
        try:
            net.load_state_dict(read_state(path))  # type: ignore[union-attr]
        except (RuntimeError, AttributeError) as error:
            raise CheckpointError(f"{path}: not a discriminator of this size and width") from error


@torch.no_grad()
def update_ema(ema: nn.Module, net: nn.Module, decay: float) -> None:
    """ema = decay * ema + (1 - decay) * net, for all weights and stored noises; integers are copied."""
    for old, new in zip(ema.state_dict().values(), net.state_dict().values(), strict=True):
        if old.is_floating_point():
            old.lerp_(new.to(old.dtype), 1 - decay)
        else:
            old.copy_(new)
