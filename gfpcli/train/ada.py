"""Adaptive discriminator augmentation (Karras et al., 2020), so that a prior can be trained on few faces.

True and generated faces are augmented alike before the discriminator sees them, each change with a chance p, which
follows how surely the discriminator knows the true faces. Of the paper's changes these are there: mirroring, quarter
turns, integer translation, isotropic scaling and rotation (one bilinear resampling), brightness, contrast and
saturation. Anisotropic scaling, fractional translation, hue, luma inversion, filters, noise and cutout are not.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ADA_EVERY = 4  # iterations from one change of p to the next
PATH_DECAY = 0.01  # share of a new path length in the moving average
TRANSLATION = 0.125  # of the face's size, at most
FREE_TURN = torch.pi  # radians, at most
SCALE_SPREAD, BRIGHTNESS_SPREAD, CONTRAST_SPREAD, SATURATION_SPREAD = 0.2, 0.2, 0.5, 1.0  # brightness: of [-1, 1]


class PriorState(nn.Module):
    """What the training of a prior carries from one iteration to the next; saved with the networks.

    Attributes:
        p: chance of each augmentation, 0 to 1.
        sign_sum, n_signs: sum and number of the iterations' mean signs of D(real) since the last change of p.
        path_length: moving average of the path lengths.
    """

    p: Tensor
    sign_sum: Tensor
    n_signs: Tensor
    path_length: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("p", "sign_sum", "n_signs", "path_length"):
            self.register_buffer(name, torch.zeros(()))

    def follow(self, values: Mapping[str, float], n_images: int, *, target: float, n_images_to_1: int) -> None:
        """Takes in what an iteration of `n_images` measured, the means over all processes.

        Args:
            values: `sign_real`, and in some iterations `mean_path`.
            target: the mean sign at which p stays; 0: no augmentation.
            n_images_to_1: over how many images p may go from 0 to 1.
        """
        if "mean_path" in values:
            self.path_length += PATH_DECAY * (values["mean_path"] - self.path_length)
        self.sign_sum += values["sign_real"]
        self.n_signs += 1
        if target and int(self.n_signs) == ADA_EVERY:
            step = torch.sign(self.sign_sum / self.n_signs - target) * (ADA_EVERY * n_images / n_images_to_1)
            self.p.copy_((self.p + step).clamp(0, 1))
        if int(self.n_signs) == ADA_EVERY:
            self.sign_sum.zero_()
            self.n_signs.zero_()


def augment(faces: Tensor, p: Tensor, rng: torch.Generator) -> Tensor:
    """Faces (N, 3, S, S), RGB in [-1, 1], each changed at random; differentiable once. With p = 0 they are returned."""
    if not float(p):
        return faces
    n, _, size, _ = faces.shape
    grid = F.affine_grid(drawn_affines(n, size, p, rng)[:, :2], list(faces.shape), align_corners=False)
    moved = F.grid_sample(faces, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    matrix, offset = drawn_colours(n, p, rng)
    return (matrix @ moved.flatten(2) + offset).unflatten(2, (size, size))


def drawn_affines(n: int, size: int, p: Tensor, rng: torch.Generator) -> Tensor:
    """(N, 3, 3) from places in the augmented face to places in the face, both from -1 to 1 (edge to edge)."""
    device = rng.device
    mirrored = 1 - 2 * _where(p, rng, n, torch.ones(n, device=device))
    quarters = _where(p, rng, n, torch.randint(0, 4, (n,), generator=rng, device=device).float()) * (torch.pi / 2)
    reach = 2 * TRANSLATION * torch.rand(n, 2, generator=rng, device=device) - TRANSLATION
    shift = _where(p, rng, n, (reach * size).round() * (2 / size))  # whole pixels
    zoom = torch.exp2(_where(p, rng, n, SCALE_SPREAD * torch.randn(n, generator=rng, device=device)))
    turn = _where(p, rng, n, (2 * torch.rand(n, generator=rng, device=device) - 1) * FREE_TURN)
    mirror = torch.diag_embed(torch.stack([mirrored, torch.ones_like(mirrored), torch.ones_like(mirrored)], dim=1))
    scale = torch.diag_embed(torch.stack([1 / zoom, 1 / zoom, torch.ones_like(zoom)], dim=1))
    translation = torch.eye(3, device=device).repeat(n, 1, 1)
    translation[:, :2, 2] = shift
    return mirror @ rotations(quarters) @ translation @ scale @ rotations(turn)


def rotations(angles: Tensor) -> Tensor:
    """Angles (N,), radians, to (N, 3, 3)."""
    cos, sin = torch.cos(angles), torch.sin(angles)
    zero, one = torch.zeros_like(angles), torch.ones_like(angles)
    rows = torch.stack([cos, -sin, zero, sin, cos, zero, zero, zero, one], dim=1)
    return rows.unflatten(1, (3, 3))


def drawn_colours(n: int, p: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Matrices (N, 3, 3) and offsets (N, 3, 1) of the colours: brightness, then contrast, then saturation."""
    device = rng.device
    brightness, contrast, saturation = (
        _where(p, rng, n, spread * torch.randn(n, generator=rng, device=device))[:, None, None]
        for spread in (BRIGHTNESS_SPREAD, CONTRAST_SPREAD, SATURATION_SPREAD)
    )
    gray = torch.full((3, 3), 1 / 3, device=device)  # onto the gray axis
    matrix = torch.exp2(contrast) * (gray + torch.exp2(saturation) * (torch.eye(3, device=device) - gray))
    return matrix, matrix @ brightness.expand(n, 3, 1)


def _where(p: Tensor, rng: torch.Generator, n: int, values: Tensor) -> Tensor:
    """The values (N, ...) of those faces that are changed, each with the chance p; 0 for the others."""
    is_on = torch.rand(n, generator=rng, device=rng.device) < p
    return values * is_on.reshape(-1, *[1] * (values.ndim - 1))
