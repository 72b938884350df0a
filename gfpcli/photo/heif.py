"""HEIC, HEIF and AVIF pictures in and out: 8, 10 and 12 bit, alpha, colour; pixels always upright.

HEVC is pillow-heif's (libheif), AV1 is imagecodecs' (libavif): pillow-heif has no AV1, and Pillow reads AVIF as 8 bit.
"""

from __future__ import annotations

import io
from typing import Literal, TypeAlias, cast

import imagecodecs
import numpy as np
import pillow_heif
from numpy.typing import NDArray
from PIL import Image as Pillow

from gfpcli.files.kinds import kind_of_bytes
from gfpcli.photo.hdr import profile_transfer, refuse_hdr
from gfpcli.photo.heif_boxes import Items, read_items, with_items
from gfpcli.photo.left_out import heif_parts
from gfpcli.photo.pixels import (
    Nclx,
    Pixels,
    Plane,
    Samples,
    as_bgr,
    check_size,
    decoder_errors,
    divided_by,
    encoder_errors,
    fitting_profile,
    plane_of,
    samples_of,
    scale_from_16,
    scale_to_16,
)
from gfpcli.types import Image

HeifKind: TypeAlias = Literal["HEIF", "AVIF"]
HeifBits: TypeAlias = Literal[8, 10, 12]

AV1_SPEED = 6  # of 0 (slow, small) to 10
HEVC_PRESET = "fast"  # x265's word; half the time of pillow-heif's default for 5 % more bytes and no less quality
CHROMA = {"4:4:4": 444, "4:2:2": 422, "4:2:0": 420}
SRGB = Nclx(1, 13, 6, True)  # BT.709 primaries, sRGB curve, BT.601 matrix: what files without a profile are
RGB_MATRIX = 0  # "identity" of H.273: the channels are stored as they are, which alone is lossless


def read_heif(data: bytes, name: str) -> Pixels:
    """The primary picture of a HEIC, HEIF or AVIF file's bytes, upright (its turns and crop are applied).

    10 and 12 bit are scaled to the full range of uint16. EXIF's orientation is not applied: the standard makes the
    item's own turns the only ones (ISO/IEC 23008-12, 6.5.10 and annex A.4).

    Raises:
        InputError: damaged, too large, without a decoder, or in HDR (PQ, HLG).
    """
    kind = kind_of_bytes(data, name)
    with decoder_errors(name, kind.name):
        items = read_items(data)
        icc, nclx = items.colour(items.primary)
        refuse_hdr(nclx.transfer if nclx else profile_transfer(icc), name)
        if size := items.size(items.primary):
            check_size(*size, name)
        samples, bits = _decode_avif(data, items, name) if kind.format == "AVIF" else _decode_heic(data, name)
        return _primary_pixels(samples, bits, items, data)


def encode_heif(
    image: Image,
    alpha: Plane | None,
    *,
    kind: HeifKind,
    quality: int,
    is_lossless: bool = False,
    is_gray: bool = False,
    bits: HeifBits | None = None,
    subsampling: str = "4:2:0",
    exif: bytes | None = None,
    xmp: bytes | None = None,
    icc: bytes | None = None,
    nclx: Nclx | None = None,
    name: str = "picture",
) -> bytes:
    """A HEIC or AVIF file's bytes.

    Args:
        image: (H, W, 3) BGR uint8 or uint16.
        alpha: (H, W) of the same depth.
        quality: 0..100, of the codec; without effect where `is_lossless`.
        is_lossless: exact for 8-bit images, and for uint16 as far as `bits` go.
        is_gray: store one colour channel (AVIF; HEIC only without alpha, which libheif stores as RGB).
        bits: 8 for uint8; for uint16 10 by default, which phones and browsers show; 12 few do.
        subsampling: "4:4:4", "4:2:2" or "4:2:0"; a lossless picture is always 4:4:4.
        exif: a TIFF structure, with or without "Exif" and two zeros before it, orientation 1.
        icc: profile of `image`; without one `nclx` says the colour, sRGB where that is None too.
        name: of the file, for messages.

    Raises:
        OutputError: the codec cannot hold the picture.
    """
    depth: int = bits or (8 if image.dtype == np.uint8 else 10)
    colour = (nclx or SRGB)._replace(matrix=RGB_MATRIX if is_lossless and not is_gray else (nclx or SRGB).matrix)
    chroma = "4:4:4" if is_lossless else subsampling
    plain_exif = exif[6:] if exif and exif.startswith(b"Exif\0\0") else exif
    with encoder_errors(name, kind):
        samples = _ordered_samples(image, alpha, is_gray, depth)
        if kind == "AVIF":
            level = 100 if is_lossless else min(quality, 99)
            coded = _encode_avif(samples, depth, level, chroma, colour, is_gray)
            return with_items(coded, exif=plain_exif, xmp=xmp, icc=icc)
        return _encode_heic(samples, depth, -1 if is_lossless else quality, chroma, colour, plain_exif, xmp, icc)


