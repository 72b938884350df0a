"""What every picture reader gives, and what all of them check: size, memory, and colour profiles that still fit."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from gfpcli.errors import InputError, OutputError
from gfpcli.memory import is_out_of_memory, lacking
from gfpcli.types import Image

Samples: TypeAlias = NDArray[np.uint8] | NDArray[np.uint16]
"""(H, W) or (H, W, C): channels in a file's own order, uint8 or uint16."""
Plane: TypeAlias = NDArray[np.uint8] | NDArray[np.uint16]
"""(H, W), uint8 0..255 or uint16 0..65535."""

MAX_PIXELS = 250_000_000  # the largest phones' 200 megapixels and room
NEEDED = 16  # bytes of memory that decoding takes for each pixel
NOT_TURNED = 1  # value of the EXIF tag Orientation (CIPA DC-008, 4.6.4)

logging.getLogger("tifffile").addHandler(logging.NullHandler())  # our errors tell what is damaged


class Nclx(NamedTuple):
    """Coding-independent code points (ITU-T H.273), as HEIF, AVIF and PNG's cICP chunk store them."""

    primaries: int
    transfer: int
    matrix: int
    is_full_range: bool


@dataclass(frozen=True, slots=True, eq=False)
class Pixels:
    """One decoded picture. It is turned upright by the caller where `orientation` is not 1."""

    image: Image  # (H, W, 3) BGR, uint8 0..255 or uint16 0..65535, alpha not multiplied in
    alpha: Plane | None = None  # (H, W), same depth as the image, 0 is transparent
    is_gray: bool = False  # stored with one colour channel; `image` then has three equal channels
    icc: bytes | None = None  # the profile that describes `image`; None where none does (then it is sRGB, or see nclx)
    orientation: int = NOT_TURNED  # EXIF value 1..8 that is still to be applied
    nclx: Nclx | None = None  # colour of HEIF and AVIF without a profile
    bits: int = 8  # of each sample in the file: 1..16
    notes: tuple[str, ...] = ()  # one line each for the user: what was left out or converted


def check_size(width: int, height: int, name: str, *, bytes_per_pixel: int = NEEDED) -> None:
    """Refuses what is empty, too large, or larger than free memory, before anything is allocated. Raises InputError."""
    if width < 1 or height < 1:
        raise InputError(f"{name}: a picture of {width}x{height} pixels")
    if width * height > MAX_PIXELS:
        raise InputError(f"{name}: {width}x{height} is more than {MAX_PIXELS} pixels")
    if lack := lacking(width * height * bytes_per_pixel):
        raise InputError(f"{name}: not enough memory for {width}x{height} pixels: {lack}")


@contextmanager
def decoder_errors(name: str, kind: str) -> Iterator[None]:
    """Translates whatever a third party's decoder raises on damaged bytes. Raises InputError, one line.

    Args:
        name: the file, for the message.
        kind: what it should hold, for people: "TIFF", "JPEG XL".
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd tags and large pictures are told by our own errors
            yield
    except InputError:
        raise
    except Exception as error:  # decoders raise many kinds on broken bytes
        reason = " ".join(str(error).split()) or type(error).__name__
        reason = "not enough memory to decode it" if is_out_of_memory(error) else f"damaged {kind}: {reason[:200]}"
        raise InputError(f"{name}: {reason}") from error


@contextmanager
def encoder_errors(name: str, kind: str) -> Iterator[None]:
    """Translates whatever a third party's encoder raises, as `decoder_errors`. Raises OutputError, one line."""
    try:
        yield
    except Exception as error:  # encoders raise many kinds
        reason = "not enough memory" if is_out_of_memory(error) else " ".join(str(error).split())
        raise OutputError(f"{name}: cannot be written as {kind}: {reason or type(error).__name__}") from error


def plane_of(samples: Samples, channel: int) -> Plane:
    """One channel of (H, W, C), contiguous."""
    return cast(Plane, np.ascontiguousarray(samples[..., channel]))


def as_bgr(samples: Samples) -> Image:
    """(H, W), (H, W, 1) gray or (H, W, 3) RGB to contiguous (H, W, 3) BGR."""
    is_gray = samples.ndim == 2 or samples.shape[2] == 1
    return cast(Image, np.asarray(cv2.cvtColor(samples, cv2.COLOR_GRAY2BGR if is_gray else cv2.COLOR_RGB2BGR)))


def samples_of(image: Image, alpha: Plane | None, *, is_gray: bool) -> Samples:
    """A picture as encoders take it, contiguous: (H, W) gray, or (H, W, 2, 3 or 4) gray or RGB, alpha last.

    Args:
        image: (H, W, 3) BGR.
        alpha: (H, W) of the same depth.
    """
    if is_gray:
        gray = np.ascontiguousarray(image[..., 0])
        return cast(Samples, gray if alpha is None else np.stack([gray, alpha], axis=2))
    rgb = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB if alpha is None else cv2.COLOR_BGR2RGBA))
    if alpha is not None:
        rgb[..., 3] = alpha
    return cast(Samples, rgb)


def scale_to_16(samples: NDArray[np.uint16], bits: int) -> NDArray[np.uint16]:
    """Samples of 0..2**bits-1 to 0..65535, rounded to nearest; the ends and (for 8 and less) all values are exact."""
    top = (1 << bits) - 1
    table = (np.arange(top + 1, dtype=np.uint64) * 65535 * 2 + top) // (2 * top)
    return np.asarray(table.astype(np.uint16)[np.minimum(samples, top)], np.uint16)


def scale_from_16(samples: NDArray[np.uint16], bits: int) -> NDArray[np.uint16]:
    """The inverse of `scale_to_16`: 0..65535 to 0..2**bits-1, rounded to nearest."""
    top = (1 << bits) - 1
    table = (np.arange(65536, dtype=np.uint64) * top * 2 + 65535) // (2 * 65535)
    return np.asarray(table.astype(np.uint16)[samples], np.uint16)


def divided_by(image: Samples, alpha: Plane, top: int) -> Samples:
    """Colour of (H, W, C) samples, 0..top, that had alpha multiplied in; where alpha is 0 it stays as stored."""
    out = image.copy()
    for row in range(0, image.shape[0], 256):  # in bands: the wide type would take much memory
        colour, cover = image[row : row + 256].astype(np.uint64), alpha[row : row + 256, :, None].astype(np.uint64)
        safe = np.maximum(cover, 1)
        out[row : row + 256] = np.where(cover > 0, np.minimum((colour * top * 2 + safe) // (2 * safe), top), colour)
    return out


def profile_space(icc: bytes | None) -> str | None:
    """The colour model of an ICC profile: "RGB", "GRAY", "CMYK", "Lab"; None where it is none (ICC.1:2022, 7.2.6)."""
    if icc is None or len(icc) < 132 or icc[36:40] != b"acsp":
        return None
    return icc[16:20].decode("latin-1").strip()


def fitting_profile(icc: bytes | None, is_gray: bool) -> tuple[bytes | None, tuple[str, ...]]:
    """A file's profile where it has the colour model of the decoded picture, and a note where it has not."""
    space = profile_space(icc)
    if icc is None or space == ("GRAY" if is_gray else "RGB"):
        return icc, ()
    reason = "damaged" if space is None else f"of the colour model {space}"
    return None, (f"its ICC profile is {reason} and left out",)
