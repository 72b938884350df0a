"""The terms of GFP-GAN's losses as plain functions of tensors (GFP-GAN, section 3.4; upstream `gfpgan_model.py`).

Weights, switches and logging belong to whoever sums them. Images are (N, 3, S, S) RGB in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import roi_align

from gfpcli.model.compact import FOLD

EYE_SIZE, MOUTH_SIZE = 80, 120  # px of the component patches
COARSE = 4  # px averaged into one by the coarse term
CELL = 16  # px, side of the neighbourhoods whose detail is measured; they overlap by half
LUMA = (0.299, 0.587, 0.114)
STROKES = (  # of unit length: differences across, down and along both diagonals, and the Laplacian
    ((0, 0, 0), (-1, 1, 0), (0, 0, 0)),
    ((0, -1, 0), (0, 1, 0), (0, 0, 0)),
    ((-1, 0, 0), (0, 1, 0), (0, 0, 0)),
    ((0, 0, -1), (0, 1, 0), (0, 0, 0)),
    ((0, 1, 0), (1, -4, 1), (0, 1, 0)),
)


def generator_gan(fake: Tensor) -> Tensor:
    """Non-saturating logistic loss: the generator wants its faces called real."""
    return F.softplus(-fake).mean()


def discriminator_gan(real: Tensor, fake: Tensor) -> Tensor:
    """Logistic loss of a discriminator, the mean over each batch, real and fake added."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def r1_penalty(real_score: Tensor, real: Tensor) -> Tensor:
    """Squared gradient of the score at real images, mean over the batch; `real` must require its gradient."""
    (grad,) = torch.autograd.grad(real_score.sum(), real, create_graph=True)
    return grad.square().flatten(1).sum(dim=1).mean()


def gram(feat: Tensor) -> Tensor:
    """(N, C, H, W) features to their (N, C, C) Gram matrix over C*H*W."""
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


def detail(out: Tensor, true: Tensor) -> Tensor:
    """L1 between the local strengths of fine detail: how much there is, not where each hair lies.

    The strength is the root mean square, over neighbourhoods of CELL px, of STROKES of the luma, at full and half size.
    """
    weights = out.new_tensor(LUMA).reshape(1, 3, 1, 1)
    mine, wanted = ((face * weights).sum(dim=1, keepdim=True) for face in (out, true))
    total = F.l1_loss(_strengths(mine, CELL), _strengths(wanted, CELL))
    return total + F.l1_loss(
        _strengths(F.avg_pool2d(mine, 2), CELL // 2), _strengths(F.avg_pool2d(wanted, 2), CELL // 2)
    )


def _strengths(luma: Tensor, cell: int) -> Tensor:
    """Root mean square of each of STROKES around each neighbourhood's centre: (N, 1, S, S) to (N, 5, S', S')."""
    strokes = luma.new_tensor(STROKES)[:, None]  # (5, 1, 3, 3)
    strokes = strokes / strokes.square().sum(dim=(2, 3), keepdim=True).sqrt()
    power = F.avg_pool2d(F.conv2d(luma, strokes).square(), cell, cell // 2)
    return (power + 1e-6).sqrt()  # the root has no slope at 0


def grid(out: Tensor, true: Tensor) -> Tensor:
    """L1 between how much alike fine detail is to itself FOLD pixels on: what repeats there is a folding network's.

    The correlation of the luma's Laplacian with itself, moved across, down and along both diagonals, over
    neighbourhoods of 2 * CELL px (the autocorrelation of Portilla and Simoncelli's texture statistics).
    """
    return F.l1_loss(_repeats(out), _repeats(true))


def _repeats(faces: Tensor) -> Tensor:
    """-1 to 1 for each way and neighbourhood: (N, 3, S, S) to (N, 4, S', S')."""
    laplacian = faces.new_tensor(STROKES[-1]).reshape(1, 1, 3, 3) / 20**0.5
    weights = faces.new_tensor(LUMA).reshape(1, 3, 1, 1)
    luma = F.pad((faces * weights).sum(dim=1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    fine = F.conv2d(luma, laplacian)  # (N, 1, S, S): one neighbourhood at least, at the smallest size too
    alike = [fine * fine.roll(way, dims=(2, 3)) for way in ((0, FOLD), (FOLD, 0), (FOLD, FOLD), (FOLD, -FOLD))]
    power = F.avg_pool2d(fine.square(), 2 * CELL, CELL)
    return F.avg_pool2d(torch.cat(alike, dim=1), 2 * CELL, CELL) / (power + 1e-5)


def pyramid(outputs: Sequence[Tensor], true: Tensor) -> Tensor:
    """L1 at every size from 8 px up, added; `outputs` are the U-Net's RGB heads, smallest first."""
    total = true.new_zeros(())
    level = true
    for out in reversed(outputs):
        total = total + F.l1_loss(out, level)
        level = F.interpolate(level, scale_factor=0.5, mode="bilinear", align_corners=False)
    return total


def ema_decay_of(n_images: int, half_life: int) -> float:
    """The decay of the running mean for a step of `n_images`; `half_life` in images (upstream: 32 and 10,000)."""
    return float(0.5 ** (n_images / half_life))
