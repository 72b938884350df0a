"""Degraded training inputs from good faces.

The paper's: blur, downsampling, noise and JPEG, then colour: GFP-GAN, section 4.1, x = [(y * k) downsampled by r + n]
JPEG; upstream `ffhq_degradation_dataset.py`. Beside it what photos of real life have: a second round of these steps,
with kernels and noise of other kinds (Real-ESRGAN, Wang et al. 2021, section 3), motion blur, what happens to film and
paper (`old_prints.py`), and video compression.
A degradation is first drawn as plain numbers and then applied, so that draws can be shown, repeated and tested. Each
effect draws after those of the paper, and draws nothing where it is off: the paper's draws stay what they were.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from gfpcli.adapters.basicsr import gaussian_kernel, shaped_kernel, sinc_kernel
from gfpcli.errors import UsageError
from gfpcli.train.degrade_options import DEGRADATIONS, DegradeOptions, Range
from gfpcli.train.old_prints import (
    BGR_TO_LUMA,
    TEMPLATE_SIZE,
    Damage,
    Fading,
    FloatPicture,
    Grain,
    Halftone,
    add_grain,
    damage,
    fade,
    print_halftone,
)
from gfpcli.train.video_frames import DECODERS, as_video_frame

WAYS = {"linear": cv2.INTER_LINEAR, "area": cv2.INTER_AREA, "cubic": cv2.INTER_CUBIC}  # of resizing
MILD = DegradeOptions(
    sigma=(0.1, 1.5), shrink=(0.9, 2.0), noise=(0.0, 5.0), quality=(80.0, 100.0), shift_chance=0.0, jitter_chance=0.0,
    gray_chance=0.0,
)  # fmt: skip
"""What faces of `mild_share` get: from hardly anything to a little."""
TURNED_GRAY = Fading(1.0, 0.0, 0.0, (1.0, 1.0, 1.0))
MAX_SHRINK_PRINTED = 4.0  # of a printed face: where it is smaller, its dots are as large as its eyes
SINC_SIZE = 21  # px, edge of the kernel
SINC_CUTOFFS = (np.pi / 3, np.pi)  # radians for each px (Real-ESRGAN)


@dataclass(frozen=True, slots=True)
class Round:
    """One round of blur, resizing, noise and JPEG."""

    sigma_x: float
    sigma_y: float
    theta: float  # radians
    shrink: float
    noise: float  # sigma, of 255
    noise_seed: int
    quality: int
    shape: str = "gaussian"  # of the blur kernel: gaussian, generalised or plateau
    power: float = 1.0  # of the other two shapes
    way: str = "linear"  # of resizing
    is_shot_noise: bool = False  # grows with the root of the light; `noise` is that of middle gray
    is_gray_noise: bool = False  # the same in all channels


@dataclass(frozen=True, slots=True)
class Degradation:
    """The parameters of one degradation; what is None is left out."""

    first: Round
    shift: tuple[float, float, float] | None = None  # BGR, of 255
    jitter: tuple[float, float, float, float] | None = None  # brightness, contrast, saturation, hue
    is_gray: bool = False
    motion: tuple[float, float] | None = None  # length, px at TEMPLATE_SIZE, and angle, radians
    fading: Fading | None = None
    is_fading_repaired: bool = False
    grain: Grain | None = None
    halftone: Halftone | None = None
    damage: Damage | None = None
    second: Round | None = None
    sinc: float | None = None  # cutoff, radians for each px
    codec: tuple[str, int] | None = None  # encoder and constant rate factor


def draw_degradation(options: DegradeOptions, rng: np.random.Generator) -> Degradation:
    """Draws the parameters; the same generator state gives the same ones."""
    if options.mild_share and rng.random() < options.mild_share:
        options = MILD
    first = _draw_round(options, options.sigma, options.shrink, options.noise, options.quality, rng)
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
    drawn = Degradation(first, shift, jitter, is_gray, is_fading_repaired=options.is_fading_repaired)
    return _draw_carriers(_draw_print(drawn, options, rng), options, rng)


def _draw_round(
    options: DegradeOptions, sigma: Range, shrink: Range, noise: Range, quality: Range, rng: np.random.Generator
) -> Round:
    sigma_x = rng.uniform(*sigma)
    is_iso = rng.random() < options.iso_chance
    sigma_y = sigma_x if is_iso else rng.uniform(*sigma)
    theta = 0.0 if is_iso else rng.uniform(-np.pi, np.pi)
    factor, strength = rng.uniform(*shrink), rng.uniform(*noise)
    level = round(rng.uniform(*quality))
    drawn = Round(sigma_x, sigma_y, theta, factor, strength, int(rng.integers(2**63)), level)
    return _draw_kinds(drawn, rng) if options.is_mixed else drawn


def _draw_kinds(drawn: Round, rng: np.random.Generator) -> Round:
    """The shape of the kernel, the way of resizing and the kind of noise, in the shares of Real-ESRGAN."""
    shape = str(rng.choice(("gaussian", "generalised", "plateau"), p=(0.7, 0.15, 0.15)))
    power = rng.uniform(0.5, 4) if shape == "generalised" else rng.uniform(1, 2)
    way = str(rng.choice(tuple(WAYS)))
    is_shot_noise, is_gray_noise = bool(rng.random() < 0.5), bool(rng.random() < 0.4)
    return replace(drawn, shape=shape, power=power, way=way, is_shot_noise=is_shot_noise, is_gray_noise=is_gray_noise)


def _draw_print(drawn: Degradation, options: DegradeOptions, rng: np.random.Generator) -> Degradation:
    """What happened in the camera, on film and on paper, before the picture was scanned or photographed."""
    if _happens(options.motion_chance, rng):
        drawn = replace(drawn, motion=(rng.uniform(*options.motion), rng.uniform(0, np.pi)))
    if _happens(options.fading_chance, rng):
        drawn = replace(drawn, fading=_draw_fading(options, rng))
    if _happens(options.grain_chance, rng):
        grain = Grain(rng.uniform(*options.grain), rng.uniform(0.3, 1.6), int(rng.integers(2**63)))
        drawn = replace(drawn, grain=grain)
    if _happens(options.halftone_chance, rng):
        shrink = min(drawn.first.shrink, MAX_SHRINK_PRINTED)
        cell = rng.uniform(*options.halftone) * max(1.0, shrink)  # the scan still shows the dots
        strength, is_colour = rng.uniform(0.15, 0.9), bool(rng.random() < options.colour_share)
        halftone = Halftone(cell, rng.uniform(0, 90), strength, is_colour)
        fading = drawn.fading if is_colour else drawn.fading or TURNED_GRAY
        drawn = replace(drawn, halftone=halftone, fading=fading, first=replace(drawn.first, shrink=shrink, way="area"))
    if _happens(options.damage_chance, rng):
        cracks, scratches, specks = (
            round(rng.uniform(*each)) for each in (options.cracks, options.scratches, options.specks)
        )
        drawn = replace(drawn, damage=Damage(cracks, scratches, specks, int(rng.integers(2**63))))
    return drawn


def _draw_carriers(drawn: Degradation, options: DegradeOptions, rng: np.random.Generator) -> Degradation:
    """What happened to the file afterwards."""
    if _happens(options.second_chance, rng):
        ranges = (options.second_sigma, options.second_shrink, options.second_noise, options.second_quality)
        drawn = replace(drawn, second=_draw_round(options, *ranges, rng))
    if _happens(options.sinc_chance, rng):
        drawn = replace(drawn, sinc=rng.uniform(*SINC_CUTOFFS))
    if _happens(options.codec_chance, rng):
        codec = str(rng.choice(tuple(DECODERS), p=(0.75, 0.25)))
        drawn = replace(drawn, codec=(codec, round(rng.uniform(*options.crf))))
    return drawn


def _happens(chance: float, rng: np.random.Generator) -> bool:
    return bool(chance and rng.random() < chance)  # an effect that is off draws nothing


def _draw_fading(options: DegradeOptions, rng: np.random.Generator) -> Fading:
    """Faded colours with a cast, or a gray or sepia photo."""
    strength = rng.uniform(*options.fading)
    contrast, lift = 1 - 0.45 * strength * rng.random(), 55 * strength * rng.random()
    if rng.random() < options.toned_share:
        warmth = rng.uniform(0, 1) * (rng.random() < 0.7)  # else gray
        return Fading(contrast, lift, 0.1 * rng.random() * warmth, (1 - 0.45 * warmth, 1 - 0.14 * warmth, 1.0))
    gains = 1 - 0.35 * strength * rng.random(3)
    blue, green, red = (gains / gains.max()).tolist()
    return Fading(contrast, lift, 1 - 0.8 * strength * rng.random(), (blue, green, red))


def make_pair(name: str, face: NDArray[np.uint8], seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The (degraded, true) faces, (H, W, 3) BGR, 0..255, that a degradation of DEGRADATIONS makes of a good face.

    No draw is a mild one. The same name, face and seed give the same pair.

    Raises:
        UsageError: no degradation of that name.
    """
    if name not in DEGRADATIONS:
        raise UsageError(f"no degradation {name!r}: choose one of {', '.join(DEGRADATIONS)}")
    options = replace(DEGRADATIONS[name], mild_share=0.0)
    drawn = draw_degradation(options, np.random.default_rng(seed))
    return degrade(face, drawn, kernel_size=options.kernel_size), target_of(face, drawn)


