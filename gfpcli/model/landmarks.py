"""The built-in detector's second network: one face, seen close. Attribute names are checkpoint keys."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gfpcli.model.views import FACE_SIDE, MEAN_SHAPE, VIEW_SIZE

WIDTHS = (16, 32, 64, 96)  # channels at 1/2, 1/4, 1/8 and 1/16 of the square
N_HIDDEN = 48
N_VOTE = 40  # channels where every place of the square votes
VOTE_SPACING = 4  # px between those places
VOTED = 0.35  # how much the vote counts beside what the whole square says, chosen on photos not trained on


def _conv_norm(n_in: int, n_out: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False), nn.BatchNorm2d(n_out), nn.ReLU(inplace=True))


class Residual(nn.Module):
    """Two 3x3 convolutions beside a straight path: (N, C, H, W) to the same."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = _conv_norm(width, width, 1)
        self.second = nn.Sequential(nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width))
        self.active = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.active(x + self.second(self.first(x)))


class LandmarkNet(nn.Module):
    """Five landmarks, and whether it is a face.

    The landmarks are between two answers from one body: one read off the whole square at once, which knows what a
    face looks like where it is hidden; and a vote of its places, each of which says how far away each landmark lies
    and how much its word counts, which is the more exact where a landmark is seen.

    Input: (N, 3, 80, 80) RGB in [-1, 1], a face about upright, its box 52 px on the longer side, in the middle.
    Output: landmarks (N, 5, 2) in pixels of the square (first pixel's centre at 0); logits (N,), above 0 for a face.
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [_conv_norm(3, WIDTHS[0], 2)]
        for narrow, wide in zip(WIDTHS[:-1], WIDTHS[1:], strict=True):
            layers += [_conv_norm(narrow, wide, 2), Residual(wide)]
        self.body = nn.Sequential(*layers)
        self.hidden = nn.Sequential(nn.Linear(WIDTHS[-1] * (VIEW_SIZE // 16) ** 2, N_HIDDEN), nn.ReLU(inplace=True))
        self.points = nn.Linear(N_HIDDEN, 10)
        self.face = nn.Linear(N_HIDDEN, 1)
        self.across = nn.ModuleList(nn.Conv2d(width, N_VOTE, 1) for width in WIDTHS[1:])
        self.joined = nn.ModuleList(_conv_norm(N_VOTE, N_VOTE, 1) for _ in WIDTHS[2:])
        self.votes = nn.Conv2d(N_VOTE, 15, 1)
        nn.init.zeros_(self.points.weight)
        self.points.bias.data.copy_(self.points.bias.new_tensor(MEAN_SHAPE))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        whole, voted, logits = self.answers(x)
        return whole + VOTED * (voted - whole), logits

    def answers(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Both answers for the landmarks (N, 5, 2), and the logits (N,)."""
        scales: list[Tensor] = []
        for layer in self.body:
            x = layer(x)
            if isinstance(layer, Residual):
                scales.append(x)  # (N, 32, 20, 20), (N, 64, 10, 10), (N, 96, 5, 5)
        seen = self.hidden(x.flatten(1))  # (N, 25 C) to (N, hidden)
        whole = self.points(seen).view(-1, 5, 2).float() * FACE_SIDE + (VIEW_SIZE - 1) / 2
        return whole, self._vote(scales), self.face(seen)[:, 0]

    def _vote(self, scales: list[Tensor]) -> Tensor:
        top = self.across[-1](scales[-1])
        for narrow, across, joined in zip(scales[-2::-1], self.across[-2::-1], self.joined, strict=True):
            top = joined(F.interpolate(top, scale_factor=2.0, mode="nearest") + across(narrow))
        votes = self.votes(top).float().flatten(2)  # (N, 15, 400)
        weights = votes[:, :5].softmax(dim=2)
        off = votes[:, 5:].unflatten(1, (5, 2)) * VOTE_SPACING  # (N, 5, 2, 400) px
        side = torch.arange(0, VIEW_SIZE, VOTE_SPACING, device=votes.device) + (VOTE_SPACING - 1) / 2
        places = torch.stack(torch.meshgrid(side, side, indexing="xy")).flatten(1)  # (2, 400) xy
        return ((off + places) * weights[:, :, None]).sum(dim=3)
