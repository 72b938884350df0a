"""The built-in restorer's network: a residual U-Net on 256 px faces. Attribute names are checkpoint keys."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

DEFAULT_WIDTHS = (48, 96, 160, 224, 256)
FOLD = 4  # pixels folded into channels before the first convolution
SLOPE = 0.2
N_FINE = 16  # channels of the layers at full size
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
        out = self.conv1(F.leaky_relu(self.norm1(x), SLOPE))
        return self.skip(x) + self.conv2(F.leaky_relu(self.norm2(out), SLOPE))


class CompactUNet(nn.Module):
    """Adds a learned residual to the face it is given.

    Args:
        widths: channels of each level, finest first; level i works at 1/(4 * 2**i) of the input's size.
        n_fine: channels of three last convolutions at full size, which see neither the folding's grid nor its seams;
            0 leaves them out.

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
        self.tail = nn.Conv2d(widths[0], 3 * FOLD**2, 3, 1, 1)
        _silence(self.tail)  # training starts from the input itself
        self.fine = nn.Sequential()
        if n_fine:
            self.add_fine_layers(n_fine)

    def add_fine_layers(self, n_fine: int = N_FINE) -> None:
        """Gives a network without them its last layers at full size; they change nothing before they are trained."""
        self.fine = _fine_layers(self.tail.in_channels, n_fine)

    def forward(self, x: Tensor) -> Tensor:
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
        feat = F.leaky_relu(feat, SLOPE)
        out = x + F.pixel_shuffle(self.tail(feat), FOLD)
        if not len(self.fine):
            return out
        unfold, *convs = self.fine
        around = torch.cat([out, x, F.pixel_shuffle(unfold(feat), FOLD)], dim=1)
        for conv in convs[:-1]:
            around = F.leaky_relu(conv(around), SLOPE)
        return out + convs[-1](around)


def _fine_layers(n_feat: int, n_fine: int) -> nn.Sequential:
    """A convolution of the folded features, then three at full size on (own output, input, unfolded features)."""
    layers = nn.Sequential(
        nn.Conv2d(n_feat, n_fine * FOLD**2, 3, 1, 1),
        nn.Conv2d(6 + n_fine, n_fine, 3, 1, 1),
        nn.Conv2d(n_fine, n_fine, 3, 1, 1),
        nn.Conv2d(n_fine, 3, 3, 1, 1),
    )
    _silence(layers[-1])
    return layers


def _silence(conv: nn.Module) -> None:
    """Zeros: the layer adds nothing until it has learnt something."""
    for weight in conv.parameters():
        nn.init.zeros_(weight)


def compact_from_state(state: Mapping[str, Tensor]) -> CompactUNet:
    """The network a checkpoint was made with, its shape read from the weights' shapes, still with random weights."""
    n_levels = sum(key.startswith("shrink.") and key.endswith(".weight") for key in state)
    widths = (state["head.weight"].shape[0], *(state[f"shrink.{i}.weight"].shape[0] for i in range(n_levels)))
    n_fine = state["fine.1.weight"].shape[0] if "fine.1.weight" in state else 0
    return CompactUNet(widths, n_fine)
