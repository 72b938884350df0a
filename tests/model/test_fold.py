"""Batch norms folded into convolutions: a layer less for each, the same answers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from facexlib.detection.retinaface import RetinaFace
from facexlib.parsing.parsenet import ParseNet
from torch import Tensor, nn

from gfpcli.model.fold import fold_batch_norms
from gfpcli.model.landmarks import LandmarkNet

NETS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "detector": (lambda: RetinaFace("mobile0.25", device=torch.device("cpu")), 47),
    "landmark network": (LandmarkNet, 12),
    "ParseNet": (lambda: ParseNet(in_size=64, out_size=64, parsing_ch=19), 24),
}


def n_norms(net: nn.Module) -> int:
    return sum(isinstance(each, nn.BatchNorm2d) for each in net.modules())


def answers(net: nn.Module, picture: Tensor) -> list[Tensor]:
    with torch.inference_mode():
        out = net(picture)
    return [out] if isinstance(out, Tensor) else list(out)


@pytest.mark.parametrize("name", NETS)
def test_no_batch_norm_is_left_and_the_answers_are_the_same(name: str) -> None:
    make, n_before = NETS[name]
    seeded = torch.Generator().manual_seed(0)
    net = make().eval().requires_grad_(False)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):  # as after a training
            module.running_mean.normal_(0, 0.1, generator=seeded)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 1.5, generator=seeded)  # type: ignore[union-attr]
    picture = torch.rand(2, 3, 80, 80, generator=seeded) * 2 - 1
    picture = picture[..., :64, :64] if name == "ParseNet" else picture
    before = answers(net, picture)
    assert n_norms(net) == n_before
    fold_batch_norms(net, torch.zeros_like(picture))
    assert n_norms(net) == 0
    for one, other in zip(before, answers(net, picture), strict=True):
        assert not torch.equal(one, torch.zeros_like(one))
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-4 * float(one.abs().max()))


def test_a_batch_norm_that_follows_no_convolution_stays() -> None:
    net = nn.Sequential(nn.ReLU(), nn.BatchNorm2d(3), nn.Conv2d(3, 4, 1), nn.ReLU(), nn.BatchNorm2d(4)).eval()
    fold_batch_norms(net, torch.zeros(1, 3, 8, 8))
    assert n_norms(net) == 2
