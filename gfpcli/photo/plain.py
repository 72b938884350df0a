"""Pictures that Pillow reads (JPEG, PNG, WebP, BMP, GIF, PPM, JPEG 2000); where it would cut 16 bit to 8, others do."""

from __future__ import annotations

import io
import re
from typing import cast

import cv2
import imagecodecs
import numpy as np
from PIL import Image as Pillow

from gfpcli.errors import InputError
from gfpcli.photo.colour import cmyk_to_rgb
from gfpcli.photo.hdr import png_colour, profile_transfer, refuse_hdr
from gfpcli.photo.left_out import parts_left_out
from gfpcli.photo.pixels import (
    MAX_PIXELS,
    Pixels,
    Plane,
    Samples,
    as_bgr,
    check_size,
    decoder_errors,
    plane_of,
    profile_space,
    scale_to_16,
)

PLAIN_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "PPM", "JPEG2000")  # Pillow's others start programs, or guess
GRAY_MODES = ("1", "L", "LA", "I;16", "I;16B", "I")
Pillow.MAX_IMAGE_PIXELS = MAX_PIXELS // 2  # Pillow refuses twice that: ours comes first, with its own words


def read_plain(data: bytes, name: str, label: str) -> Pixels:
    """The first picture of a file's bytes, not turned: its EXIF says how.

    Args:
        label: of its format, for messages.

    Raises:
        InputError: damaged, cut short, too large, in HDR, or of a depth that is not read.
    """
    with decoder_errors(name, label), Pillow.open(io.BytesIO(data), formats=PLAIN_FORMATS) as picture:
        check_size(*picture.size, name)
        if picture.mode == "F":
            raise InputError(f"{name}: floating-point {label} is not supported")
        icc = picture.info.get("icc_profile") or None
        nclx = png_colour(data)
        refuse_hdr(nclx.transfer if nclx else profile_transfer(icc), name)
        picture.load()
        return _plain_pixels(picture, data, icc)


def _plain_pixels(picture: Pillow.Image, data: bytes, icc: bytes | None) -> Pixels:
    is_gray, notes = picture.mode in GRAY_MODES, list(_parts(picture, data))
    if (deep := _deep_samples(picture, data)) is not None:
        n_colours = 1 if deep.ndim == 2 or deep.shape[2] < 3 else 3
        alpha = plane_of(deep, -1) if deep.ndim == 3 and deep.shape[2] > n_colours else None
        colour = cast(Samples, deep if deep.ndim == 2 else deep[..., :n_colours])
        return Pixels(as_bgr(colour), alpha, n_colours == 1, icc, nclx=png_colour(data), bits=16, notes=tuple(notes))
    if picture.mode == "CMYK":
        profile = icc if profile_space(icc) == "CMYK" else None
        notes.append("converted from CMYK to sRGB" + ("" if profile else ", without a profile"))
        return Pixels(as_bgr(cmyk_to_rgb(np.asarray(picture), profile)), notes=tuple(notes))
    has_alpha = "A" in picture.mode or "transparency" in picture.info
    mode = "RGBA" if has_alpha else "RGB"
    samples = np.asarray(picture if picture.mode == mode else picture.convert(mode))
    image = cv2.cvtColor(samples, cv2.COLOR_RGBA2BGR if has_alpha else cv2.COLOR_RGB2BGR)
    alpha = cast(Plane, np.ascontiguousarray(samples[..., 3])) if has_alpha else None
    return Pixels(np.asarray(image, np.uint8), alpha, is_gray, icc, nclx=png_colour(data), notes=tuple(notes))


def _parts(picture: Pillow.Image, data: bytes) -> tuple[str, ...]:
    """A line for each thing in the file that is not restored."""
    if picture.format in ("JPEG", "MPO"):
        return parts_left_out(data, "JPEG")
    n_frames = getattr(picture, "n_frames", 1)
    return ("only the first picture of this file is restored",) if n_frames > 1 else ()


def _deep_samples(picture: Pillow.Image, data: bytes) -> Samples | None:
    """(H, W) or (H, W, C) uint16 0..65535 where the file has more than 8 bit, else None.

    Raises:
        ValueError: it has, but they cannot be had.
    """
    if picture.format == "PNG":
        return cast(Samples, imagecodecs.png_decode(data)) if data[24] == 16 else None
    if picture.format == "JPEG2000":
        bits = _bits_of_jpeg_2000(data)
        return None if bits <= 8 else _from_bits(cast(Samples, imagecodecs.jpeg2k_decode(data)), bits)
    if picture.format == "PPM":
        top = _top_of_ppm(data)
        return None if top < 256 else _samples_of_ppm(data, top)
    return None


def _from_bits(samples: Samples, bits: int) -> Samples:
    if samples.dtype != np.uint16 or bits > 16:
        raise ValueError(f"{bits} bit a channel")
    return scale_to_16(cast("np.ndarray[tuple[int, ...], np.dtype[np.uint16]]", samples), bits)


def _bits_of_jpeg_2000(data: bytes) -> int:
    """Of the deepest channel, by the SIZ segment (ISO/IEC 15444-1, A.5.1)."""
    at = data.find(b"\xff\x4f\xff\x51")
    segment = data[at + 4 : at + 4 + int.from_bytes(data[at + 4 : at + 6], "big")]
    depths = segment[38::3]
    if at < 0 or not depths or any(each & 0x80 for each in depths):
        raise ValueError("no depth in it, or signed numbers")
    return max(depths) + 1


def _top_of_ppm(data: bytes) -> int:
    """The largest value that a netpbm file's header names; 1 for bitmaps, which name none."""
    header = re.sub(rb"#[^\n]*\n", b" ", data[:4096]).split(None, 4)
    return int(header[3][:6]) if header[0] in (b"P2", b"P3", b"P5", b"P6") and header[3][:6].isdigit() else 1


def _samples_of_ppm(data: bytes, top: int) -> Samples:
    """(H, W) gray or (H, W, 3) RGB of a 16-bit netpbm file, its values as far as `top` spread to 65535."""
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if decoded is None or decoded.dtype != np.uint16:
        raise ValueError("its 16-bit data cannot be decoded")
    samples = decoded if decoded.ndim == 2 else decoded[..., ::-1]
    wide = (np.minimum(samples, top).astype(np.uint64) * 65535 * 2 + top) // (2 * top)
    return np.ascontiguousarray(wide.astype(np.uint16))
