"""How blurred and noisy an aligned face is, and how much of a restored face `--strength auto` therefore takes.

Of a sharp face neighbouring octaves of detail are about as strong, whoever it shows (natural pictures have such
spectra), and blur takes from the finest first. The tables were measured on the synthetic training faces: MODEL_CARD.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from gfpcli.pipeline.paste import soft_mask
from gfpcli.types import Crop

NOISE_KERNEL = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32) / 6  # no answer to edges (Immerkaer 1996)
MEDIAN = 0.6745  # of the absolute values of noise with standard deviation 1
ROUNDING = 0.08  # square of grey levels: the finest band of nothing but rounding to 8 bit
# the finest band over the band two octaves coarser, and the sigma (px of the crop) by which a sharp face comes to it
BAND_RATIOS = (0.142, 0.150, 0.160, 0.182, 0.216, 0.257, 0.325, 0.43, 0.57, 0.74)
BLURS = (4.0, 3.0, 2.5, 2.0, 1.6, 1.3, 1.0, 0.7, 0.5, 0.0)
BLUR_STRENGTHS = ((0.65, 0.0), (1.0, 0.42), (1.3, 0.62), (1.6, 0.75), (2.0, 0.86), (3.0, 1.0))
NOISE_STRENGTHS = ((2.5, 0.0), (6.0, 1.0))
SIZE_STRENGTHS = ((48.0, 1.0), (128.0, 0.0))


@dataclass(frozen=True, slots=True)
class Quality:
    """Measured on an aligned crop."""

    blur: float  # px of the crop: about the sigma of a Gaussian that would make a sharp face so
    noise: float  # grey levels of 255: sigma of white noise
    size: float  # px of the photo across the crop


def quality_of(crop: Crop) -> Quality:
    """Blur and noise inside the face's oval, and the size at which the photo shows the face."""
    luma = np.asarray(cv2.cvtColor(crop.image, cv2.COLOR_BGR2GRAY), np.float32)
    mask = soft_mask(len(luma))
    inside = mask > 0.5
    noise = float(np.median(np.abs(cv2.filter2D(luma, -1, NOISE_KERNEL)[inside]))) / MEDIAN
    one, two, four = (cv2.GaussianBlur(luma, (0, 0), sigma) for sigma in (1, 2, 4))
    finest = max(_power(luma - one, mask) - ROUNDING, 0.0)
    ratio = np.sqrt(finest / max(_power(two - four, mask), 1e-3))
    return Quality(float(np.interp(ratio, BAND_RATIOS, BLURS)), noise, face_side(crop))


def face_side(crop: Crop) -> float:
    """Px of the photo across the crop."""
    zoom = float(np.sqrt(abs(np.linalg.det(crop.frame_to_crop[:, :2]))))
    return len(crop.image) / max(zoom, 1e-6)


def _power(band: NDArray[np.float32], mask: NDArray[np.float32]) -> float:
    return float((mask * np.square(band)).sum() / mask.sum())


def strength_for(quality: Quality) -> float:
    """0..1: how much of the network's face is wanted, by whatever asks for most of it: blur, noise or smallness."""
    rules = (quality.blur, BLUR_STRENGTHS), (quality.noise, NOISE_STRENGTHS), (quality.size, SIZE_STRENGTHS)
    return max(float(np.interp(value, *np.transpose(table))) for value, table in rules)
