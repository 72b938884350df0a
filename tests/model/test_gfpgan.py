"""Parity with the reference implementation, with random weights in the official layouts."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable

import pytest
import torch
import torchvision.transforms.functional as functional

from gfpcli.model.gfpgan import GFPGANClean, shape_of
from gfpcli.model.paper import GFPGANPaper


def reference(name: str, size: int, narrow: float, multiplier: int) -> torch.nn.Module:
    """The reference's network with random weights, none of them left at its neutral start."""
    stub = types.ModuleType("torchvision.transforms.functional_tensor")
    stub.rgb_to_grayscale = functional.rgb_to_grayscale  # type: ignore[attr-defined]  # gone, imported by basicsr
    sys.modules.setdefault(stub.__name__, stub)
    from basicsr.ops.fused_act.fused_act import FusedLeakyReLU
    from gfpgan.archs.gfpganv1_arch import GFPGANv1
    from gfpgan.archs.gfpganv1_clean_arch import GFPGANv1Clean

    def plain(self: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:  # the compiled operator, in plain PyTorch
        return torch.nn.functional.leaky_relu(x + self.bias[:, None, None], 0.2) * 2**0.5

    FusedLeakyReLU.forward = plain
    torch.manual_seed(1)
    make = {"clean": GFPGANv1Clean, "paper": GFPGANv1}[name]
    net = make(
        size, channel_multiplier=multiplier, narrow=narrow, input_is_latent=True, different_w=True, sft_half=True
    ).eval()
    with torch.no_grad():
        for key, value in net.named_parameters():
            if key.endswith("bias") or value.numel() == 1:
                value.normal_(0, 0.2)  # zero at the start: would hide a lost bias or noise
    return net


@pytest.mark.parametrize(
    ("name", "size", "narrow", "multiplier"),
    [
        ("clean", 64, 0.25, 1),
        ("clean", 256, 0.25, 1),
        ("clean", 512, 1, 2),
        ("paper", 64, 0.25, 1),
        ("paper", 256, 0.5, 1),
    ],
)
def test_equals_the_reference(name: str, size: int, narrow: float, multiplier: int) -> None:
    theirs = reference(name, size, narrow, multiplier)
    build: Callable[..., GFPGANClean] = {"clean": GFPGANClean, "paper": GFPGANPaper}[name]
    ours = build(shape_of(theirs.state_dict())).eval()
    ours.load_state_dict(theirs.state_dict())
    for seed in range(5):
        x = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1
        with torch.no_grad():
            want, rgbs = theirs(x, return_rgb=True, randomize_noise=False)
            got, own = ours.with_pyramid(x)
        assert (got - want).norm() / want.norm() < 1e-5
        assert [rgb.shape[-1] for rgb in own] == [8 << i for i in range(len(own))]
        assert all((mine - other).norm() / other.norm() < 1e-5 for mine, other in zip(own, rgbs, strict=True))


def test_a_face_does_not_depend_on_its_batch() -> None:
    ours = GFPGANClean(shape_of(reference("clean", 32, 0.25, 1).state_dict())).eval()
    x = torch.rand(3, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        singles = torch.cat([ours(face[None]) for face in x])
        torch.testing.assert_close(ours(x), singles, rtol=1e-4, atol=1e-5)
