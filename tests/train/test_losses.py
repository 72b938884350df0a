"""Each loss against the reference's own implementation on the same tensors."""

from __future__ import annotations

import types

import pytest
import torch
import torch.nn.functional as F

from gfpcli.train import losses
from tests.model.test_gfpgan import reference


@pytest.fixture(scope="module")
def upstream() -> types.ModuleType:
    """basicsr's losses, importable."""
    reference("clean", 32, 0.25, 1)
    from basicsr.losses import gan_loss

    return gan_loss


def close(ours: torch.Tensor, theirs: torch.Tensor) -> bool:
    return float(((ours - theirs).abs() / theirs.abs()).detach()) < 1e-5


def test_adversarial_terms(upstream: types.ModuleType) -> None:
    real, fake = torch.randn(4, 1), torch.randn(4, 1)
    whole = upstream.GANLoss("wgan_softplus", loss_weight=1.0)
    assert close(losses.generator_gan(fake), whole(fake, True, is_disc=False))
    assert close(
        losses.discriminator_gan(real, fake), whole(real, True, is_disc=True) + whole(fake, False, is_disc=True)
    )
    part = upstream.GANLoss("vanilla", loss_weight=1.0)
    patch = torch.randn(2, 1, 20, 20)
    assert close(losses.generator_gan(patch), part(patch, True, is_disc=False))


def test_the_hinge_stops_at_one() -> None:
    real, fake = [torch.tensor([2.0, 0.5]), torch.tensor([[1.5]])], [torch.tensor([-3.0, 0.0]), torch.tensor([[0.5]])]
    assert float(losses.discriminator_hinge(real, fake)) == pytest.approx((0.25 + 0.5) + (0 + 1.5))
    assert float(losses.generator_hinge(fake)) == pytest.approx(1.5 - 0.5)


def test_r1(upstream: types.ModuleType) -> None:
    real = torch.randn(3, 3, 8, 8, requires_grad=True)
    score = (real**3).mean(dim=(1, 2, 3))
    assert close(losses.r1_penalty(score, real), upstream.r1_penalty(score, real))


def test_gram_and_component_style() -> None:
    reference("clean", 32, 0.25, 1)
    from gfpgan.models.gfpgan_model import GFPGANModel

    theirs = GFPGANModel._gram_mat
    fake, real = ((torch.randn(2, 8, 6, 5), torch.randn(2, 16, 3, 3)) for _ in range(2))
    assert torch.allclose(losses.gram(fake[0]), theirs(None, fake[0]), rtol=1e-5)
    want = [F.l1_loss(theirs(None, one), theirs(None, other)) for one, other in zip(fake, real, strict=True)]
    assert close(losses.component_style(fake, real), 0.5 * want[0] + want[1])


def test_patches_are_those_of_the_reference_at_512() -> None:
    reference("clean", 32, 0.25, 1)
    from gfpgan.models.gfpgan_model import GFPGANModel

    images = torch.randn(2, 3, 512, 512)
    left, right, mouth = (
        torch.tensor([[x, y, x + 70.0, y + 60], [x + 3, y, x + 80.0, y + 66]])
        for x, y in ((150, 200), (290, 205), (200, 330))
    )
    model = types.SimpleNamespace(
        opt={"network_g": {"out_size": 512}}, device="cpu", gt=images, output=images,
        loc_left_eyes=left, loc_right_eyes=right, loc_mouths=mouth,
    )  # fmt: skip
    GFPGANModel.get_roi_regions(model)
    assert torch.allclose(losses.component_patches(images, left, 80), model.left_eyes, atol=1e-6)
    assert torch.allclose(losses.component_patches(images, right, 80), model.right_eyes, atol=1e-6)
    assert torch.allclose(losses.component_patches(images, mouth, 120), model.mouths, atol=1e-6)


def test_patches_keep_their_values_at_1024() -> None:
    flat = torch.full((1, 3, 1024, 1024), 0.4)
    patch = losses.component_patches(flat, torch.tensor([[300.0, 400, 460, 520]]), 80)
    assert torch.allclose(patch, torch.full_like(patch, 0.4))


def test_pyramid() -> None:
    reference("clean", 32, 0.25, 1)
    from gfpgan.models.gfpgan_model import GFPGANModel

    true = torch.randn(1, 3, 64, 64)
    outputs = [torch.randn(1, 3, size, size) for size in (8, 16, 32, 64)]
    levels = GFPGANModel.construct_img_pyramid(types.SimpleNamespace(gt=true, log_size=6))
    want = sum(F.l1_loss(out, level) for out, level in zip(outputs, levels, strict=True))
    assert close(losses.pyramid(outputs, true), torch.as_tensor(want))


def test_feature_distance_compares_directions_at_each_level() -> None:
    one = torch.zeros(1, 2, 1, 2)
    one[0, 0] = 3.0  # (3, 0) at both places
    other = one.clone()
    other[0, :, 0, 1] = torch.tensor([0.0, 5.0])  # a right angle at the second place: a squared distance of 2
    assert float(losses.feature_distance([one], [7 * one])) == 0
    assert float(losses.feature_distance([one], [other])) == pytest.approx(1)
    assert float(losses.feature_distance([one, one], [other, -one])) == pytest.approx(1 + 4)


def test_ema_is_the_reference_at_32_images() -> None:
    assert losses.ema_decay_of(32, 10_000) == pytest.approx(0.5 ** (32 / 10000))


def test_detail_asks_how_much_and_not_where() -> None:
    torch.manual_seed(0)
    true = 0.2 * torch.randn(2, 3, 64, 64)
    smooth, moved = F.avg_pool2d(true, 3, 1, 1), true.roll(5, dims=3)
    assert float(losses.texture(true, true)) == 0
    assert float(losses.texture(moved, true)) < 0.25 * float(losses.texture(smooth, true))
    assert F.l1_loss(moved, true) > F.l1_loss(smooth, true)  # what pixels say of the same two
    flat = torch.zeros(1, 3, 64, 64, requires_grad=True)
    losses.texture(flat, true[:1]).backward()
    assert flat.grad is not None and bool(flat.grad.isfinite().all())


def test_detail_finds_each_direction_and_both_sizes() -> None:
    true = torch.zeros(1, 3, 64, 64)
    ramp = torch.arange(64.0)
    waves = [torch.sin(step * ramp).expand(64, 64) for step in (2.5, 1.2)]  # periods of about 2.5 and 5 px
    for wave in (*waves, waves[0].T, waves[1].T):
        assert float(losses.texture(0.1 * wave.expand(1, 3, 64, 64), true)) > 0.02


def test_grid_finds_what_repeats_every_two_or_four_pixels_however_faint() -> None:
    torch.manual_seed(0)
    true = 0.2 * torch.randn(2, 3, 64, 64)
    assert float(losses.checkerboard(true, true)) == 0
    assert float(losses.checkerboard(0.3 * true, true)) < 0.05  # strength is another term's
    for strength in (0.05, 0.3):
        tile = strength * torch.randn(1, 1, 4, 4)
        repeated, scattered = tile.repeat(2, 3, 16, 16), strength * torch.randn(2, 1, 64, 64).expand(2, 3, 64, 64)
        assert float(losses.checkerboard(repeated, true)) > 0.7 > 0.2 > float(losses.checkerboard(scattered, true))
        fine = (strength * torch.randn(1, 1, 2, 2)).repeat(2, 3, 32, 32)
        assert float(losses.checkerboard(fine, true)) > 1.4  # at both periods
