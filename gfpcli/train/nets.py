"""The networks of a run, with random weights or those of checkpoints in the official layouts."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gfpcli.errors import CheckpointError, UsageError
from gfpcli.model.checkpoint import KINDS, kind_of, load_face_net, read_state
from gfpcli.model.compact import CompactUNet, CompactUNet512
from gfpcli.model.discriminator import ComponentDiscriminator, StyleGAN2Discriminator
from gfpcli.model.gfpgan import GFPGAN, GFPGANClean, Shape
from gfpcli.model.paper import MAPPING_RATE, GFPGANPaper, PaperDecoder
from gfpcli.model.projected import ProjectedDiscriminator
from gfpcli.model.stylegan2 import GAIN, SLOPE, StyleGAN2Decoder
from gfpcli.train.ada import PriorState
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
        projected: the discriminator on the features of EfficientNet-Lite0; None where its term is off.
        prior_state: what the training of a prior carries on; None in the GFP-GAN stage.
    """

    generator: nn.Module
    g_ema: nn.Module
    discriminator: nn.Module | None
    components: nn.ModuleDict
    projected: nn.Module | None = None
    prior_state: PriorState | None = None

    def named(self) -> dict[str, nn.Module]:
        """All networks by the names they have in `state.pt`."""
        whole = {} if self.discriminator is None else {"discriminator": self.discriminator}
        more = {"projected": self.projected, "prior_state": self.prior_state}
        kept = {name: net for name, net in more.items() if net is not None}
        return {"generator": self.generator, "g_ema": self.g_ema, **whole, "components": self.components, **kept}

    def discriminators(self) -> Iterator[nn.Module]:
        """The whole-face discriminator, those of the components and the projected one, as far as there are any."""
        if self.discriminator is not None:
            yield self.discriminator
        yield from self.components.values()
        if self.projected is not None:
            yield self.projected


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
        start: checkpoint of a restorer to go on from; of a StyleGAN2 generator where a prior is trained.
        prior: checkpoint of a StyleGAN2 generator for the decoder.

    Raises:
        CheckpointError: a file that holds something else, or a network of another size.
        UsageError: a `start` that does not fit the architecture.
    """
    torch.manual_seed(options.seed)
    is_prior = options.stage == "prior"
    generator = _prior_net(options, start) if is_prior else _generator(options, start)
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
    projected = ProjectedDiscriminator(options.size) if loss.projected_gan else None
    g_ema = copy.deepcopy(generator).requires_grad_(False).eval()
    prior_state = PriorState() if is_prior else None
    return Nets(generator, g_ema, discriminator, components, projected, prior_state)


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


def _prior_net(options: TrainOptions, start: Path | None) -> StyleGAN2Decoder:
    """The StyleGAN2 generator whose layout and widths are those of the decoder in the GFP-GAN of these options."""
    net = {"paper": PaperDecoder, "clean": StyleGAN2Decoder}[options.arch](shape_for(options).decoder, N_STYLE, N_MLP)
    if options.arch == "clean":  # torch's start of linear layers would make all faces one
        for layer in net.style_mlp:
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_normal_(layer.weight, SLOPE)
                nn.init.zeros_(layer.bias)
    if start is not None:
        load_stylegan2(net, start)
    return net


def generator_groups(net: nn.Module) -> list[dict[str, Any]]:
    """The trained weights as Adam's groups, each with its `share` of the learning rate.

    A prior in the clean layout has equalised learning rates without scaled weights, as Adam's steps do not depend on
    the scale of the gradients: the share is the standard deviation that the weights start with. Elsewhere it is 1.
    """
    groups: dict[float, list[nn.Parameter]] = {}
    for name, weight in net.named_parameters():
        if weight.requires_grad:
            share = _share_of(name, weight) if type(net) is StyleGAN2Decoder else 1.0
            groups.setdefault(share, []).append(weight)
    return [{"params": weights, "share": share} for share, weights in groups.items()]


def _share_of(name: str, weight: nn.Parameter) -> float:
    """The scale that the paper's layout has in the forward pass (see `EqualConv` and `MappingLayer`)."""
    is_mapping = name.startswith("style_mlp.")
    is_scaled = weight.ndim > 1 and (is_mapping or ".modulated_conv." in name)
    spread = (weight[0] if weight.ndim == 2 else weight[0, 0]).numel() ** -0.5 if is_scaled else 1.0
    return spread * MAPPING_RATE * GAIN if is_mapping else spread


def load_prior(generator: nn.Module, path: Path, *, is_fixed: bool) -> None:
    """Loads the weights of a StyleGAN2 generator into the decoder (upstream: `decoder_load_path`, `fix_decoder`).

    Raises:
        CheckpointError: the file holds something else, or other widths.
    """
    decoder = generator.stylegan_decoder
    assert isinstance(decoder, nn.Module)
    load_stylegan2(decoder, path)
    decoder.requires_grad_(not is_fixed)


def load_stylegan2(decoder: nn.Module, path: Path) -> None:
    """Loads the weights of a StyleGAN2 generator. Raises CheckpointError as `load_prior`."""
    state = read_state(path)
    own = decoder.state_dict()
    if kind_of(state) != "stylegan2":
        raise CheckpointError(f"{path}: {KINDS[kind_of(state)]}, not a StyleGAN2 generator")
    wrong = [key for key, value in own.items() if key not in state or state[key].shape != value.shape]
    if wrong:
        raise CheckpointError(f"{path}: does not fit this size, width or architecture (first at {wrong[0]})")
    decoder.load_state_dict({key: state[key] for key in own})


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
