"""The discriminator on frozen features: what it sees, what trains, and what stays as it was drawn."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from gfpcli.model.efficientnet_lite import FEATURE_CHANNELS
from gfpcli.model.projected import FEATURE_SPREADS, MIXED_WIDTHS, ProjectedDiscriminator, RandomMixing


def features_of(size: int, n: int = 2) -> list[Tensor]:
    """Random features with the spreads of real ones."""
    spreads = (5.5, *FEATURE_SPREADS)
    sides = [max(1, size >> i) for i in range(1, 6)]
    shapes = zip(FEATURE_CHANNELS, sides, spreads, strict=True)
    return [spread * torch.randn(n, channels, side, side) for channels, side, spread in shapes]


@pytest.mark.parametrize(("size", "sides"), [(32, [4, 4, 2, 1]), (64, [4, 4, 4, 2]), (512, [4, 4, 4, 4])])
def test_each_level_has_a_map_of_realness(size: int, sides: list[int]) -> None:
    torch.manual_seed(0)
    scores = ProjectedDiscriminator(size)(features_of(size))
    assert [tuple(each.shape) for each in scores] == [(2, 1, side, side) for side in sides]


def test_mixing_keeps_the_spread_and_is_never_trained() -> None:
    torch.manual_seed(0)
    mixing = RandomMixing(FEATURE_CHANNELS[1:])
    mixed = mixing(features_of(128, n=4)[1:])
    assert [each.shape[1] for each in mixed] == list(MIXED_WIDTHS)
    assert all(0.6 < float(each.std()) < 1.4 for each in mixed)
    assert not list(mixing.parameters()) and len(mixing.state_dict()) == 7


def test_every_level_reaches_the_finest_discriminator() -> None:
    """Mixing across scales: a change of the coarsest features changes the finest mixed ones."""
    torch.manual_seed(0)
    mixing = RandomMixing(FEATURE_CHANNELS[1:])
    features = features_of(64)[1:]
    before = mixing(features)[0]
    features[-1] = features[-1] + 2.5
    assert float((mixing(features)[0] - before).abs().mean()) > 0.05  # of a spread of 1


def test_the_layers_are_bounded() -> None:
    """Spectral normalisation: after a few passes no weight stretches its input more than once."""
    torch.manual_seed(0)
    net = ProjectedDiscriminator(64)
    with torch.no_grad():
        for weight in net.parameters():
            weight.mul_(20)
    features = features_of(64)
    for _ in range(20):
        net(features)
    weights = [layer.weight.detach() for level in net.levels for layer in level if hasattr(layer, "weight")]
    norms = [float(torch.linalg.matrix_norm(weight.flatten(1), 2)) for weight in weights]
    assert len(norms) == 7 and all(math.isclose(norm, 1, rel_tol=0.05) for norm in norms)
