"""The paper's network (GFPGANv1): FIR resampling, fused leaky ReLU and equalised learning rates, in plain PyTorch.

Attribute names are checkpoint keys. Source: GFP-GAN section 3; StyleGAN2 appendix B; upstream `gfpganv1_arch.py`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gfpcli.model.gfpgan import GFPGAN, Shape
from gfpcli.model.stylegan2 import GAIN, SLOPE, StyleGAN2Decoder

FIR = (1.0, 3.0, 3.0, 1.0)
HALF = 0.5**0.5
MAPPING_RATE = 0.01  # of the learning rate: the mapping network's (StyleGAN2, appendix B)


def fir(x: Tensor, pad: tuple[int, int], gain: float = 1.0) -> Tensor:
    """Each channel of (N, C, H, W) smoothed by the 4x4 FIR kernel of sum `gain`; `pad` before and after each axis."""
    taps = torch.tensor(FIR, dtype=x.dtype, device=x.device) / sum(FIR)
    n_channels = int(x.shape[1])  # a number also while the network is traced for export
    kernel = (gain * taps[:, None] * taps[None]).expand(n_channels, 1, 4, 4)
    return F.conv2d(F.pad(x, (*pad, *pad)), kernel, groups=n_channels)


class FusedLeakyReLU(nn.Module):
    """Bias, leaky ReLU, and a gain of sqrt(2)."""

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(n_channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x + self.bias[:, None, None], SLOPE) * GAIN


class ScaledLeakyReLU(nn.Module):
    """Leaky ReLU with a gain of sqrt(2)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x, SLOPE) * GAIN


