"""The loss terms, unweighted, as functions of tensors (GFP-GAN, section 3.4; upstream `gfpgan_model.py`).

Images are (N, 3, S, S) RGB in [-1, 1]. Weights and switches are applied in `objective.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import roi_align

from gfpcli.model.compact import FOLD

LOWPASS = 4  # px averaged into one by the low-pass term
PERIODS = FOLD // 2, FOLD  # px, at which detail may not repeat itself more than in the true face
WINDOW = 16  # px, edge of the windows in which texture is measured; they overlap by half
RGB_TO_LUMA = (0.299, 0.587, 0.114)
FILTERS = (  # horizontal, vertical and both diagonal differences, and the Laplacian; scaled to unit length
    ((0, 0, 0), (-1, 1, 0), (0, 0, 0)),
    ((0, -1, 0), (0, 1, 0), (0, 0, 0)),
    ((-1, 0, 0), (0, 1, 0), (0, 0, 0)),
    ((0, 0, -1), (0, 1, 0), (0, 0, 0)),
    ((0, 1, 0), (1, -4, 1), (0, 1, 0)),
)


def generator_gan(fake: Tensor) -> Tensor:
    """Non-saturating logistic loss of the generator, the mean over its scores `fake`."""
    return F.softplus(-fake).mean()


def discriminator_gan(real: Tensor, fake: Tensor) -> Tensor:
    """Logistic loss of a discriminator: the mean over real scores plus the mean over fake ones."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def generator_hinge(fake: Sequence[Tensor]) -> Tensor:
    """The generator's part of the hinge loss: minus the mean of each map of scores, summed over the maps."""
    return torch.stack([-scores.mean() for scores in fake]).sum()


