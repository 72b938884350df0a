"""EfficientNet-Lite0 as a source of image features (EfficientNet, Tan and Le, 2019; Lite: without squeeze and
excitation, with ReLU6).

Attribute names are the keys of the PyTorch checkpoint, which was converted from TensorFlow's: hence padding as there.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

NORM_EPS = 1e-3  # TensorFlow's
N_STEM = 32
LITE_STAGES = (  # expansion, kernel, stride, channels, blocks
    (1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3), (6, 5, 1, 112, 3), (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)  # fmt: skip
CLASSIFIER = ("_conv_head.", "_bn1.", "_fc.")  # keys of the classifier, which is left out
FEATURE_BLOCKS = (0, 2, 4, 10, 15)  # the last block at each resolution
FEATURE_CHANNELS = (16, 24, 40, 112, 320)


class SameConv(nn.Conv2d):
    """A convolution without bias, padded as TensorFlow's SAME: at a stride of 2 more at the right and below."""

    def forward(self, x: Tensor) -> Tensor:
        pads: list[int] = []
        for length, kernel, stride in zip(x.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1], strict=True):
            total = max((-(-length // stride) - 1) * stride + kernel - length, 0)
            pads += [total // 2, total - total // 2]
        return F.conv2d(F.pad(x, pads), self.weight, self.bias, self.stride, groups=self.groups)


class InvertedResidual(nn.Module):
    """Expand, filter each channel by itself, project (MobileNetV2); with a skip where the shape stays."""

    def __init__(self, n_in: int, n_out: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        n_mid = n_in * expansion
        self.has_skip = stride == 1 and n_in == n_out
        if expansion != 1:
            self._expand_conv = SameConv(n_in, n_mid, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(n_mid, NORM_EPS)
        self._depthwise_conv = SameConv(n_mid, n_mid, kernel, stride, groups=n_mid, bias=False)
        self._bn1 = nn.BatchNorm2d(n_mid, NORM_EPS)
        self._project_conv = SameConv(n_mid, n_out, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(n_out, NORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        out = x
        if hasattr(self, "_expand_conv"):
            out = F.relu6(self._bn0(self._expand_conv(out)))
        out = F.relu6(self._bn1(self._depthwise_conv(out)))
        out = self._bn2(self._project_conv(out))
        return out + x if self.has_skip else out


class EfficientNetLite0(nn.Module):
    """(N, 3, H, W) RGB in [-1, 1] to features at 1/2, 1/4, 1/8, 1/16 and 1/32 of the size, FEATURE_CHANNELS each."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = SameConv(3, N_STEM, 3, 2, bias=False)
        self._bn0 = nn.BatchNorm2d(N_STEM, NORM_EPS)
        blocks: list[nn.Module] = []
        n_in = N_STEM
        for expansion, kernel, stride, n_out, n_blocks in LITE_STAGES:
            for i in range(n_blocks):
                blocks.append(InvertedResidual(n_in, n_out, expansion, kernel, 1 if i else stride))
                n_in = n_out
        self._blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        out = F.relu6(self._bn0(self._conv_stem(x)))
        features = []
        for i, block in enumerate(self._blocks):
            out = block(out)
            if i in FEATURE_BLOCKS:
                features.append(out)
        return tuple(features)
