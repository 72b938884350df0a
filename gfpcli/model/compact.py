"""The built-in restorer's networks: a residual U-Net on 256 px faces, and the same grown to 512 px.

Attribute names are checkpoint keys.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gfpcli.model.stylegan2 import SLOPE

DEFAULT_WIDTHS = (48, 96, 160, 224, 256)
FOLD = 4  # pixels folded into channels before the first convolution
N_FINE = 16  # channels of the layers at full size
N_LARGE = 32  # channels of the 512 px network's own layers
N_SEEN = 16  # of these, channels of the core's features that they see
SHRINK = 2  # the core of the 512 px network works at 1/SHRINK of its size
N_GROUPS = 8  # of the normalisation; every width is a multiple of it


class ConvPair(nn.Module):
    """Two normalised 3x3 convolutions with a residual path: (N, C, H, W) to (N, C', H, W).

    Without the normalisation training settles on an empty residual: detail is tiny beside the face's light and dark.
    """

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(N_GROUPS, n_in)
        self.conv1 = nn.Conv2d(n_in, n_out, 3, 1, 1)
        self.norm2 = nn.GroupNorm(N_GROUPS, n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, 1, 1)
        self.skip = nn.Identity() if n_in == n_out else nn.Conv2d(n_in, n_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv1(F.leaky_relu(self.norm1(x), SLOPE, inplace=True))
        added: Tensor = self.conv2(F.leaky_relu(self.norm2(out), SLOPE, inplace=True))
        return added.add_(self.skip(x))


class FineLayers(nn.Module):
    """Last convolutions at full size, which draw detail from the features, the picture and noise.

    Noise, as in StyleGAN2, is what a texture is made from: on smooth ground the folded layers alone can only repeat
    themselves every FOLD pixels. It is fresh in training and the stored map otherwise: one input has one output.
    """

    noise: Tensor

    def __init__(self, n_feat: int, n_fine: int) -> None:
        super().__init__()
        self.unfold = nn.Conv2d(n_feat + FOLD**2, n_fine * FOLD**2, 3, 1, 1)
        self.conv1 = nn.Conv2d(n_fine + 7, n_fine, 3, 1, 1)
        self.conv2 = nn.Conv2d(n_fine, n_fine, 3, 1, 1)
        self.conv3 = _silent(nn.Conv2d(n_fine, 3, 3, 1, 1))
        seeded = torch.Generator().manual_seed(0)
        self.register_buffer("noise", torch.randn(1, 1, CompactUNet.size, CompactUNet.size, generator=seeded))

    def forward(self, out: Tensor, x: Tensor, feat: Tensor) -> Tensor:
        """What is added to the folded layers' output `out` (N, 3, S, S), given the input `x` and the last features."""
        noise = _noise_like(x, None if self.training else self.noise)
        seen = self.unfold(torch.cat([feat, F.pixel_unshuffle(noise, FOLD)], dim=1))
        fine = torch.cat([out, x, noise, F.pixel_shuffle(seen, FOLD)], dim=1)  # (N, 7 + n_fine, S, S)
        for conv in (self.conv1, self.conv2):
            fine = F.leaky_relu(conv(fine), SLOPE, inplace=True)
        added: Tensor = self.conv3(fine)
        return added


class CompactUNet(nn.Module):
    """Adds a learned residual to the face it is given.

    Args:
        widths: channels of each level, finest first; level i works at 1/(4 * 2**i) of the input's size.
        n_fine: channels of the last layers at full size; 0 leaves these out.

    Input and output: (N, 3, 256, 256) RGB in [-1, 1]; the output is not clamped.
    """

    size = 256

    def __init__(self, widths: tuple[int, ...] = DEFAULT_WIDTHS, n_fine: int = N_FINE) -> None:
        super().__init__()
        self.head = nn.Conv2d(3 * FOLD**2, widths[0], 3, 1, 1)
        pairs = list(zip(widths[:-1], widths[1:], strict=True))
        self.down = nn.ModuleList(ConvPair(width, width) for width in widths[:-1])
        self.shrink = nn.ModuleList(nn.Conv2d(fine, coarse, 2, 2) for fine, coarse in pairs)
        self.middle = ConvPair(widths[-1], widths[-1])
        self.grow = nn.ModuleList(nn.Conv2d(coarse, fine, 1) for fine, coarse in reversed(pairs))
        self.up = nn.ModuleList(ConvPair(2 * width, width) for width in reversed(widths[:-1]))
        self.tail = _silent(nn.Conv2d(widths[0], 3 * FOLD**2, 3, 1, 1))  # training starts from the input itself
        self.fine = FineLayers(widths[0], n_fine) if n_fine else None

    def add_fine_layers(self) -> None:
        """Gives a network without them its last layers at full size; they change nothing before they are trained."""
        self.fine = FineLayers(self.tail.in_channels, N_FINE)

    def forward(self, x: Tensor) -> Tensor:
        return self.with_features(x)[0]

    def with_features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The output (N, 3, S, S) and the last features (N, widths[0], S/4, S/4)."""
        feat = self.head(F.pixel_unshuffle(x, FOLD))
        skips = []
        for pair, shrink in zip(self.down, self.shrink, strict=True):
            feat = pair(feat)
            skips.append(feat)
            feat = shrink(feat)
        feat = self.middle(feat)
        for grow, pair in zip(self.grow, self.up, strict=True):
            feat = F.interpolate(grow(feat), scale_factor=2.0, mode="bilinear", align_corners=False)
            feat = pair(torch.cat([feat, skips.pop()], dim=1))
        feat = F.leaky_relu(feat, SLOPE, inplace=True)
        out = x + F.pixel_shuffle(self.tail(feat), FOLD)
        return (out if self.fine is None else out + self.fine(out, x, feat)), feat


class LargeLayers(nn.Module):
    """Last convolutions of the 512 px network: on pixels folded two by two, which is fast, then one at full size.

    They draw from noise as FineLayers do. The core's features are enlarged smoothly: unfolded, they gave a lattice of
    8 px in the first trial. Besides what is added there is a gain of the core's residual, by which a face that needs
    little can be left as it is.
    """

    noise: Tensor

    def __init__(self, n_feat: int, n_large: int) -> None:
        super().__init__()
        self.seen = nn.Conv2d(n_feat, N_SEEN, 3, 1, 1)
        self.conv1 = nn.Conv2d(N_SEEN + 3 + 4 * SHRINK**2, n_large, 3, 1, 1)
        self.conv2 = nn.Conv2d(n_large, n_large, 3, 1, 1)
        self.conv3 = _silent(nn.Conv2d(n_large // SHRINK**2 + 4, 4, 3, 1, 1))
        seeded = torch.Generator().manual_seed(1)
        self.register_buffer("noise", torch.randn(1, 1, CompactUNet512.size, CompactUNet512.size, generator=seeded))

    def forward(self, residual: Tensor, x: Tensor, feat: Tensor) -> Tensor:
        """What is added to the input `x` (N, 3, S, S), given the core's residual (N, 3, S/2, S/2) and its features."""
        noise = _noise_like(x, None if self.training else self.noise)
        picture = torch.cat([x, noise], dim=1)  # (N, 4, S, S)
        seen = F.interpolate(self.seen(feat), scale_factor=float(FOLD), mode="bilinear", align_corners=False)
        large = torch.cat([seen, residual, F.pixel_unshuffle(picture, SHRINK)], dim=1)  # (N, N_SEEN + 19, S/2, S/2)
        for conv in (self.conv1, self.conv2):
            large = F.leaky_relu(conv(large), SLOPE, inplace=True)
        added: Tensor = self.conv3(torch.cat([F.pixel_shuffle(large, SHRINK), picture], dim=1))  # (N, 4, S, S)
        enlarged = F.interpolate(residual, scale_factor=float(SHRINK), mode="bilinear", align_corners=False)
        return enlarged * (1 + added[:, 3:]) + added[:, :3]


class CompactUNet512(nn.Module):
    """CompactUNet as core at half size, and layers at 512 px that see the whole picture.

    With a core that has been trained it begins as that core: its residual, enlarged, is added to the input.

    Args:
        core: the network at half size.
        n_large: channels of the layers on 2x2 folded pixels, a multiple of 4.

    Input and output: (N, 3, 512, 512) RGB in [-1, 1]; the output is not clamped.
    """

    size = 512

    def __init__(self, core: CompactUNet, n_large: int = N_LARGE) -> None:
        super().__init__()
        self.core = core
        self.large = LargeLayers(core.tail.in_channels, n_large)

    def forward(self, x: Tensor) -> Tensor:
        small = F.avg_pool2d(x, SHRINK)
        out, feat = self.core.with_features(small)
        added: Tensor = self.large(out - small, x, feat)
        return x + added


def _noise_like(x: Tensor, stored: Tensor | None) -> Tensor:
    """Noise (N, 1, H, W) for pictures (N, C, H, W): fresh, or the stored map (1, 1, at least H, at least W).

    In memory it lies as the pictures do. Joined with others that have their channels last, a map that lay otherwise had
    all of them copied, twice for each layer behind.
    """
    noise = torch.zeros_like(x[:, :1])
    return noise.normal_() if stored is None else noise.add_(stored[..., : x.shape[2], : x.shape[3]])


def _silent(conv: nn.Conv2d) -> nn.Conv2d:
    """With zeros: it adds nothing until it has learnt something."""
    for weight in conv.parameters():
        nn.init.zeros_(weight)
    return conv


def compact_from_state(state: Mapping[str, Tensor]) -> CompactUNet:
    """The network a checkpoint was made with, its shape read from the weights' shapes, still with random weights."""
    n_levels = sum(key.startswith("shrink.") and key.endswith(".weight") for key in state)
    widths = (state["head.weight"].shape[0], *(state[f"shrink.{i}.weight"].shape[0] for i in range(n_levels)))
    n_fine = state["fine.conv2.weight"].shape[0] if "fine.conv2.weight" in state else 0
    return CompactUNet(widths, n_fine)


def compact_512_from_state(state: Mapping[str, Tensor]) -> CompactUNet512:
    """As `compact_from_state`, of the 512 px network."""
    core = {key.removeprefix("core."): value for key, value in state.items() if key.startswith("core.")}
    return CompactUNet512(compact_from_state(core), state["large.conv1.weight"].shape[0])
