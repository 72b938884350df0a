"""Validation of a restorer's moving average on held-out faces: metrics and an image grid; sheets of degradations."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from gfpcli.adapters.basicsr import niqe, psnr, ssim
from gfpcli.pipeline.tensors import to_images, to_tensor
from gfpcli.train.data import FaceDataset, Sample

N_SHOWN = 8  # rows of the grid


class Validated(Protocol):
    """What a validation found: of either stage.

    Attributes:
        score: by which the best network is chosen, higher is better.
        told_score: the same in words.
        figures: what is logged, by name.
        told: a line for the user.
        grid: (H, W, 3) BGR, 0..255; `shown` says what is in it.
    """

    @property
    def score(self) -> float: ...
    @property
    def told_score(self) -> str: ...
    @property
    def figures(self) -> Mapping[str, float]: ...
    @property
    def told(self) -> str: ...
    @property
    def grid(self) -> NDArray[np.uint8]: ...
    @property
    def shown(self) -> str: ...


@dataclass(frozen=True, slots=True, eq=False)
class Validation:
    """Means over the faces; `before` holds those of the degraded faces. The grid is (H, W, 3) BGR, 0..255."""

    psnr: float  # dB
    ssim: float
    niqe: float  # NaN where the faces are too small for it
    before: tuple[float, float, float]  # PSNR, SSIM, NIQE
    grid: NDArray[np.uint8]
    shown: str = "low, restored, true"

    @property
    def score(self) -> float:
        """PSNR, dB."""
        return self.psnr

    @property
    def told_score(self) -> str:
        return f"{self.psnr:.2f} dB"

    @property
    def figures(self) -> dict[str, float]:
        return {"psnr": self.psnr, "ssim": self.ssim, "niqe": self.niqe}

    @property
    def told(self) -> str:
        before = self.before
        return (f"PSNR {before[0]:.2f} -> {self.psnr:.2f} dB, SSIM {before[1]:.4f} -> {self.ssim:.4f}, "
                f"NIQE {before[2]:.2f} -> {self.niqe:.2f}")  # fmt: skip


def validate(net: nn.Module, samples: FaceDataset, n_faces: int, device: torch.device) -> Validation:
    """Validates on the first `n_faces` faces, each time degraded in the same way. Raises InputError: a file is gone."""
    rows: list[tuple[float, ...]] = []
    strips: list[NDArray[np.uint8]] = []
    for index in range(min(n_faces, len(samples.faces))):
        sample = samples.sample(0, index)
        with torch.inference_mode():
            (out,) = to_images(net(to_tensor([sample.low]).to(device)))
        rows.append((*measure(out, sample), *measure(sample.low, sample)))
        if len(strips) < N_SHOWN:
            strips.append(np.concatenate([sample.low, out, sample.true], axis=1))
    values = np.array(rows)
    values[~np.isfinite(values)] = np.nan  # an equal image has an infinite PSNR
    means = [float(np.nanmean(column)) if np.isfinite(column).any() else math.nan for column in values.T]
    grid = np.asarray(np.concatenate(strips), np.uint8)
    return Validation(means[0], means[1], means[2], (means[3], means[4], means[5]), grid)


def measure(image: NDArray[np.uint8], sample: Sample) -> tuple[float, float, float]:
    """PSNR, SSIM and NIQE of an (S, S, 3) BGR image."""
    return psnr(image, sample.true), ssim(image, sample.true), niqe(image)


def contact_sheet(samples: FaceDataset, n_faces: int = 8, n_draws: int = 6) -> NDArray[np.uint8]:
    """A row for each face: the face, then draws of the degradation; (H, W, 3) BGR, at most 256 px each."""
    rows = []
    for index in range(min(n_faces, len(samples.faces))):
        drawn = [samples.sample(epoch, index) for epoch in range(n_draws)]
        rows.append(np.concatenate([drawn[0].true, *(each.low for each in drawn)], axis=1))
    sheet = np.concatenate(rows)
    zoom = min(1.0, 256 / samples.options.size)
    return np.asarray(cv2.resize(sheet, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA), np.uint8)
