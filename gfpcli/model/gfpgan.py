"""GFP-GAN in the layout of the official clean checkpoints (v1.2, 1.3, 1.4). Attribute names are checkpoint keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from gfpcli.model.stylegan2 import SLOPE, StyleGAN2Decoder


@dataclass(frozen=True, slots=True)
class Shape:
    """What a checkpoint's shapes say. Widths run from 4x4 up to the output's size."""

    unet: tuple[int, ...]
    decoder: tuple[int, ...]
    n_style: int
    n_mlp: int
    is_half: bool  # SFT on half of the decoder's channels
    has_own_codes: bool  # one style code for each layer, not one for all


def shape_of(state: Mapping[str, Tensor]) -> Shape:
    """Reads the hyper-parameters. Raises KeyError where the state is of another layout."""
    n_levels = sum(key.startswith("conv_body_up.") and key.endswith(".skip.weight") for key in state)
    final = "final_conv.0.weight" if "final_conv.0.weight" in state else "final_conv.weight"  # the paper's layout first
    unet = (
        state[final].shape[0],
        *(state[f"conv_body_up.{i}.skip.weight"].shape[0] for i in range(n_levels)),
    )
    convs = [state[f"stylegan_decoder.style_convs.{2 * i}.modulated_conv.weight"].shape[1] for i in range(n_levels)]
    first = state["stylegan_decoder.style_conv1.modulated_conv.weight"]
    n_style = state["stylegan_decoder.style_conv1.modulated_conv.modulation.weight"].shape[1]
    n_mlp = sum(key.startswith("stylegan_decoder.style_mlp.") and key.endswith(".weight") for key in state)
    is_half = state["condition_scale.0.2.weight"].shape[0] < convs[0]
    has_own_codes = state["final_linear.weight"].shape[0] > n_style
    return Shape(unet, (first.shape[1], *convs), n_style, n_mlp, is_half, has_own_codes)


class ResBlock(nn.Module):
    """Residual block that halves or doubles the size, bilinear."""

    def __init__(self, n_in: int, n_out: int, factor: float) -> None:
        super().__init__()
        self.factor = factor
        self.conv1 = nn.Conv2d(n_in, n_in, 3, 1, 1)
        self.conv2 = nn.Conv2d(n_in, n_out, 3, 1, 1)
        self.skip = nn.Conv2d(n_in, n_out, 1, bias=False)

    def _resize(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=self.factor, mode="bilinear", align_corners=False)

    def forward(self, x: Tensor) -> Tensor:
        out = self._resize(F.leaky_relu(self.conv1(x), SLOPE, inplace=True))
        return F.leaky_relu(self.conv2(out), SLOPE, inplace=True) + self.skip(self._resize(x))


def _modulation_head(n_in: int, n_out: int, start: float) -> nn.Sequential:
    """Features to an SFT scale or shift; `start` is its bias before training (1 leaves the decoder as it is, 0 too)."""
    last = nn.Conv2d(n_in, n_out, 3, 1, 1)
    nn.init.constant_(last.bias, start)  # type: ignore[arg-type]
    return nn.Sequential(nn.Conv2d(n_in, n_in, 3, 1, 1), nn.LeakyReLU(SLOPE), last)


class GFPGAN(nn.Module):
    """The flow that both official layouts share: (N, 3, S, S) RGB in [-1, 1] to the same, not clamped.

    Deterministic: the decoder's noise is the stored one.
    """

    shape: Shape
    size: int
    conv_body_first: nn.Module
    conv_body_down: nn.ModuleList
    final_conv: nn.Module
    conv_body_up: nn.ModuleList
    final_linear: nn.Module
    toRGB: nn.ModuleList
    stylegan_decoder: nn.Module
    condition_scale: nn.ModuleList
    condition_shift: nn.ModuleList

    @staticmethod
    def activate(x: Tensor) -> Tensor:
        """What follows the U-Net's first and last convolution."""
        return F.leaky_relu(x, SLOPE)

    def encode(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The U-Net: latents (N, L, n_style), and features of each level from 8x8 up."""
        feat = self.activate(self.conv_body_first(x))
        skips = []
        for down in self.conv_body_down:
            feat = down(feat)
            skips.append(feat)
        feat = self.activate(self.final_conv(feat))
        codes = self.final_linear(feat.flatten(1)).unflatten(1, (-1, self.shape.n_style))  # (N, codes, n_style)
        levels = []
        for up in self.conv_body_up:
            feat = up(feat + skips.pop())
            levels.append(feat)
        return codes.expand(-1, 2 * len(self.shape.unet), -1), levels

    def decode(self, latent: Tensor, levels: list[Tensor]) -> Tensor:
        """The prior, modulated by the U-Net's features."""
        heads = zip(levels, self.condition_scale, self.condition_shift, strict=True)
        return self.stylegan_decoder(latent, [(scale(feat), shift(feat)) for feat, scale, shift in heads])

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(*self.encode(x))

    def with_pyramid(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The face, and the U-Net's own RGB pictures from 8x8 up, which training compares at every size."""
        latent, levels = self.encode(x)
        return self.decode(latent, levels), [head(feat) for head, feat in zip(self.toRGB, levels, strict=True)]


@dataclass(frozen=True, slots=True)
class Halves:
    """`encode` and `decode` of a network, as they are or compiled."""

    encode: Callable[[Tensor], tuple[Tensor, list[Tensor]]]
    decode: Callable[[Tensor, list[Tensor]], Tensor]

    def __call__(self, x: Tensor) -> Tensor:
        """The whole network."""
        return self.decode(*self.encode(x))


class GFPGANClean(GFPGAN):
    """The layout of the clean checkpoints."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        widths = shape.unet
        self.size = 4 << (len(widths) - 1)
        self.shape = shape
        n_codes = 2 * len(widths) if shape.has_own_codes else 1
        self.conv_body_first = nn.Conv2d(3, widths[-1], 1)
        pairs = list(zip(widths[:-1], widths[1:], strict=True))
        self.conv_body_down = nn.ModuleList(ResBlock(fine, coarse, 0.5) for coarse, fine in reversed(pairs))
        self.final_conv = nn.Conv2d(widths[0], widths[0], 3, 1, 1)
        self.conv_body_up = nn.ModuleList(ResBlock(coarse, fine, 2.0) for coarse, fine in pairs)
        self.toRGB = nn.ModuleList(nn.Conv2d(width, 3, 1) for width in widths[1:])
        self.final_linear = nn.Linear(widths[0] * 16, n_codes * shape.n_style)
        self.stylegan_decoder = StyleGAN2Decoder(shape.decoder, shape.n_style, shape.n_mlp)
        parts = 2 if shape.is_half else 1
        sft = [(width, decoded // parts) for width, decoded in zip(widths[1:], shape.decoder[1:], strict=True)]
        self.condition_scale = nn.ModuleList(_modulation_head(*pair, 1.0) for pair in sft)
        self.condition_shift = nn.ModuleList(_modulation_head(*pair, 0.0) for pair in sft)