def _decode_heic(data: bytes, name: str) -> tuple[Samples, int]:
    """(H, W) or (H, W, 3 or 4) gray, RGB or RGBA in the file's own bits, and how many; turned by libheif."""
    file = pillow_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=False, hdr_to_16bit=False)
    picture = file[file.primary_index]
    check_size(*picture.size, name)
    coded = cast("dict[str, int]", picture.info.get("nclx_profile") or {})  # or of the bitstream
    refuse_hdr(coded.get("transfer_characteristics"), name)
    samples = np.asarray(picture)
    bits = int(cast(int, picture.info["bit_depth"])) if samples.dtype == np.uint16 else 8
    is_multiplied = picture.mode.split(";")[0].endswith("a")  # pillow-heif's small letter
    return (_divided(samples, bits) if is_multiplied else samples), bits


def _decode_avif(data: bytes, items: Items, name: str) -> tuple[Samples, int]:
    """As `_decode_heic`; the turns that the file asks for are applied here."""
    if items.size(items.primary) is None:  # a sequence without a still: its header says the size
        with Pillow.open(io.BytesIO(data), formats=("AVIF",)) as picture:
            check_size(*picture.size, name)
    samples = imagecodecs.avif_decode(data, index=0, numthreads=1)
    declared = max(items.bits(items.primary), default=8)
    bits = 8 if samples.dtype == np.uint8 else declared if declared > 8 else _bits_of_av1(items)
    is_multiplied = items.sources(b"prem", items.primary) or items.targets(b"prem", items.primary)
    return _transformed(_divided(samples, bits) if is_multiplied else samples, items), bits


def _divided(samples: Samples, bits: int) -> Samples:
    """(H, W, 2 or 4) with alpha, the last channel, taken out of the colour."""
    colour = divided_by(cast(Samples, samples[..., :-1]), plane_of(samples, -1), top=(1 << bits) - 1)
    return cast(Samples, np.dstack([colour, samples[..., -1]]))


def _bits_of_av1(items: Items) -> int:
    """10 or 12, by the flags of the codec's configuration (AV1 in ISOBMFF, 2.3.3), for files without `pixi`."""
    config = next((body for kind, body in items.of(items.primary) if kind == b"av1C" and len(body) >= 3), b"\0\0\0")
    return 12 if config[2] & 0x20 else 10


def _transformed(samples: Samples, items: Items) -> Samples:
    """Crop, turn and mirror in the order that the primary item names them (ISO/IEC 23008-12, 6.5.9 to 6.5.12)."""
    for kind, body in items.of(items.primary):
        if kind == b"clap" and len(body) >= 32:
            samples = _cropped(samples, body)
        elif kind == b"irot" and body:
            samples = cast(Samples, np.rot90(samples, body[0] & 3))  # anti-clockwise, as the standard counts
        elif kind == b"imir" and body:
            samples = cast(Samples, samples[:, ::-1] if body[0] & 1 else samples[::-1])
    return cast(Samples, np.ascontiguousarray(samples))


