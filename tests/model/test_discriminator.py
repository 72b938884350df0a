"""Parity of the training networks with the reference's, random weights in the official layouts."""

from __future__ import annotations

import pytest
import torch

from gfpcli.model.arcface import ArcFaceR18, gray_for_identity
from gfpcli.model.discriminator import ComponentDiscriminator, StyleGAN2Discriminator, channels_of
from tests.model.test_gfpgan import reference


def randomised(net: torch.nn.Module) -> torch.nn.Module:
    """Eval mode; biases and running statistics away from their neutral start."""
    torch.manual_seed(7)
    with torch.no_grad():
        for key, value in net.state_dict().items():
            if key.endswith(("bias", "running_mean")):
                value.normal_(0, 0.2)
            elif key.endswith("running_var"):
                value.uniform_(0.5, 2)
    return net.eval()


def relative(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((ours - theirs).norm() / theirs.norm())


@pytest.mark.parametrize("n_samples", [1, 3, 8])
def test_the_discriminator_equals_the_reference(n_samples: int, monkeypatch: pytest.MonkeyPatch) -> None:
    reference("clean", 32, 0.25, 1)  # prepares the imports
    from basicsr.archs import stylegan2_arch

    def fused(x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.leaky_relu(x + bias, 0.2) * 2**0.5

    monkeypatch.setattr(stylegan2_arch, "fused_leaky_relu", fused)
    theirs = randomised(stylegan2_arch.StyleGAN2Discriminator(64, channel_multiplier=1, narrow=0.25))
    ours = StyleGAN2Discriminator(channels_of(theirs.state_dict())).eval()
    ours.load_state_dict(theirs.state_dict())
    x = torch.rand(n_samples, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        assert relative(ours(x), theirs(x)) < 1e-5


def test_component_discriminators_equal_the_reference() -> None:
    reference("clean", 32, 0.25, 1)
    from gfpgan.archs.gfpganv1_arch import FacialComponentDiscriminator

    theirs = randomised(FacialComponentDiscriminator())
    ours = ComponentDiscriminator().eval()
    ours.load_state_dict(theirs.state_dict())
    x = torch.rand(2, 3, 80, 80) * 2 - 1
    with torch.no_grad():
        want, features = theirs(x, return_feats=True)
        got, own = ours(x)
    assert relative(got, want) < 1e-5
    assert all(relative(mine, other) < 1e-5 for mine, other in zip(own, features, strict=True))


def test_identity_features_equal_the_reference() -> None:
    reference("clean", 32, 0.25, 1)
    from gfpgan.archs.arcface_arch import ResNetArcFace

    theirs = randomised(ResNetArcFace("IRBlock", (2, 2, 2, 2), use_se=False))
    ours = ArcFaceR18().eval()
    ours.load_state_dict(theirs.state_dict())
    faces = torch.rand(2, 3, 256, 256) * 2 - 1
    gray = 0.2989 * faces[:, :1] + 0.5870 * faces[:, 1:2] + 0.1140 * faces[:, 2:]
    gray = torch.nn.functional.interpolate(gray, (128, 128), mode="bilinear", align_corners=False)
    with torch.no_grad():
        assert relative(ours(gray_for_identity(faces)), theirs(gray)) < 1e-5
