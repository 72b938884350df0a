"""Colour models that files store and the stream does not: CMYK, Lab and YCbCr to RGB, at 8 or 16 bit."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import cast

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import ImageCms

from gfpcli.photo.pixels import Samples

BAND = 256  # rows that are converted at once: floats take eight times the memory
BT601_LUMA = (0.299, 0.587, 0.114)  # red, green, blue in Y (TIFF 6.0, section 21; ITU-R BT.601)


def to_srgb(samples: Samples, icc: bytes) -> Samples:
    """(H, W, 1) gray or (H, W, 3) RGB in a profile's colours to sRGB (gray: to its curve), same depth and shape."""
    is_gray = samples.shape[2] == 1
    target = imagecodecs.cms_profile("srgb")

    def convert(band: Samples) -> Samples:
        plain, space = (band[..., 0], "gray") if is_gray else (band, "rgb")
        return imagecodecs.cms_transform(plain, icc, target, colorspace=space, outcolorspace="rgb")

    converted = _in_bands(samples, convert)
    return cast(Samples, converted[..., :1]) if is_gray else converted


def cmyk_to_rgb(inks: Samples, icc: bytes | None) -> Samples:
    """(H, W, 4) ink from none to full, to (H, W, 3) sRGB of the same depth.

    Args:
        icc: a CMYK profile, used with its perceptual intent; None: each ink takes its share of light away.
    """
    if icc is not None:
        profile = imagecodecs.cms_profile("srgb")
        to_rgb = partial(
            imagecodecs.cms_transform, profile=icc, outprofile=profile, colorspace="cmyk", outcolorspace="rgb"
        )
        return _in_bands(inks, to_rgb)
    top = int(np.iinfo(inks.dtype).max)
    light = np.asarray(top, np.uint32) - inks.astype(np.uint32)
    return cast(Samples, ((light[..., :3] * light[..., 3:] + top // 2) // top).astype(inks.dtype))


def lab_to_rgb(lab: Samples, *, is_icc_encoding: bool) -> Samples:
    """(H, W, 3) CIE L*a*b* (D50) to (H, W, 3) sRGB of the same depth.

    Args:
        is_icc_encoding: a* and b* are offset to be positive and 16-bit L* ends at 0xFF00 (TIFF's ICCLab); else they are
            signed (TIFF's CIELab; TIFF 6.0, section 23).
    """
    source = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    target = imagecodecs.cms_profile("srgb")

    def convert(band: Samples) -> Samples:
        return imagecodecs.cms_transform(
            _lab_values(band, is_icc_encoding), source, target,
            colorspace="lab", outcolorspace="rgb", outdtype=band.dtype,
        )  # fmt: skip

    return _in_bands(lab, convert)


def ycbcr_to_rgb(samples: Samples, luma: tuple[float, ...] | None, reference: tuple[float, ...] | None) -> Samples:
    """(H, W, 3) Y, Cb, Cr without subsampling to (H, W, 3) RGB of the same depth (TIFF 6.0, section 21).

    Args:
        luma: YCbCrCoefficients, by default BT.601's.
        reference: ReferenceBlackWhite, black and white of each channel; by default the full range.
    """
    top = float(np.iinfo(samples.dtype).max)
    half = (top + 1) / 2
    black_y, white_y, zero_b, end_b, zero_r, end_r = reference or (0.0, top, half, top, half, top)
    red, green, blue = luma or BT601_LUMA
    if not (green and white_y > black_y and end_b > zero_b and end_r > zero_r):
        raise ValueError("its YCbCr has no range")

    def convert(band: Samples) -> Samples:
        y, cb, cr = np.moveaxis(band.astype(np.float64), -1, 0)
        y = (y - black_y) * top / (white_y - black_y)
        cb, cr = (cb - zero_b) * (top - half) / (end_b - zero_b), (cr - zero_r) * (top - half) / (end_r - zero_r)
        r, b = y + cr * (2 - 2 * red), y + cb * (2 - 2 * blue)
        rgb = np.stack([r, (y - blue * b - red * r) / green, b], axis=-1)
        return cast(Samples, np.clip(np.rint(rgb), 0, top).astype(band.dtype))

    return _in_bands(samples, convert)


def _lab_values(band: Samples, is_icc_encoding: bool) -> NDArray[np.float64]:
    """L* 0..100, a* and b* about -128..127, of stored numbers."""
    is_deep = band.dtype == np.uint16
    unit = 256.0 if is_deep else 1.0  # of a* and b*
    if is_icc_encoding:
        light, chroma = (65280.0 if is_deep else 255.0), band[..., 1:].astype(np.float64) / unit - 128
    else:
        light = 65535.0 if is_deep else 255.0
        chroma = band[..., 1:].astype(np.int16 if is_deep else np.int8).astype(np.float64) / unit
    return np.concatenate([np.minimum(band[..., :1] * (100 / light), 100), chroma], axis=-1)


def _in_bands(samples: Samples, convert: Callable[[Samples], Samples]) -> Samples:
    out = np.empty((*samples.shape[:2], 3), samples.dtype)
    for row in range(0, samples.shape[0], BAND):
        out[row : row + BAND] = convert(cast(Samples, np.ascontiguousarray(samples[row : row + BAND])))
    return cast(Samples, out)
