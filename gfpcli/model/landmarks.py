"""The built-in detector's second network: one face, seen close. Attribute names are checkpoint keys."""

from __future__ import annotations

from torch import Tensor, nn

SIZE = 80  # px of the square it sees
FACE = 52.0  # px of the longer side of the face's box in it
WIDTHS = (16, 32, 64, 96)  # channels at 1/2, 1/4, 1/8 and 1/16 of the square
N_HIDDEN = 48
MEAN_SHAPE = (-0.22, -0.13, 0.22, -0.13, 0.0, 0.12, -0.18, 0.31, 0.18, 0.31)  # where the head starts, in units of FACE


def _conv(n_in: int, n_out: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False), nn.BatchNorm2d(n_out), nn.ReLU(inplace=True))


class Residual(nn.Module):
    """Two 3x3 convolutions beside a straight path: (N, C, H, W) to the same."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = _conv(width, width, 1)
        self.second = nn.Sequential(nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width))
        self.active = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.active(x + self.second(self.first(x)))


class LandmarkNet(nn.Module):
    """Five landmarks, and whether it is a face.

    Input: (N, 3, 80, 80) RGB in [-1, 1], a face about upright, its box 52 px on the longer side, in the middle.
    Output: landmarks (N, 5, 2) in pixels of the square (first pixel's centre at 0); logits (N,), above 0 for a face.
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [_conv(3, WIDTHS[0], 2)]
        for narrow, wide in zip(WIDTHS[:-1], WIDTHS[1:], strict=True):
            layers += [_conv(narrow, wide, 2), Residual(wide)]
        self.body = nn.Sequential(*layers)
        self.hidden = nn.Sequential(nn.Linear(WIDTHS[-1] * (SIZE // 16) ** 2, N_HIDDEN), nn.ReLU(inplace=True))
        self.points = nn.Linear(N_HIDDEN, 10)
        self.face = nn.Linear(N_HIDDEN, 1)
        nn.init.zeros_(self.points.weight)
        self.points.bias.data.copy_(self.points.bias.new_tensor(MEAN_SHAPE))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        seen = self.hidden(self.body(x).flatten(1))  # (N, C, 5, 5) to (N, 25 C) to (N, hidden)
        points = self.points(seen).view(-1, 5, 2) * FACE + (SIZE - 1) / 2
        return points, self.face(seen)[:, 0]
