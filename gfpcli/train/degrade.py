"""Degraded training inputs from good faces: blur, downsampling, noise and JPEG, then colour.

Source: GFP-GAN, section 4.1, x = [(y * k) downsampled by r + n]JPEG; upstream `ffhq_degradation_dataset.py`. A
degradation is first drawn as plain numbers and then applied, so that draws can be shown, repeated and tested.
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
    """The parameters of one degradation."""

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


def draw_degradation(options: DegradeOptions, rng: np.random.Generator) -> Degradation:
    """Draws the parameters; the same generator state gives the same ones."""
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


def degrade(face: NDArray[np.uint8], drawn: Degradation, *, kernel_size: int = 41) -> NDArray[np.uint8]:
    """Degrades an (H, W, 3) BGR face, 0..255; the size stays."""
    height, width = face.shape[:2]
    kernel = gaussian_kernel(kernel_size, drawn.sigma_x, drawn.sigma_y, drawn.theta)
    blurred = cv2.filter2D(face.astype(np.float32), -1, kernel)
    small = max(1, round(width / drawn.shrink)), max(1, round(height / drawn.shrink))
    low = np.asarray(cv2.resize(blurred, small, interpolation=cv2.INTER_LINEAR), np.float32)
    low += np.random.default_rng(drawn.noise_seed).normal(0, drawn.noise, low.shape).astype(np.float32)
    code = cv2.imencode(".jpg", round_to_uint8(low), [cv2.IMWRITE_JPEG_QUALITY, drawn.quality])[1]
    decoded = np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR), np.float32)
    out = np.asarray(cv2.resize(decoded, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
    return round_to_uint8(recolour(out, drawn))


def recolour(image: NDArray[np.float32], drawn: Degradation) -> NDArray[np.float32]:
    """Applies shift, jitter and gray to an (H, W, 3) BGR image, 0..255."""
    if drawn.shift is not None:
        image = np.clip(image + np.array(drawn.shift, np.float32), 0, 255)
    if drawn.jitter is not None:
        image = _jitter(image, *drawn.jitter)
    if drawn.is_gray:
        image = np.repeat(_luma(image), 3, axis=2)
    return np.asarray(image, np.float32)


def _jitter(
    image: NDArray[np.float32], brightness: float, contrast: float, saturation: float, hue: float
) -> NDArray[np.float32]:
    """Changes brightness, contrast and saturation (mixing with black, mean luma and luma), then hue."""
    out = np.clip(image * brightness, 0, 255)
    out = np.clip(_luma(out).mean() * (1 - contrast) + out * contrast, 0, 255)
    out = np.clip(_luma(out) * (1 - saturation) + out * saturation, 0, 255)
    hsv = cv2.cvtColor(out.astype(np.float32) / 255, cv2.COLOR_BGR2HSV)
    hsv[..., 0] = (hsv[..., 0] + 360 * hue) % 360
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR) * 255, np.float32)


def _luma(image: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(image @ np.array([0.114, 0.587, 0.299], np.float32), np.float32)[..., None]


def round_to_uint8(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Floats clipped to 0..255 and rounded."""
    return np.asarray(np.clip(np.round(image), 0, 255), np.uint8)