def discriminator_hinge(real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
    """Hinge loss of a discriminator with several maps of scores: scores beyond 1 and -1 cost nothing more."""
    maps = zip(real, fake, strict=True)
    return torch.stack([F.relu(1 - good).mean() + F.relu(1 + bad).mean() for good, bad in maps]).sum()


def r1_penalty(real_score: Tensor, real: Tensor) -> Tensor:
    """Squared gradient of the score at real images, mean over the batch; `real` must require its gradient."""
    (grad,) = torch.autograd.grad(real_score.sum(), real, create_graph=True)
    return grad.square().flatten(1).sum(dim=1).mean()


def path_lengths(faces: Tensor, latent: Tensor, noise: Tensor) -> Tensor:
    """How far a step in w moves the faces: (N,), differentiable again (StyleGAN2, section 3.2).

    Args:
        faces: (N, 3, S, S), made from `latent` (N, L, n_style).
        noise: standard normal draws (N, 3, S, S), the random directions in image space.
    """
    height, width = faces.shape[2:]
    (grad,) = torch.autograd.grad((faces * noise).sum() / (height * width) ** 0.5, latent, create_graph=True)
    return grad.square().sum(dim=2).mean(dim=1).sqrt()


def gram(feat: Tensor) -> Tensor:
    """Gram matrices (N, C, C) of features (N, C, H, W), divided by C*H*W."""
    n, c, h, w = feat.shape
    flat = feat.reshape(n, c, h * w)
    return flat @ flat.transpose(1, 2) / (c * h * w)


def component_style(fake: tuple[Tensor, Tensor], real: tuple[Tensor, Tensor]) -> Tensor:
    """L1 between Gram matrices of a component discriminator's features: half of the fine one, all of the coarse one."""
    fine, coarse = (F.l1_loss(gram(one), gram(other.detach())) for one, other in zip(fake, real, strict=True))
    return 0.5 * fine + coarse


def component_patches(images: Tensor, boxes: Tensor, size: int) -> Tensor:
    """One (N, 3, size, size) patch for each image, cut along `boxes` (N, 4), xyxy in pixels.

    Unlike upstream, the values are not multiplied by S/512: at 1024 that doubled them.
    """
    owner = torch.arange(len(boxes), device=boxes.device, dtype=boxes.dtype)[:, None]
    return roi_align(images, torch.cat([owner, boxes], dim=1), output_size=size)


def gradient(out: Tensor, true: Tensor) -> Tensor:
    """L1 between the differences of vertical and of horizontal neighbours."""
    return F.l1_loss(out.diff(dim=2), true.diff(dim=2)) + F.l1_loss(out.diff(dim=3), true.diff(dim=3))


def lowpass(out: Tensor, true: Tensor) -> Tensor:
    """L1 between the images averaged over LOWPASS x LOWPASS px."""
    return F.l1_loss(F.avg_pool2d(out, LOWPASS), F.avg_pool2d(true, LOWPASS))


def texture(out: Tensor, true: Tensor) -> Tensor:
    """L1 between the local strengths of fine detail: its amount in each window counts, not its place.

    The strength is the root mean square, over windows of WINDOW px, of the FILTERS' responses to the luma, at full and
    at half size.
    """
    weights = out.new_tensor(RGB_TO_LUMA).reshape(1, 3, 1, 1)
    mine, wanted = ((face * weights).sum(dim=1, keepdim=True) for face in (out, true))
    total = F.l1_loss(_strengths(mine, WINDOW), _strengths(wanted, WINDOW))
    mine, wanted = (_strengths(F.avg_pool2d(luma, 2), WINDOW // 2) for luma in (mine, wanted))
    return total + F.l1_loss(mine, wanted)


def _strengths(luma: Tensor, window: int) -> Tensor:
    """Root mean square of each filter's response in each window: (N, 1, S, S) to (N, 5, S', S')."""
    filters = luma.new_tensor(FILTERS)[:, None]  # (5, 1, 3, 3)
    filters = filters / filters.square().sum(dim=(2, 3), keepdim=True).sqrt()
    power = F.avg_pool2d(F.conv2d(luma, filters).square(), window, window // 2)
    return (power + 1e-6).sqrt()  # the derivative of the root is infinite at 0


def checkerboard(out: Tensor, true: Tensor) -> Tensor:
    """L1 between the autocorrelations of fine detail at PERIODS, summed: networks that fold pixels repeat detail there.

    The autocorrelation is that of the luma's Laplacian, horizontally, vertically and along both diagonals, over windows
    of 2 * WINDOW px (as in the texture statistics of Portilla and Simoncelli).
    """
    return len(PERIODS) * F.l1_loss(_autocorrelation(out), _autocorrelation(true))


def _autocorrelation(faces: Tensor) -> Tensor:
    """-1 to 1 for each direction and window: (N, 3, S, S) to (N, 8, S', S')."""
    laplacian = faces.new_tensor(FILTERS[-1]).reshape(1, 1, 3, 3) / 20**0.5
    weights = faces.new_tensor(RGB_TO_LUMA).reshape(1, 3, 1, 1)
    luma = F.pad((faces * weights).sum(dim=1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    fine = F.conv2d(luma, laplacian)  # (N, 1, S, S): padded, so that the smallest size has a window
    shifts = [(y * period, x * period) for period in PERIODS for y, x in ((0, 1), (1, 0), (1, 1), (1, -1))]
    products = [fine * fine.roll(shift, dims=(2, 3)) for shift in shifts]
    power = F.avg_pool2d(fine.square(), 2 * WINDOW, WINDOW)
    return F.avg_pool2d(torch.cat(products, dim=1), 2 * WINDOW, WINDOW) / (power + 1e-5)


def feature_distance(mine: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """How unlike the features (N, C, H, W) of two batches are at several levels: the sum over the levels, 0 to 4 each.

    At each level the mean over all places of the squared distance between the features there, which are scaled to unit
    length first (LPIPS, Zhang et al., 2018, with equal weights for all channels).
    """
    levels = zip(mine, wanted, strict=True)
    distances = [(F.normalize(one) - F.normalize(other)).square().sum(dim=1).mean() for one, other in levels]
    return torch.stack(distances).sum()


def pyramid(outputs: Sequence[Tensor], true: Tensor) -> Tensor:
    """The sum of L1 at every size from 8 px up; `outputs` are those of the U-Net's RGB heads, smallest first."""
    total = true.new_zeros(())
    level = true
    for out in reversed(outputs):
        total = total + F.l1_loss(out, level)
        level = F.interpolate(level, scale_factor=0.5, mode="bilinear", align_corners=False)
    return total


def ema_decay_of(n_images: int, half_life: int) -> float:
    """Decay of the moving average for one iteration of `n_images`; `half_life` in images (upstream: 32 and 10,000)."""
    return float(0.5 ** (n_images / half_life))
