"""EfficientNet-Lite0: the shapes of its features, and padding as TensorFlow's."""

from __future__ import annotations

import pytest
import torch

from gfpcli.model.efficientnet_lite import FEATURE_CHANNELS, EfficientNetLite0, SameConv


def test_features_are_halved_at_each_level_and_sizes_round_up() -> None:
    net = EfficientNetLite0().eval()
    with torch.inference_mode():
        found = net(torch.zeros(1, 3, 50, 64))
    sizes = ((25, 32), (13, 16), (7, 8), (4, 4), (2, 2))
    assert [tuple(each.shape) for each in found] == [
        (1, channels, *size) for channels, size in zip(FEATURE_CHANNELS, sizes, strict=True)
    ]


@pytest.mark.parametrize(
    ("length", "kernel", "stride", "wanted"),
    [(6, 3, 2, [3.0, 3.0, 2.0]), (7, 3, 2, [2.0, 3.0, 3.0, 2.0]), (4, 5, 1, [3.0, 4.0, 4.0, 3.0])],
)
def test_padding_is_tensorflow_s(length: int, kernel: int, stride: int, wanted: list[float]) -> None:
    """How many places of the picture, not of the border, each output sums."""
    conv = SameConv(1, 1, kernel, stride, bias=False)
    torch.nn.init.ones_(conv.weight)
    sums = conv(torch.ones(1, 1, length, length))[0, 0] / max(wanted)
    assert sums[len(wanted) // 2].tolist() == wanted
