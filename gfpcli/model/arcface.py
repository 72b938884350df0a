"""ArcFace-R18 for the identity loss, in the layout of the official checkpoint (attribute names are checkpoint keys)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

LUMA = (0.2989, 0.5870, 0.1140)  # RGB weights upstream uses for the gray face
INPUT_SIZE = 128  # px


class IRBlock(nn.Module):
    """Improved residual block (ArcFace, section 3)."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.bn0 = nn.BatchNorm2d(n_in)
        self.conv1 = nn.Conv2d(n_in, n_in, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(n_in)
        self.prelu = nn.PReLU()
        self.conv2 = nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(n_out)
        self.downsample = (
            nn.Sequential(nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out))
            if stride != 1 or n_in != n_out
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        out = self.prelu(self.bn1(self.conv1(self.bn0(x))))
        out = self.bn2(self.conv2(out))
        return self.prelu(out + (x if self.downsample is None else self.downsample(x)))


class ArcFaceR18(nn.Module):
    """(N, 1, 128, 128) gray in [-1, 1] to features (N, 512)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 64, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.prelu = nn.PReLU()
        self.maxpool = nn.MaxPool2d(2)
        self.layer1 = nn.Sequential(IRBlock(64, 64, 1), IRBlock(64, 64, 1))
        self.layer2 = nn.Sequential(IRBlock(64, 128, 2), IRBlock(128, 128, 1))
        self.layer3 = nn.Sequential(IRBlock(128, 256, 2), IRBlock(256, 256, 1))
        self.layer4 = nn.Sequential(IRBlock(256, 512, 2), IRBlock(512, 512, 1))
        self.bn4 = nn.BatchNorm2d(512)
        self.dropout = nn.Dropout()
        self.fc5 = nn.Linear(512 * 8 * 8, 512)
        self.bn5 = nn.BatchNorm1d(512)

    def forward(self, x: Tensor) -> Tensor:
        feat = self.maxpool(self.prelu(self.bn1(self.conv1(x))))
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            feat = layer(feat)
        return self.bn5(self.fc5(self.dropout(self.bn4(feat)).flatten(1)))


def gray_for_identity(faces: Tensor) -> Tensor:
    """(N, 3, S, S) RGB to the (N, 1, 128, 128) gray that ArcFace-R18 takes (bilinear, as upstream)."""
    weights = torch.tensor(LUMA, dtype=faces.dtype, device=faces.device)[:, None, None]
    gray = (faces * weights).sum(dim=1, keepdim=True)
    return nn.functional.interpolate(gray, (INPUT_SIZE, INPUT_SIZE), mode="bilinear", align_corners=False)
