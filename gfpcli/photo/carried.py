"""What a picture's file carries besides its pixels, as the bytes that stood in the file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from gfpcli.photo.exif import exif_values, patch_exif, read_exif
from gfpcli.photo.geometry import Placement
from gfpcli.photo.ifd import MAKER_NOTE
from gfpcli.photo.photoshop import scale_resolution
from gfpcli.photo.xmp import edit_xmp, has_same_properties

COLOUR_MODELS = {b"RGB ": "RGB", b"GRAY": "gray", b"CMYK": "CMYK", b"Lab ": "Lab", b"YCbr": "YCbCr"}
MIN_DPI, MAX_DPI = 1.0, 1e6
DPI_TOLERANCE = 0.51  # JFIF stores whole numbers


@dataclass(frozen=True)
class PngText:
    """One text chunk of a PNG file: `kind` is tEXt, zTXt or iTXt, `payload` its bytes, never unpacked."""

    kind: bytes
    payload: bytes

    @property
    def keyword(self) -> str:
        """The name of the text (PNG specification, 11.3.3)."""
        return self.payload.split(b"\0", 1)[0][:79].decode("latin-1")


@dataclass(frozen=True)
class Carried:
    """What a file carries besides pixels.

    Attributes:
        exif: a TIFF stream without "Exif\\0\\0" before it.
        icc: an ICC profile.
        icc_name: its name in PNG's iCCP chunk.
        xmp: an XMP packet, with its extended part joined in.
        iptc: IPTC-IIM records.
        photoshop: Photoshop's image resources without IPTC and without what they copy from the other attributes.
        comments: comments of JPEG or GIF, one for each.
        texts: PNG's text chunks, XMP and raw profiles not among them.
        png_chunks: (type, payload) of a PNG's colour chunks and time: cICP, gAMA, cHRM, sRGB, mDCV, cLLI, tIME.
        dpi: (horizontal, vertical) pixels per inch.
        unread: names of what the file holds besides, which is not carried.
    """

    exif: bytes | None = None
    icc: bytes | None = None
    icc_name: bytes = b"ICC Profile"
    xmp: bytes | None = None
    iptc: bytes | None = None
    photoshop: bytes | None = None
    comments: tuple[bytes, ...] = ()
    texts: tuple[PngText, ...] = ()
    png_chunks: tuple[tuple[bytes, bytes], ...] = ()
    dpi: tuple[float, float] | None = None
    unread: tuple[str, ...] = ()


def profile_colour_model(icc: bytes) -> str | None:
    """A profile's colour model (ICC.1, 7.2.6): "RGB", "gray", "CMYK", "Lab" or "YCbCr"; None where it is no profile."""
    return COLOUR_MODELS.get(icc[16:20]) if len(icc) >= 128 and icc[36:40] == b"acsp" else None


def valid_dpi(horizontal: float, vertical: float) -> tuple[float, float] | None:
    """Both as they are, None where one cannot be a resolution (below 1, no number, more than a million)."""
    return (horizontal, vertical) if all(MIN_DPI <= each <= MAX_DPI for each in (horizontal, vertical)) else None


def is_same_dpi(wanted: tuple[float, float], found: tuple[float, float] | None) -> bool:
    """Whether two resolutions are equal as far as files store them."""
    if found is None:
        return False
    return all(abs(one - two) <= max(DPI_TOLERANCE, 0.001 * one) for one, two in zip(wanted, found, strict=True))


