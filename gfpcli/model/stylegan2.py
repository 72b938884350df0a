"""The StyleGAN2 decoder with channel-split SFT (GFP-GAN, section 3.3), in the official clean key layout.

Attribute names are checkpoint keys. Modulation scales the activations, so the whole batch shares one weight.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.2
GAIN = 2**0.5


class ModulatedConv(nn.Module):
    """Convolution of style-scaled features, equal to scaling the weights for each sample (StyleGAN2, section 2.2)."""

    def __init__(self, n_in: int, n_out: int, kernel: int, n_style: int, *, demodulate: bool, up: bool = False) -> None:
        super().__init__()
        self.demodulate, self.up = demodulate, up
        self.modulation = nn.Linear(n_style, n_in)
        nn.init.ones_(self.modulation.bias)  # training starts from unscaled features
        self.weight = nn.Parameter(torch.randn(1, n_out, n_in, kernel, kernel) / (n_in * kernel**2) ** 0.5)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """(N, C, H, W) and (N, n_style) to (N, C', H or 2H, W or 2W)."""
        scale = self.modulation(style)  # (N, C)
        weight = self.weight[0]
        if self.up:
            x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
        out = F.conv2d(x * scale[:, :, None, None], weight, padding=weight.shape[-1] // 2)
        if self.demodulate:
            power = scale.square() @ weight.square().sum(dim=(2, 3)).T  # (N, C')
            out = out * torch.rsqrt(power + 1e-8)[:, :, None, None]
        return out


class StyleConv(nn.Module):
    """Modulated convolution, stored noise, bias and scaled leaky ReLU."""

    def __init__(self, n_in: int, n_out: int, n_style: int, *, up: bool = False) -> None:
        super().__init__()
        self.modulated_conv = ModulatedConv(n_in, n_out, 3, n_style, demodulate=True, up=up)
        self.weight = nn.Parameter(torch.zeros(1))
        self.bias = nn.Parameter(torch.zeros(1, n_out, 1, 1))

    def forward(self, x: Tensor, style: Tensor, noise: Tensor) -> Tensor:
        out = self.modulated_conv(x, style) * GAIN + self.weight * noise + self.bias
        return F.leaky_relu(out, SLOPE)


class ToRGB(nn.Module):
    """Features to RGB, added to the enlarged RGB of the level below."""

    def __init__(self, n_in: int, n_style: int) -> None:
        super().__init__()
        self.modulated_conv = ModulatedConv(n_in, 3, 1, n_style, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(1, 3, 1, 1))

    def forward(self, x: Tensor, style: Tensor, rgb: Tensor | None) -> Tensor:
        out = self.modulated_conv(x, style) + self.bias
        if rgb is None:
            return out
        return out + F.interpolate(rgb, scale_factor=2.0, mode="bilinear", align_corners=False)


class NormStyleCode(nn.Module):
    """Style codes of unit mean square."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(dim=1, keepdim=True) + 1e-8)


class ConstantInput(nn.Module):
    """The learned 4x4 start."""

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(1, n_channels, 4, 4))

    def forward(self, n_samples: int) -> Tensor:
        return self.weight.expand(n_samples, -1, -1, -1)


class StyleGAN2Decoder(nn.Module):
    """Latents (N, L, n_style) and SFT conditions to RGB (N, 3, S, S).

    Args:
        channels: width of each level, from 4x4 up; S = 4 * 2**(len(channels) - 1).
        n_style: length of a style code.
        n_mlp: layers of the mapping network.
    """

    style_conv: Callable[..., nn.Module] = StyleConv
    to_rgb: Callable[..., nn.Module] = ToRGB

    def __init__(self, channels: tuple[int, ...], n_style: int, n_mlp: int) -> None:
        super().__init__()
        mlp: list[nn.Module] = [NormStyleCode()]
        for _ in range(n_mlp):
            mlp += self.mlp_layer(n_style)
        self.style_mlp = nn.Sequential(*mlp)
        self.constant_input = ConstantInput(channels[0])
        self.style_conv1 = self.style_conv(channels[0], channels[0], n_style)
        self.to_rgb1 = self.to_rgb(channels[0], n_style)
        self.style_convs, self.to_rgbs = nn.ModuleList(), nn.ModuleList()
        self.noises = nn.Module()
        self.noises.register_buffer("noise0", torch.randn(1, 1, 4, 4))
        for level, (coarse, fine) in enumerate(zip(channels[:-1], channels[1:], strict=True), start=1):
            self.style_convs.append(self.style_conv(coarse, fine, n_style, up=True))
            self.style_convs.append(self.style_conv(fine, fine, n_style))
            self.to_rgbs.append(self.to_rgb(fine, n_style))
            for which in (2 * level - 1, 2 * level):
                self.noises.register_buffer(f"noise{which}", torch.randn(1, 1, 4 << level, 4 << level))

    @staticmethod
    def mlp_layer(n_style: int) -> list[nn.Module]:
        """One layer of the mapping network. GFP-GAN's faces come with their latent: it is run for a prior only."""
        return [nn.Linear(n_style, n_style), nn.LeakyReLU(SLOPE)]

    @property
    def n_codes(self) -> int:
        """L, the style codes of a latent."""
        return 2 * len(self.to_rgbs) + 2

    def mapping(self, z: Tensor) -> Tensor:
        """Normal draws z (N, n_style) to style codes w (N, n_style)."""
        return self.style_mlp(z)  # type: ignore[no-any-return]

    def stored_noises(self) -> list[Tensor]:
        """One (1, 1, H, W) for each convolution, from 4x4 up."""
        return [getattr(self.noises, f"noise{i}") for i in range(len(self.style_convs) + 1)]

    def forward(
        self, latent: Tensor, conditions: Sequence[tuple[Tensor, Tensor]] | None = None,
        noises: Sequence[Tensor] | None = None,
    ) -> Tensor:  # fmt: skip
        """The synthesis network.

        Args:
            conditions: (scale, shift) of each level from 8x8 up; they act on the last channels, all or half. None: the
                prior itself.
            noises: in the sizes of the stored ones, (1 or N, 1, H, W), which are taken where there are none.
        """
        noises = self.stored_noises() if noises is None else noises
        out = self.style_conv1(self.constant_input(len(latent)), latent[:, 0], noises[0])
        rgb = self.to_rgb1(out, latent[:, 1], None)
        for level, to_rgb in enumerate(self.to_rgbs):
            at = 2 * level
            out = self.style_convs[at](out, latent[:, at + 1], noises[at + 1])
            if conditions is not None:
                scale, shift = conditions[level]
                kept = out.shape[1] - scale.shape[1]  # channels the condition leaves alone
                out = torch.cat([out[:, :kept], out[:, kept:] * scale + shift], dim=1)
            out = self.style_convs[at + 1](out, latent[:, at + 2], noises[at + 2])
            rgb = to_rgb(out, latent[:, at + 3], rgb)
        return rgb