def target_of(face: NDArray[np.uint8], drawn: Degradation) -> NDArray[np.uint8]:
    """What is to be restored: the face, faded where fading is not to be repaired (the photo around it is faded too)."""
    if drawn.fading is None or drawn.is_fading_repaired:
        return face
    return round_to_uint8(fade(face.astype(np.float32), drawn.fading))


def degrade(face: NDArray[np.uint8], drawn: Degradation, *, kernel_size: int = 41) -> NDArray[np.uint8]:
    """Degrades an (H, W, 3) BGR face, 0..255; the size stays."""
    height, width = face.shape[:2]
    image = _printed(_softened(face.astype(np.float32), drawn.first, kernel_size), drawn)
    image = _scanned(image, drawn.first)
    if drawn.second:
        image = _scanned(_softened(image, drawn.second, kernel_size), drawn.second)
    if drawn.sinc:
        image = np.asarray(cv2.filter2D(image, -1, sinc_kernel(SINC_SIZE, drawn.sinc)), np.float32)
    if drawn.codec:
        image = as_video_frame(round_to_uint8(image), *drawn.codec).astype(np.float32)
    out = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
    return round_to_uint8(recolour(out, drawn))


def _softened(image: FloatPicture, drawn: Round, kernel_size: int) -> FloatPicture:
    sigmas = drawn.sigma_x, drawn.sigma_y, drawn.theta
    if drawn.shape == "gaussian":
        kernel = gaussian_kernel(kernel_size, *sigmas)
    else:
        kernel = shaped_kernel(kernel_size, *sigmas, power=drawn.power, is_plateau=drawn.shape == "plateau")
    return np.asarray(cv2.filter2D(image, -1, kernel), np.float32)


