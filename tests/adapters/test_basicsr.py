"""Perceptual loss and metrics through basicsr."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torchvision.models import vgg19

from gfpcli.adapters.basicsr import (
    VGG_LAYERS,
    gaussian_kernel,
    niqe,
    perceptual_loss,
    psnr,
    shaped_kernel,
    sinc_kernel,
    ssim,
)
from gfpcli.errors import CheckpointError

Make = Callable[[int, int], NDArray[np.uint8]]


@pytest.fixture(scope="module")
def vgg_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """VGG19 with random weights, in torchvision's layout."""
    torch.manual_seed(2)
    path = tmp_path_factory.mktemp("vgg") / "vgg19.pth"
    torch.save(vgg19(weights=None).state_dict(), path)
    return path


def test_the_perceptual_loss_has_the_reference_s_settings(vgg_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from basicsr.archs import vgg_arch
    from basicsr.losses.basic_loss import PerceptualLoss

    before = vgg_arch.VGG_PRETRAIN_PATH
    ours = perceptual_loss(vgg_file)
    assert before == vgg_arch.VGG_PRETRAIN_PATH
    monkeypatch.setattr(vgg_arch, "VGG_PRETRAIN_PATH", str(vgg_file))
    with pytest.warns(UserWarning):  # torchvision: `pretrained` has a new name
        theirs = PerceptualLoss(
            {"conv1_2": 0.1, "conv2_2": 0.1, "conv3_4": 1, "conv4_4": 1, "conv5_4": 1}, "vgg19",
            use_input_norm=True, range_norm=True, perceptual_weight=1.0, style_weight=50.0, criterion="l1",
        )  # fmt: skip
    x, y = (torch.rand(1, 3, 64, 64) * 2 - 1 for _ in range(2))
    content, style = ours(x, y)
    want_content, want_style = theirs(x, y)
    assert abs(content / want_content - 1) < 1e-5 and abs(50 * style / want_style - 1) < 1e-5
    assert not any(weight.requires_grad for weight in ours.parameters()) and len(VGG_LAYERS) == 5


def test_another_file_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(2)}, tmp_path / "x.pth")
    (tmp_path / "y.pth").write_text("text")
    for name in ("x.pth", "y.pth"):
        with pytest.raises(CheckpointError, match="not torchvision's VGG19"):
            perceptual_loss(tmp_path / name)


def test_metrics(smooth_image: Make) -> None:
    image = smooth_image(192, 192)
    noisy = np.clip(image + np.random.default_rng(0).normal(0, 10, image.shape), 0, 255).astype(np.uint8)
    assert psnr(image, image) == math.inf and psnr(noisy, image) == pytest.approx(28.1, abs=0.5)
    assert ssim(image, image) == pytest.approx(1) and ssim(noisy, image) < 0.95
    assert niqe(noisy) > 0 and math.isnan(niqe(image[:100, :100]))


def test_kernels_sum_to_one_and_turn() -> None:
    kernel = gaussian_kernel(21, 4.0, 1.0, 0.0)
    assert kernel.sum() == pytest.approx(1)
    assert np.allclose(gaussian_kernel(21, 4.0, 1.0, np.pi / 2), kernel.T, atol=1e-6)


def test_kernels_of_other_shapes() -> None:
    """A power of 1 is the Gaussian; a plateau and a higher power are flatter in the middle; a sinc rings."""
    gauss = gaussian_kernel(21, 2.0, 3.0, 0.4)
    assert np.allclose(shaped_kernel(21, 2.0, 3.0, 0.4, power=1.0, is_plateau=False), gauss)
    for is_plateau in (False, True):
        kernel = shaped_kernel(21, 2.0, 2.0, 0.0, power=2.0, is_plateau=is_plateau)
        assert kernel.sum() == pytest.approx(1) and kernel[10, 11] / kernel[10, 10] > gauss[10, 11] / gauss[10, 10]
    sinc = sinc_kernel(21, math.pi / 3)
    assert sinc.sum() == pytest.approx(1) and sinc.min() < -0.001 and sinc.max() == sinc[10, 10]
