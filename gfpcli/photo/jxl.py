"""JPEG XL pictures in and out (the extra `jxl`).

pillow-jxl-plugin tells the profile and the metadata boxes. Its pixels are 8 bit only, so pixels are imagecodecs'.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import cast

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from gfpcli.errors import InputError
from gfpcli.photo.colour import to_srgb
from gfpcli.photo.hdr import profile_transfer, refuse_hdr
from gfpcli.photo.heif_boxes import boxes_in
from gfpcli.photo.pixels import (
    Pixels,
    Plane,
    Samples,
    as_bgr,
    check_size,
    decoder_errors,
    encoder_errors,
    fitting_profile,
    plane_of,
    scale_to_16,
)
from gfpcli.types import Image

CODESTREAM = b"\xff\x0a"
HINT = "JPEG XL: pip install 'gfpcli[jxl]'"
CONTAINER_START = b"\0\0\0\x0cJXL \r\n\x87\n" + b"\0\0\0\x14ftypjxl \0\0\0\0jxl "  # ISO/IEC 18181-2, 9.2 and 9.3
RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))  # width to height (ISO/IEC 18181-1, D.2)
EFFORT = 7  # of 1 (fast, large) to 9


@dataclass(frozen=True, slots=True)
class JxlHeader:
    """What the first bytes of a codestream say."""

    width: int
    height: int
    bits: int  # of a sample
    is_float: bool
    is_animated: bool


def read_jxl(data: bytes, name: str) -> Pixels:
    """The (first) picture of a JPEG XL file's bytes, upright: the decoder turns it. Other depths than 8 become 16 bit.

    Raises:
        InputError: pillow-jxl-plugin is not installed, damaged, too large, floating-point, or in HDR.
    """
    try:
        import pillow_jxl
    except ImportError as error:
        raise InputError(f"{name}: {HINT}") from error
    with decoder_errors(name, "JPEG XL"):
        header = jxl_header(data)
        check_size(header.width, header.height, name)
        if header.is_float or header.bits > 16:
            kind = "floating-point" if header.is_float else f"{header.bits}-bit"
            raise InputError(f"{name}: {kind} JPEG XL is not supported")
        icc = bytes(pillow_jxl.Decoder(num_threads=1)(data)[3])
        refuse_hdr(profile_transfer(icc), name)
        samples = imagecodecs.jpegxl_decode(data, index=0 if header.is_animated else None, numthreads=1)
        return _decoded_pixels(samples, header, icc or None)


def encode_jxl(
    image: Image,
    alpha: Plane | None,
    *,
    quality: int,
    is_lossless: bool = False,
    is_gray: bool = False,
    exif: bytes | None = None,
    xmp: bytes | None = None,
    icc: bytes | None = None,
    name: str = "picture",
) -> bytes:
    """A JPEG XL file's bytes: 8 or 16 bit as the image is, colours taken as sRGB.

    Args:
        image: (H, W, 3) BGR uint8 or uint16.
        alpha: (H, W) of the same depth.
        quality: 0..100, as JPEG's; without effect where `is_lossless`.
        exif: a TIFF structure, with or without "Exif" and two zeros before it.
        icc: the image's profile. The encoder has no way to store one, so colours are converted to sRGB from it.

    Raises:
        OutputError: the codec cannot hold the picture.
    """
    with encoder_errors(name, "JPEG XL"):
        ordered = cast(Samples, image[..., :1] if is_gray else image[..., ::-1])
        ordered = ordered if icc is None else to_srgb(ordered, icc)
        samples = ordered if alpha is None else np.concatenate([ordered, alpha[..., None]], axis=2)
        plain = np.ascontiguousarray(samples[..., 0] if samples.shape[2] == 1 else samples)
        level = None if is_lossless else min(quality, 99)
        coded = imagecodecs.jpegxl_encode(
            plain, level, effort=EFFORT, lossless=is_lossless, usecontainer=False, numthreads=1
        )
        return _with_metadata(bytes(coded), exif, xmp)


def jxl_header(data: bytes) -> JxlHeader:
    """Size and depth (ISO/IEC 18181-1, annex D). Raises ValueError where there is none."""
    stream = _codestream_start(data)
    if not stream.startswith(CODESTREAM):
        raise ValueError("no picture in it")
    bits = _Bits(stream[2:66])
    height, width = _size(bits)
    depth, is_float, is_animated, orientation = 8, False, False, 1
    if not bits.take(1):  # not all default
        if bits.take(1):  # extra fields
            orientation = 1 + bits.take(3)
            if bits.take(1):
                _size(bits)  # intrinsic
            if bits.take(1):
                raise ValueError("with a preview, which is not supported")
            is_animated = bool(bits.take(1))
            if is_animated:
                _skip_animation(bits)
        is_float = bool(bits.take(1))
        usual = ((32, 0), (16, 0), (24, 0)) if is_float else ((8, 0), (10, 0), (12, 0))
        depth = bits.number(*usual, (1, 6))
    return JxlHeader(*((height, width) if orientation > 4 else (width, height)), depth, is_float, is_animated)


class _Bits:
    """Reads numbers from bytes, lowest bits first; zeros follow the end."""

    def __init__(self, data: bytes) -> None:
        self._rest = int.from_bytes(data, "little")

    def take(self, n: int) -> int:
        value = self._rest & ((1 << n) - 1)
        self._rest >>= n
        return value

    def number(self, *ways: tuple[int, int]) -> int:
        """The standard's U32: two bits choose one of four (offset, number of bits)."""
        offset, n = ways[self.take(2)]
        return offset + self.take(n)


