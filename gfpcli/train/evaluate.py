"""The six metrics of the paper between restored and true pictures (GFP-GAN, section 4.2)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gfpcli.adapters.basicsr import niqe, psnr, ssim
from gfpcli.model.arcface import gray_for_identity
from gfpcli.pipeline.tensors import to_tensor

MIN_FID = 2  # pictures: a covariance needs two


@dataclass(frozen=True, slots=True)
class Judges:
    """The networks of the metrics that need one; None where the weights are not in the cache."""

    lpips: Callable[[Tensor, Tensor], Tensor] | None = None
    arcface: nn.Module | None = None
    inception: Callable[[Tensor], list[Tensor]] | None = None


@dataclass(slots=True)
class Features:
    """Inception features of the pictures seen so far, (2048,) each."""

    restored: list[NDArray[np.float64]] = field(default_factory=list)
    true: list[NDArray[np.float64]] = field(default_factory=list)


@torch.inference_mode()
def compare(
    restored: NDArray[np.uint8], true: NDArray[np.uint8], judges: Judges, features: Features
) -> dict[str, float]:
    """The metrics of one pair of (H, W, 3) BGR pictures of equal size; FID's features are added to `features`."""
    values = {"psnr": psnr(restored, true), "ssim": ssim(restored, true), "niqe": niqe(restored)}
    one, other = to_tensor([restored]), to_tensor([true])
    if judges.lpips:
        values["lpips"] = float(judges.lpips(one, other))
    if judges.arcface is not None:
        values["deg"] = angle_between(*(judges.arcface(gray_for_identity(face))[0] for face in (one, other)))
    if judges.inception:
        for seen, face in ((features.restored, one), (features.true, other)):
            seen.append(judges.inception(face)[0].flatten().double().numpy())
    return values


def angle_between(one: Tensor, other: Tensor) -> float:
    """Degrees between two identity features."""
    cosine = torch.cosine_similarity(one.double(), other.double(), dim=0).clamp(-1, 1)
    return math.degrees(math.acos(float(cosine)))


def fid_of(features: Features) -> float:
    """Frechet distance between the two sets of features; NaN with fewer than two pictures.

    With centred features A and B (divided by the root of their count less one) the covariances are A'A and B'B, and the
    trace of the root of their product is the sum of the singular values of AB': no matrix root is needed.
    """
    if len(features.true) < MIN_FID:
        return math.nan
    sets = [np.stack(features.restored), np.stack(features.true)]
    means = [each.mean(axis=0) for each in sets]
    roots = [_root_of(each - mean) for each, mean in zip(sets, means, strict=True)]
    shared = np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum()
    spreads = sum(np.square(root).sum() for root in roots)
    return float(np.square(means[0] - means[1]).sum() + spreads - 2 * shared)


def _root_of(centred: NDArray[np.float64]) -> NDArray[np.float64]:
    """R with R'R the covariance: as many rows as pictures or dimensions, whichever are fewer."""
    factor: NDArray[np.float64] = np.linalg.qr(centred / math.sqrt(len(centred) - 1), mode="r")  # type: ignore[assignment]
    return factor
