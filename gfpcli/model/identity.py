"""The built-in identity network: whose face it is, as a vector. Attribute names are checkpoint keys."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from gfpcli.model.landmarks import Residual
from gfpcli.model.views import IDENTITY_VIEW

N_FEATURES = 128  # the teacher's
FIRST_WIDTH, MIDDLE, COARSEST = 32, 96, 192  # channels at 1/4, 1/8 and 1/16 of the square
N_LAST_PLACES = IDENTITY_VIEW // 16  # of the last features


def _shrunk(n_in: int, n_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(n_in, n_out, 3, 2, 1, bias=False), nn.BatchNorm2d(n_out), nn.ReLU(inplace=True))


class IdentityNet(nn.Module):
    """A small residual network; each place of the last features has weights of its own, as in MobileFaceNet.

    Input: (N, 3, 96, 96) RGB in [-1, 1], an aligned face from the forehead to the chin.
    Output: (N, 128) unit vectors.
    """

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _shrunk(4 * 3, FIRST_WIDTH), Residual(FIRST_WIDTH), Residual(FIRST_WIDTH),
            _shrunk(FIRST_WIDTH, MIDDLE), Residual(MIDDLE),
            _shrunk(MIDDLE, COARSEST), Residual(COARSEST),
        )  # fmt: skip
        self.places = nn.Conv2d(COARSEST, COARSEST, N_LAST_PLACES, groups=COARSEST, bias=False)
        self.norm = nn.BatchNorm1d(COARSEST)
        self.vector = nn.Linear(COARSEST, N_FEATURES)

    def forward(self, x: Tensor) -> Tensor:
        features = self.body(F.pixel_unshuffle(x, 2))  # (N, 192, 6, 6)
        return F.normalize(self.vector(self.norm(self.places(features).flatten(1))), dim=1)
