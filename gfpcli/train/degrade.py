"""Training inputs from good faces: x = [(y*k)|r + n]JPEG, then colour.

Source: GFP-GAN, section 4.1; upstream `ffhq_degradation_dataset.py`. A degradation is first drawn, as plain numbers,
then applied: draws can be looked at, repeated and tested.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from gfpcli.adapters.basicsr import gaussian_kernel
from gfpcli.train.options import DegradeOptions


@dataclass(frozen=True, slots=True)
class Degradation:
    """One draw."""

    sigma_x: float
    sigma_y: float
    theta: float  # radians
    shrink: float
    noise: float  # sigma, of 255
    noise_seed: int
    quality: int
    shift: tuple[float, float, float] | None  # BGR, of 255
    jitter: tuple[float, float, float, float] | None  # brightness, contrast, saturation, hue
    is_gray: bool


def draw(options: DegradeOptions, rng: np.random.Generator) -> Degradation:
    """A degradation; the same generator state gives the same one."""
    sigma_x = rng.uniform(*options.sigma)
    is_iso = rng.random() < options.iso_chance
    sigma_y = sigma_x if is_iso else rng.uniform(*options.sigma)
    theta = 0.0 if is_iso else rng.uniform(-np.pi, np.pi)
    shrink, noise = rng.uniform(*options.shrink), rng.uniform(*options.noise)
    quality = round(rng.uniform(*options.quality))
    noise_seed = int(rng.integers(2**63))
    shift = None
    if rng.random() < options.shift_chance:
        blue, green, red = rng.uniform(-options.shift, options.shift, 3).tolist()
        shift = (blue, green, red)
    jitter = None
    if rng.random() < options.jitter_chance:
        ranges = (options.brightness, options.contrast, options.saturation, options.hue)
        bright, contrast, saturation, hue = (rng.uniform(*each) for each in ranges)
        jitter = (bright, contrast, saturation, hue)
    is_gray = bool(rng.random() < options.gray_chance)
    return Degradation(sigma_x, sigma_y, theta, shrink, noise, noise_seed, quality, shift, jitter, is_gray)


def degrade(face: NDArray[np.uint8], what: Degradation, *, kernel_size: int = 41) -> NDArray[np.uint8]:
    """The degraded (H, W, 3) BGR face, at its own size."""
    height, width = face.shape[:2]
    kernel = gaussian_kernel(kernel_size, what.sigma_x, what.sigma_y, what.theta)
    blurred = cv2.filter2D(face.astype(np.float32), -1, kernel)
    small = max(1, round(width / what.shrink)), max(1, round(height / what.shrink))
    low = np.asarray(cv2.resize(blurred, small, interpolation=cv2.INTER_LINEAR), np.float32)
    low += np.random.default_rng(what.noise_seed).normal(0, what.noise, low.shape).astype(np.float32)
    code = cv2.imencode(".jpg", to_8_bit(low), [cv2.IMWRITE_JPEG_QUALITY, what.quality])[1]
    decoded = np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR), np.float32)
    out = np.asarray(cv2.resize(decoded, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
    return to_8_bit(recolour(out, what))


def recolour(image: NDArray[np.float32], what: Degradation) -> NDArray[np.float32]:
    """Shift, jitter and gray on (H, W, 3) BGR of 0..255."""
    if what.shift is not None:
        image = np.clip(image + np.array(what.shift, np.float32), 0, 255)
    if what.jitter is not None:
        image = _jitter(image, *what.jitter)
    if what.is_gray:
        image = np.repeat(_luma(image), 3, axis=2)
    return np.asarray(image, np.float32)


def _jitter(
    image: NDArray[np.float32], brightness: float, contrast: float, saturation: float, hue: float
) -> NDArray[np.float32]:
    """Brightness, contrast, saturation (mixes with black, mean luma and luma), then hue, in that order."""
    out = np.clip(image * brightness, 0, 255)
    out = np.clip(_luma(out).mean() * (1 - contrast) + out * contrast, 0, 255)
    out = np.clip(_luma(out) * (1 - saturation) + out * saturation, 0, 255)
    hsv = cv2.cvtColor(out.astype(np.float32) / 255, cv2.COLOR_BGR2HSV)
    hsv[..., 0] = (hsv[..., 0] + 360 * hue) % 360
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR) * 255, np.float32)


def _luma(image: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(image @ np.array([0.114, 0.587, 0.299], np.float32), np.float32)[..., None]


def to_8_bit(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    """0..255 floats rounded."""
    return np.asarray(np.clip(np.round(image), 0, 255), np.uint8)