def _cropped(samples: Samples, clap: bytes) -> Samples:
    """The clean aperture: width, height and the centre's offset from the picture's, each a fraction."""
    numbers = [int.from_bytes(clap[at : at + 4], "big", signed=at >= 16) for at in range(0, 32, 4)]
    if not all(numbers[1::2]):
        raise ValueError("a crop with a zero denominator")
    width, height, dx, dy = (numbers[i] / numbers[i + 1] for i in range(0, 8, 2))
    left = round((samples.shape[1] - width) / 2 + dx)
    top = round((samples.shape[0] - height) / 2 + dy)
    right, bottom = left + round(width), top + round(height)
    if not (0 <= left < right <= samples.shape[1] and 0 <= top < bottom <= samples.shape[0]):
        raise ValueError("a crop that leaves the picture")
    return cast(Samples, samples[top:bottom, left:right])


def _primary_pixels(samples: Samples, bits: int, items: Items, data: bytes) -> Pixels:
    channels = samples.shape[2] if samples.ndim == 3 else 1
    declared = items.bits(items.primary)
    is_gray = channels < 3 or len(declared) == 1
    if samples.dtype == np.uint16:
        samples = scale_to_16(cast("NDArray[np.uint16]", samples), bits)
    n_colours = 1 if channels < 3 else 3
    colour = cast(Samples, samples if samples.ndim == 2 else samples[..., :n_colours])
    icc, nclx = items.colour(items.primary)
    kept, told = fitting_profile(icc, is_gray)
    return Pixels(
        image=as_bgr(colour),
        alpha=plane_of(samples, -1) if channels in (2, 4) else None,
        is_gray=is_gray,
        icc=kept,
        nclx=nclx,
        bits=bits,
        notes=(*heif_parts(data, items), *told),
    )


def _ordered_samples(image: Image, alpha: Plane | None, is_gray: bool, depth: int) -> Samples:
    """(H, W) gray, or (H, W, 2, 3 or 4) gray or RGB with alpha, of the depth's own range."""
    samples = samples_of(image, alpha, is_gray=is_gray)
    if samples.dtype == np.uint8 and depth > 8:
        samples = samples.astype(np.uint16) * 257
    if samples.dtype == np.uint16:
        samples = scale_from_16(cast("NDArray[np.uint16]", samples), depth)
    return cast(Samples, samples.astype(np.uint8 if depth == 8 else np.uint16, copy=False))


def _encode_avif(samples: Samples, depth: int, level: int, chroma: str, colour: Nclx, is_gray: bool) -> bytes:
    coded = imagecodecs.avif_encode(
        samples,
        level=level,
        speed=AV1_SPEED,
        bitspersample=depth,
        pixelformat="yuv400" if is_gray else f"yuv{CHROMA[chroma]}",
        primaries=colour.primaries,
        transfer=colour.transfer,
        matrix=colour.matrix,
        numthreads=1,
    )
    return bytes(coded)


def _encode_heic(
    samples: Samples,
    depth: int,
    quality: int,
    chroma: str,
    colour: Nclx,
    exif: bytes | None,
    xmp: bytes | None,
    icc: bytes | None,
) -> bytes:
    channels = samples.shape[2] if samples.ndim == 3 else 1
    mode = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[channels] + ("" if depth == 8 else f";{depth}")
    out = io.BytesIO()
    pillow_heif.encode(
        mode,
        (samples.shape[1], samples.shape[0]),
        samples.tobytes(),
        out,
        format="HEIF",
        quality=quality,
        enc_params={"preset": HEVC_PRESET},
        chroma=CHROMA[chroma],
        exif=exif,
        xmp=xmp,
        icc_profile=icc,
        color_primaries=colour.primaries,
        transfer_characteristic=colour.transfer,
        matrix_coefficients=colour.matrix,
        full_range_flag=1,
    )
    return out.getvalue()