class EqualLinear(nn.Module):
    """Linear layer whose weights are kept at unit variance and scaled when used."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n_out, n_in))
        self.bias = nn.Parameter(torch.zeros(n_out))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.weight.shape[1] ** -0.5, self.bias)


class MappingLayer(EqualLinear):
    """Equalised linear layer that learns at MAPPING_RATE, and its fused activation."""

    def __init__(self, n_style: int) -> None:
        super().__init__(n_style, n_style)
        with torch.no_grad():
            self.weight.div_(MAPPING_RATE)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight * (MAPPING_RATE * self.weight.shape[1] ** -0.5)
        return F.leaky_relu(F.linear(x, weight, self.bias * MAPPING_RATE), SLOPE) * GAIN


class EqualConv(nn.Module):
    """Convolution whose weights are kept at unit variance and scaled when used."""

    def __init__(self, n_in: int, n_out: int, kernel: int, *, stride: int = 1, pad: int = 0, bias: bool = True) -> None:
        super().__init__()
        self.stride, self.pad = stride, pad
        self.weight = nn.Parameter(torch.randn(n_out, n_in, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(n_out)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        scale = self.weight[0].numel() ** -0.5
        return F.conv2d(x, self.weight * scale, self.bias, self.stride, self.pad)


class FirDown(nn.Module):
    """Smoothing before a convolution of stride 2."""

    def __init__(self, kernel: int) -> None:
        super().__init__()
        pad = 2 + kernel - 1
        self.pad = ((pad + 1) // 2, pad // 2)

    def forward(self, x: Tensor) -> Tensor:
        return fir(x, self.pad)


class DownBlock(nn.Module):
    """Residual block to half the size."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(EqualConv(n_in, n_in, 3, pad=1, bias=False), FusedLeakyReLU(n_in))
        self.conv2 = nn.Sequential(FirDown(3), EqualConv(n_in, n_out, 3, stride=2, bias=False), FusedLeakyReLU(n_out))
        self.skip = nn.Sequential(FirDown(1), EqualConv(n_in, n_out, 1, stride=2, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return (self.conv2(self.conv1(x)) + self.skip(x)) * HALF


class UpConv(EqualConv):
    """Bilinear doubling, then a convolution."""

    def __init__(self, n_in: int, n_out: int, kernel: int, *, is_active: bool) -> None:
        super().__init__(n_in, n_out, kernel, pad=kernel // 2, bias=False)
        self.activation = FusedLeakyReLU(n_out) if is_active else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        large = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
        return self.activation(super().forward(large))


class UpBlock(nn.Module):
    """Residual block to twice the size."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(EqualConv(n_in, n_in, 3, pad=1, bias=False), FusedLeakyReLU(n_in))
        self.conv2 = UpConv(n_in, n_out, 3, is_active=True)
        self.skip = UpConv(n_in, n_out, 1, is_active=False)

    def forward(self, x: Tensor) -> Tensor:
        return (self.conv2(self.conv1(x)) + self.skip(x)) * HALF


class FirModulatedConv(nn.Module):
    """Modulated convolution; doubling is a transposed convolution, then smoothing (StyleGAN2, appendix B)."""

    def __init__(self, n_in: int, n_out: int, kernel: int, n_style: int, *, demodulate: bool, up: bool = False) -> None:
        super().__init__()
        self.demodulate, self.up = demodulate, up
        self.modulation = EqualLinear(n_style, n_in)
        nn.init.ones_(self.modulation.bias)  # training starts from unscaled features
        self.weight = nn.Parameter(torch.randn(1, n_out, n_in, kernel, kernel))

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """(N, C, H, W) and (N, n_style) to (N, C', H or 2H, W or 2W)."""
        scale = self.modulation(style)  # (N, C)
        weight = self.weight[0] * self.weight[0, 0].numel() ** -0.5
        x = x * scale[:, :, None, None]
        if self.up:
            out = fir(F.conv_transpose2d(x, weight.transpose(0, 1), stride=2), (1, 1), gain=4)
        else:
            out = F.conv2d(x, weight, padding=weight.shape[-1] // 2)
        if self.demodulate:
            power = scale.square() @ weight.square().sum(dim=(2, 3)).T  # (N, C')
            out = out * torch.rsqrt(power + 1e-8)[:, :, None, None]
        return out


class FirStyleConv(nn.Module):
    """Modulated convolution, stored noise, and the fused activation."""

    def __init__(self, n_in: int, n_out: int, n_style: int, *, up: bool = False) -> None:
        super().__init__()
        self.modulated_conv = FirModulatedConv(n_in, n_out, 3, n_style, demodulate=True, up=up)
        self.weight = nn.Parameter(torch.zeros(1))
        self.activate = FusedLeakyReLU(n_out)

    def forward(self, x: Tensor, style: Tensor, noise: Tensor) -> Tensor:
        return self.activate(self.modulated_conv(x, style) + self.weight * noise)


class FirToRGB(nn.Module):
    """Features to RGB, added to the enlarged RGB of the level below."""

    def __init__(self, n_in: int, n_style: int) -> None:
        super().__init__()
        self.modulated_conv = FirModulatedConv(n_in, 3, 1, n_style, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(1, 3, 1, 1))

    def forward(self, x: Tensor, style: Tensor, rgb: Tensor | None) -> Tensor:
        out = self.modulated_conv(x, style) + self.bias
        if rgb is None:
            return out
        wide = F.pad(rgb[..., None], (0, 1)).flatten(3)  # each pixel followed by a zero
        spread = F.pad(wide[:, :, :, None], (0, 0, 0, 1)).flatten(2, 3)  # each row followed by one of zeros
        return out + fir(spread, (2, 1), gain=4)


class PaperDecoder(StyleGAN2Decoder):
    """The decoder of the paper's checkpoints."""

    style_conv = FirStyleConv
    to_rgb = FirToRGB

    @staticmethod
    def mlp_layer(n_style: int) -> list[nn.Module]:
        """One layer of the mapping network, with its activation inside."""
        return [MappingLayer(n_style)]


def _fused_modulation_head(n_in: int, n_out: int, start: float) -> nn.Sequential:
    last = EqualConv(n_in, n_out, 3, pad=1)
    nn.init.constant_(last.bias, start)  # type: ignore[arg-type]
    return nn.Sequential(EqualConv(n_in, n_in, 3, pad=1), ScaledLeakyReLU(), last)


class GFPGANPaper(GFPGAN):
    """The layout of the paper's checkpoint."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        widths = shape.unet
        self.size = 4 << (len(widths) - 1)
        self.shape = shape
        n_codes = 2 * len(widths) if shape.has_own_codes else 1
        top, bottom = widths[-1], widths[0]
        pairs = list(zip(widths[:-1], widths[1:], strict=True))
        self.conv_body_first = nn.Sequential(EqualConv(3, top, 1, bias=False), FusedLeakyReLU(top))
        self.conv_body_down = nn.ModuleList(DownBlock(fine, coarse) for coarse, fine in reversed(pairs))
        self.final_conv = nn.Sequential(EqualConv(bottom, bottom, 3, pad=1, bias=False), FusedLeakyReLU(bottom))
        self.conv_body_up = nn.ModuleList(UpBlock(coarse, fine) for coarse, fine in pairs)
        self.toRGB = nn.ModuleList(EqualConv(width, 3, 1) for width in widths[1:])
        self.final_linear = EqualLinear(bottom * 16, n_codes * shape.n_style)
        self.stylegan_decoder = PaperDecoder(shape.decoder, shape.n_style, shape.n_mlp)
        parts = 2 if shape.is_half else 1
        sft = [(width, decoded // parts) for width, decoded in zip(widths[1:], shape.decoder[1:], strict=True)]
        self.condition_scale = nn.ModuleList(_fused_modulation_head(*pair, 1.0) for pair in sft)
        self.condition_shift = nn.ModuleList(_fused_modulation_head(*pair, 0.0) for pair in sft)

    @staticmethod
    def activate(x: Tensor) -> Tensor:
        """The layers hold their own activation."""
        return x
