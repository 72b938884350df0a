"""The discriminators of GFP-GAN's training, in the official key layouts (attribute names are checkpoint keys).

StyleGAN2's whole-face discriminator, and the small one that judges an eye or the mouth (GFP-GAN, section 3.4).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from gfpcli.model.paper import DownBlock, EqualConv, EqualLinear, FirDown, FusedLeakyReLU

STDDEV_GROUP = 4  # samples whose spread is shown to the discriminator together


def _conv2d(n_in: int, n_out: int, kernel: int = 3) -> nn.Sequential:
    return nn.Sequential(EqualConv(n_in, n_out, kernel, pad=kernel // 2, bias=False), FusedLeakyReLU(n_out))


def _half(n_in: int, n_out: int) -> nn.Sequential:
    return nn.Sequential(FirDown(3), EqualConv(n_in, n_out, 3, stride=2, bias=False), FusedLeakyReLU(n_out))


class FusedLinear(EqualLinear):
    """Linear layer with the fused activation; its bias is inside the activation."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.leaky_relu(super().forward(x), 0.2) * 2**0.5


class StyleGAN2Discriminator(nn.Module):
    """(N, 3, S, S) RGB in [-1, 1] to realness (N, 1); S = 4 * 2**(len(channels) - 1).

    N is at most 4, or a multiple of 4.

    Args:
        channels: widths from the image's size down to 4x4.
    """

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        pairs = zip(channels[:-1], channels[1:], strict=True)
        self.conv_body = nn.Sequential(_conv2d(3, channels[0], 1), *(DownBlock(fine, coarse) for fine, coarse in pairs))
        last = channels[-1]
        self.final_conv = _conv2d(last + 1, last)
        self.final_linear = nn.Sequential(FusedLinear(last * 16, last), EqualLinear(last, 1))

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv_body(x)
        out = self.final_conv(torch.cat([out, spread_of(out)], dim=1))
        return self.final_linear(out.flatten(1))


def spread_of(feat: Tensor) -> Tensor:
    """(N, 1, H, W): the mean standard deviation within each group of samples (StyleGAN2's minibatch stddev)."""
    n, c, h, w = feat.shape
    group = min(n, STDDEV_GROUP)
    grouped = feat.view(group, n // group, c, h, w)
    deviation = (grouped.var(dim=0, unbiased=False) + 1e-8).sqrt().mean(dim=(1, 2, 3))  # (N / group,)
    return deviation.repeat(group).view(n, 1, 1, 1).expand(n, 1, h, w)


class ComponentDiscriminator(nn.Module):
    """(N, 3, H, W) RGB patch in [-1, 1] to a realness map (N, 1, H/4, W/4) and the two features whose Gram matrices
    the style loss compares."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = _conv2d(3, 64)
        self.conv2 = _half(64, 128)
        self.conv3 = _conv2d(128, 128)
        self.conv4 = _half(128, 256)
        self.conv5 = _conv2d(256, 256)
        self.final_conv = nn.Sequential(EqualConv(256, 1, 3, pad=1))

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        fine = self.conv3(self.conv2(self.conv1(x)))
        coarse = self.conv5(self.conv4(fine))
        return self.final_conv(coarse), (fine, coarse)


def channels_of(state: Mapping[str, Tensor]) -> tuple[int, ...]:
    """The `channels` of a StyleGAN2Discriminator, read from a state's shapes. Raises KeyError for another layout."""
    n_blocks = sum(key.startswith("conv_body.") and key.endswith(".skip.1.weight") for key in state)
    first = state["conv_body.0.0.weight"].shape[0]
    return (first, *(state[f"conv_body.{i}.skip.1.weight"].shape[0] for i in range(1, n_blocks + 1)))
