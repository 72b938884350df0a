"""A discriminator on the features of a frozen network (Projected GANs, Sauer et al., NeurIPS 2021).

The features of several levels are mixed across channels and across scales by fixed random convolutions, so that each
small discriminator has to look at all of them; one discriminator for each level says how real a face is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from gfpcli.model.efficientnet_lite import FEATURE_CHANNELS

N_LEVELS = 4  # of the features, the coarsest ones: 1/4 to 1/32 of the size
FEATURE_SPREADS = (8.0, 7.0, 7.0, 2.5)  # root mean square of Lite0's features of faces at these levels
FIRST_STRIDE = 4
MIXED_WIDTHS = (32, 64, 128, 256)  # channels after mixing, finest level first
WIDEST = 128  # of the discriminators' layers
LAST_SIDE = 4  # px of the map on which the small discriminators decide


class RandomMixing(nn.Module):
    """Features (N, C, H, W) of N_LEVELS levels, finest first, to as many mixed ones of MIXED_WIDTHS channels.

    The weights are random and stay as they are: buffers, which are saved and never trained.
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        for i, (n_in, n_out) in enumerate(zip(channels, MIXED_WIDTHS, strict=True)):
            self.register_buffer(f"across_channels_{i}", torch.randn(n_out, n_in, 1, 1) / math.sqrt(n_in))
        for i, (n_out, n_in) in enumerate(zip(MIXED_WIDTHS[:-1], MIXED_WIDTHS[1:], strict=True)):
            self.register_buffer(f"across_scales_{i}", torch.randn(n_out, n_in, 3, 3) / math.sqrt(9 * n_in))

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        mixed: list[Tensor] = []
        for i in reversed(range(len(features))):  # from the coarsest level up
            out = F.conv2d(features[i] / FEATURE_SPREADS[i], self.get_buffer(f"across_channels_{i}"))
            if mixed:
                coarser = F.conv2d(mixed[0], self.get_buffer(f"across_scales_{i}"), padding=1)
                larger = F.interpolate(coarser, out.shape[-2:], mode="bilinear", align_corners=False)
                out = (out + larger) / math.sqrt(2)
            mixed.insert(0, out)
        return mixed


class LevelDiscriminator(nn.Sequential):
    """Mixed features (N, C, side, side) of one level to a map of realness (N, 1, h, w), h and w at most LAST_SIDE.

    Its weights are normalised by their largest singular value (spectral normalisation), and there is no batch norm:
    batches of faces to restore are small.
    """

    def __init__(self, width: int, side: int) -> None:
        layers: list[nn.Module] = []
        while side > LAST_SIDE:
            wider = min(2 * width, WIDEST)
            layers += [spectral_norm(nn.Conv2d(width, wider, 4, 2, 1)), nn.LeakyReLU(0.2)]
            width, side = wider, side // 2
        super().__init__(*layers, spectral_norm(nn.Conv2d(width, 1, 3, 1, 1)))


class ProjectedDiscriminator(nn.Module):
    """The features of EfficientNet-Lite0, all levels, to a list of N_LEVELS maps of realness (N, 1, h, w).

    Args:
        size: edge of the faces, px, a power of two.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.mixing = RandomMixing(FEATURE_CHANNELS[-N_LEVELS:])
        sides = [size // FIRST_STRIDE >> i for i in range(N_LEVELS)]
        levels = zip(MIXED_WIDTHS, sides, strict=True)
        self.levels = nn.ModuleList(LevelDiscriminator(width, side) for width, side in levels)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        mixed = self.mixing(features[-N_LEVELS:])
        return [level(each) for level, each in zip(self.levels, mixed, strict=True)]
