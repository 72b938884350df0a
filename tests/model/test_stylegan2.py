"""The prior alone: mapping, synthesis, noise and truncation as in the reference implementation."""

from __future__ import annotations

import pytest
import torch

from gfpcli.model.paper import PaperDecoder
from gfpcli.model.stylegan2 import StyleGAN2Decoder
from tests.model.test_gfpgan import reference


@pytest.mark.parametrize("is_drawn", [False, True])
def test_the_paper_s_prior_equals_the_reference(is_drawn: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    reference("paper", 32, 0.25, 1)  # prepares the imports
    from basicsr.archs.stylegan2_arch import StyleGAN2Generator

    monkeypatch.setattr(  # the compiled operator, in plain PyTorch
        "basicsr.archs.stylegan2_arch.fused_leaky_relu",
        lambda x, bias: torch.nn.functional.leaky_relu(x + bias, 0.2) * 2**0.5,
    )
    torch.manual_seed(2)
    theirs = StyleGAN2Generator(32, num_style_feat=512, num_mlp=8, channel_multiplier=1, narrow=0.25).eval()
    with torch.no_grad():
        for key, value in theirs.named_parameters():
            if key.endswith("bias") or value.numel() == 1:
                value.normal_(0, 0.2)  # zero at the start: would hide a lost bias or noise
    ours = PaperDecoder((128, 128, 128, 128), 512, 8).eval()
    ours.load_state_dict(theirs.state_dict())
    z = torch.randn(3, 512)
    noises = [torch.randn(3, *noise.shape[1:]) for noise in ours.stored_noises()] if is_drawn else None
    with torch.no_grad():
        mean = theirs.style_mlp(torch.randn(50, 512)).mean(0, keepdim=True)
        told, _ = theirs([z], noise=noises, randomize_noise=False, truncation=0.7, truncation_latent=mean)
        w = mean + 0.7 * (ours.mapping(z) - mean)
        made = ours(w[:, None].expand(-1, ours.n_codes, -1), None, noises)
    assert torch.allclose(made, told, atol=1e-4 * float(told.abs().max()))


@pytest.mark.parametrize("kind", [PaperDecoder, StyleGAN2Decoder])
def test_conditions_that_change_nothing_leave_the_prior(kind: type[StyleGAN2Decoder]) -> None:
    net = kind((16, 16, 8), 32, 2)
    latent = torch.randn(2, net.n_codes, 32)
    neutral = [(torch.ones(2, 4, 8 << level, 8 << level), torch.zeros(2, 4, 1, 1)) for level in range(2)]
    with torch.no_grad():
        assert torch.equal(net(latent), net(latent, neutral))
    assert net.n_codes == 6 and net(latent).shape == (2, 3, 16, 16)