def _printed(image: FloatPicture, drawn: Degradation) -> FloatPicture:
    """The picture on film or paper."""
    if drawn.motion:
        length, angle = drawn.motion
        kernel = motion_kernel(length * image.shape[1] / TEMPLATE_SIZE, angle)
        image = np.asarray(cv2.filter2D(image, -1, kernel), np.float32)
    if drawn.grain:
        image = add_grain(image, drawn.grain)
    if drawn.halftone:
        image = print_halftone(image, drawn.halftone)
    if drawn.damage:
        image = damage(image, drawn.damage)
    return fade(image, drawn.fading) if drawn.fading else image


def motion_kernel(length: float, angle: float) -> NDArray[np.float32]:
    """A kernel of sum 1: a line through its middle, `length` px long, `angle` radians from the horizontal."""
    half = int(np.ceil(length / 2)) + 1
    kernel = np.zeros((2 * half + 1, 2 * half + 1), np.float32)
    for at in np.linspace(-length / 2, length / 2, 8 * half):
        x, y = half + at * np.cos(angle), half + at * np.sin(angle)
        left, top = int(x), int(y)
        weights = np.outer((top + 1 - y, y - top), (left + 1 - x, x - left))
        kernel[top : top + 2, left : left + 2] += weights.astype(np.float32)
    return kernel / kernel.sum()


def _scanned(image: FloatPicture, drawn: Round) -> FloatPicture:
    """The picture made smaller, with noise, as a JPEG."""
    height, width = image.shape[:2]
    small = max(1, round(width / drawn.shrink)), max(1, round(height / drawn.shrink))
    low = np.asarray(cv2.resize(image, small, interpolation=WAYS[drawn.way]), np.float32)
    code = cv2.imencode(".jpg", round_to_uint8(low + _noise(low, drawn)), [cv2.IMWRITE_JPEG_QUALITY, drawn.quality])[1]
    return np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR), np.float32)


def _noise(image: FloatPicture, drawn: Round) -> FloatPicture:
    shape = (*image.shape[:2], 1) if drawn.is_gray_noise else image.shape
    noise = np.random.default_rng(drawn.noise_seed).normal(0, drawn.noise, shape).astype(np.float32)
    if drawn.is_shot_noise:
        noise = noise * np.sqrt(np.clip(image, 0, 255) / 128)
    return noise


def recolour(image: FloatPicture, drawn: Degradation) -> FloatPicture:
    """Applies shift, jitter and gray to an (H, W, 3) BGR image, 0..255."""
    if drawn.shift is not None:
        image = np.clip(image + np.array(drawn.shift, np.float32), 0, 255)
    if drawn.jitter is not None:
        image = _jitter(image, *drawn.jitter)
    if drawn.is_gray:
        image = np.repeat(_luma(image), 3, axis=2)
    return np.asarray(image, np.float32)


def _jitter(image: FloatPicture, brightness: float, contrast: float, saturation: float, hue: float) -> FloatPicture:
    """Changes brightness, contrast and saturation (mixing with black, mean luma and luma), then hue."""
    out = np.clip(image * brightness, 0, 255)
    out = np.clip(_luma(out).mean() * (1 - contrast) + out * contrast, 0, 255)
    out = np.clip(_luma(out) * (1 - saturation) + out * saturation, 0, 255)
    hsv = cv2.cvtColor(out.astype(np.float32) / 255, cv2.COLOR_BGR2HSV)
    hsv[..., 0] = (hsv[..., 0] + 360 * hue) % 360
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR) * 255, np.float32)


def _luma(image: FloatPicture) -> FloatPicture:
    return np.asarray(image @ BGR_TO_LUMA, np.float32)[..., None]


def round_to_uint8(image: FloatPicture) -> NDArray[np.uint8]:
    """Floats clipped to 0..255 and rounded."""
    return np.asarray(np.clip(np.round(image), 0, 255), np.uint8)