def _size(bits: _Bits) -> tuple[int, int]:
    """(height, width) of a SizeHeader."""
    ways = ((1, 9), (1, 13), (1, 18), (1, 30))
    is_small = bits.take(1)
    height = 8 * (1 + bits.take(5)) if is_small else bits.number(*ways)
    ratio = bits.take(3)
    if ratio:
        over, under = RATIOS[ratio - 1]
        return height, height * over // under
    return height, 8 * (1 + bits.take(5)) if is_small else bits.number(*ways)


def _skip_animation(bits: _Bits) -> None:
    bits.number((100, 0), (1000, 0), (1, 10), (1, 30))
    bits.number((1, 0), (1001, 0), (1, 8), (1, 10))
    bits.number((0, 0), (0, 3), (0, 16), (0, 32))
    bits.take(1)


def _codestream_start(data: bytes) -> bytes:
    """The first bytes of the codestream, bare or in the first box that holds it."""
    if data.startswith(CODESTREAM):
        return data[:66]
    for box in boxes_in(data, 0, len(data)):
        if box.kind in (b"jxlc", b"jxlp"):
            start = box.body + (4 if box.kind == b"jxlp" else 0)
            return data[start : start + 66]
    return b""


def _decoded_pixels(samples: Samples, header: JxlHeader, icc: bytes | None) -> Pixels:
    if samples.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"samples of type {samples.dtype}")
    if samples.dtype == np.uint16:
        samples = scale_to_16(cast("NDArray[np.uint16]", samples), header.bits)
    elif header.bits < 8:
        samples = (samples.astype(np.uint16) * 255 // ((1 << header.bits) - 1)).astype(np.uint8)
    channels = samples.shape[2] if samples.ndim == 3 else 1
    n_colours = 1 if channels < 3 else 3
    is_gray = n_colours == 1
    colour = cast(Samples, samples if samples.ndim == 2 else samples[..., :n_colours])
    kept, told = fitting_profile(icc, is_gray)
    notes = ("only the first picture of the animation is restored",) if header.is_animated else ()
    alpha = plane_of(samples, -1) if channels in (2, 4) else None
    return Pixels(as_bgr(colour), alpha, is_gray, kept, bits=header.bits, notes=(*notes, *told))


def _with_metadata(coded: bytes, exif: bytes | None, xmp: bytes | None) -> bytes:
    """A file with metadata boxes before its codestream (ISO/IEC 18181-2, 9); a bare one gets a container."""
    plain = exif[6:] if exif and exif.startswith(b"Exif\0\0") else exif
    added = _jxl_box(b"Exif", b"\0\0\0\0" + plain) if plain else b""
    added += _jxl_box(b"xml ", xmp) if xmp else b""
    if not added:
        return coded
    whole = CONTAINER_START + _jxl_box(b"jxlc", coded) if coded.startswith(CODESTREAM) else coded
    at = next(box.start for box in boxes_in(whole, 0, len(whole)) if box.kind in (b"jxlc", b"jxlp"))
    return whole[:at] + added + whole[at:]


def _jxl_box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content
