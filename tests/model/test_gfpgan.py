"""Parity with the reference implementation, with random weights in the official layout."""

from __future__ import annotations

import sys
import types

import pytest
import torch
import torchvision.transforms.functional as functional

from gfpcli.model.gfpgan import GFPGANClean, shape_of


def reference(size: int, narrow: float, multiplier: int) -> torch.nn.Module:
    stub = types.ModuleType("torchvision.transforms.functional_tensor")
    stub.rgb_to_grayscale = functional.rgb_to_grayscale  # gone from today's torchvision, imported by basicsr
    sys.modules.setdefault(stub.__name__, stub)
    from gfpgan.archs.gfpganv1_clean_arch import GFPGANv1Clean

    torch.manual_seed(1)
    net = GFPGANv1Clean(
        size, channel_multiplier=multiplier, narrow=narrow, input_is_latent=True, different_w=True, sft_half=True
    ).eval()
    with torch.no_grad():
        for name, value in net.named_parameters():
            if name.endswith("bias") or value.numel() == 1:
                value.normal_(0, 0.2)  # zero at the start: would hide a lost bias or noise
    return net


@pytest.mark.parametrize(("size", "narrow", "multiplier"), [(64, 0.25, 1), (512, 1, 2)])
def test_equals_the_reference(size: int, narrow: float, multiplier: int) -> None:
    theirs = reference(size, narrow, multiplier)
    ours = GFPGANClean(shape_of(theirs.state_dict())).eval()
    ours.load_state_dict(theirs.state_dict())
    for seed in range(5):
        x = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1
        with torch.no_grad():
            want = theirs(x, return_rgb=False, randomize_noise=False)[0]
            error = (ours(x) - want).norm() / want.norm()
        assert error < 1e-5


def test_a_face_does_not_depend_on_its_batch() -> None:
    ours = GFPGANClean(shape_of(reference(32, 0.25, 1).state_dict())).eval()
    x = torch.rand(3, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        singles = torch.cat([ours(face[None]) for face in x])
        torch.testing.assert_close(ours(x), singles, rtol=1e-4, atol=1e-5)