def adjust(
    carried: Carried, placement: Placement, *, colour_model: str, keeps_print_size: bool = True
) -> tuple[Carried, tuple[str, ...]]:
    """What an upright, resized output carries, and notes on what was left out and why.

    Args:
        colour_model: of the output's pixels, as `profile_colour_model` names it; a profile of another goes.
        keeps_print_size: multiply resolutions by the output's scale.
    """
    notes = []
    exif = patch_exif(carried.exif, placement, keeps_print_size=keeps_print_size) if carried.exif else None
    if exif and exif.damage:
        notes.append(f"its EXIF is damaged ({exif.damage})" + ("" if exif.block else " and left out"))
    is_turned = placement.orientation != 1 or bool(carried.exif and read_exif(carried.exif).orientation != 1)
    xmp = None
    if carried.xmp:
        xmp = edit_xmp(carried.xmp, placement, resets_orientation=is_turned, keeps_print_size=keeps_print_size)
    if xmp and xmp.damage:
        notes.append(f"{xmp.damage}; it is left out")
    model = profile_colour_model(carried.icc) if carried.icc else None
    if carried.icc and model != colour_model:
        notes.append(f"its {model or 'damaged'} profile does not fit {colour_model} and is left out")
    result = replace(
        carried,
        exif=exif.block if exif else None,
        xmp=xmp.packet if xmp else None,
        icc=carried.icc if model == colour_model else None,
        unread=(),
    )
    result = _with_scaled_resolution(result, placement) if keeps_print_size else result
    left_out = dict.fromkeys((*(xmp.removed if xmp else ()), *carried.unread))
    left_out |= {"resolution": None} if carried.dpi and not result.dpi else {}
    notes += [f"left out: {', '.join(left_out)}"] if left_out else []
    return result, tuple(notes)


def _with_scaled_resolution(carried: Carried, placement: Placement) -> Carried:
    """With resolutions that keep the size in print; `Carried.exif` and `Carried.xmp` have been scaled already."""
    vertical, horizontal = placement.scale
    dpi = carried.dpi
    if dpi:
        x, y = dpi[::-1] if placement.is_sideways else dpi
        dpi = valid_dpi(x * horizontal, y * vertical)
    resources = scale_resolution(carried.photoshop, placement.scale) if carried.photoshop else None
    return replace(carried, dpi=dpi, photoshop=resources)


def differences(wanted: Carried, found: Carried) -> tuple[str, ...]:
    """The names of what was wanted and did not come back equal; empty where all did.

    EXIF is compared tag by tag, XMP property by property, resolution to half a pixel per inch. What was not wanted is
    not compared.
    """
    return tuple(dict.fromkeys(_differences(wanted, found)))


def _differences(wanted: Carried, found: Carried) -> Iterator[str]:
    yield from _exif_differences(wanted.exif, found.exif) if wanted.exif else ()
    if wanted.icc and wanted.icc != found.icc:
        yield "ICC profile"
    if wanted.xmp and not (found.xmp and has_same_properties(wanted.xmp, found.xmp)):
        yield "XMP"
    if wanted.iptc and wanted.iptc != found.iptc:
        yield "IPTC"
    if wanted.photoshop and wanted.photoshop != found.photoshop:
        yield "Photoshop resources"
    if wanted.comments and wanted.comments != found.comments:
        yield "comment"
    yield from (f"PNG text {text.keyword}" for text in wanted.texts if text not in found.texts)
    yield from (f"PNG chunk {kind.decode('latin-1')}" for kind, _ in _missing_chunks(wanted, found))
    if wanted.dpi and not is_same_dpi(wanted.dpi, found.dpi):
        yield "resolution"


def _exif_differences(wanted: bytes, found: bytes | None) -> Iterator[str]:
    if wanted == found:
        return
    before, after = exif_values(wanted), exif_values(found or b"")
    if not after and (before or read_exif(wanted).damage is None):
        yield "EXIF"
        return
    for (directory, tag), value in before.items():
        if after.get((directory, tag)) != value:
            yield "maker notes" if tag == MAKER_NOTE else f"EXIF {directory} tag 0x{tag:04X}"


def _missing_chunks(wanted: Carried, found: Carried) -> list[tuple[bytes, bytes]]:
    return [chunk for chunk in wanted.png_chunks if chunk not in found.png_chunks]
