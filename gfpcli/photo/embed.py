"""Metadata out of encoded files, and into them, by the kind of file. Pixels are neither decoded nor changed."""

from __future__ import annotations

from dataclasses import replace

from gfpcli.photo.carried import Carried, is_same_dpi, profile_colour_model, valid_dpi
from gfpcli.photo.containers.bmp import carried_in_bmp
from gfpcli.photo.containers.gif import carried_in_gif
from gfpcli.photo.containers.isobmff import (
    carried_in_heif,
    carried_in_jxl,
    placeholder,
    replace_placeholder,
    write_jxl,
)
from gfpcli.photo.containers.jpeg import carried_in_jpeg, write_jpeg
from gfpcli.photo.containers.jpeg2000 import carried_in_jpeg_2000
from gfpcli.photo.containers.png import carried_in_png, write_png
from gfpcli.photo.containers.tiff import carried_in_tiff, write_tiff
from gfpcli.photo.containers.webp import carried_in_webp, write_webp
from gfpcli.photo.exif import read_exif, resolution_block

CARRIED_READERS = {
    "JPEG": carried_in_jpeg,
    "MPO": carried_in_jpeg,
    "PNG": carried_in_png,
    "WEBP": carried_in_webp,
    "TIFF": carried_in_tiff,
    "HEIF": carried_in_heif,
    "AVIF": carried_in_heif,
    "JXL": carried_in_jxl,
    "GIF": carried_in_gif,
    "BMP": carried_in_bmp,
    "JPEG2000": carried_in_jpeg_2000,
}
BOXES = ("HEIF", "AVIF")
# What each kind of file can carry, as attributes of Carried; a kind that is not here carries nothing.
CAPACITY = {
    "JPEG": {"exif", "icc", "xmp", "iptc", "photoshop", "comments", "dpi"},
    "PNG": {"exif", "icc", "xmp", "iptc", "photoshop", "texts", "png_chunks", "dpi"},
    "TIFF": {"exif", "icc", "xmp", "iptc", "photoshop", "dpi"},
    "WEBP": {"exif", "icc", "xmp", "dpi"},
    "HEIF": {"exif", "icc", "xmp", "dpi"},
    "AVIF": {"exif", "icc", "xmp", "dpi"},
    "JXL": {"exif", "xmp", "dpi"},  # the encoder stores no profile: colours become sRGB
    "BMP": {"dpi"},
}
NAMES = {
    "exif": "EXIF",
    "icc": "ICC profile",
    "xmp": "XMP",
    "iptc": "IPTC",
    "photoshop": "Photoshop resources",
    "comments": "comment",
    "dpi": "resolution",
}
IN_EXIF_ONLY = ("WEBP", "HEIF", "AVIF", "JXL")  # files that hold a resolution only within EXIF
ONE_RESOLUTION = (*IN_EXIF_ONLY, "TIFF")  # files in which EXIF's resolution is the file's
SRGB_CHUNKS = ((b"gAMA", (45455).to_bytes(4, "big")), (b"cICP", b"\1\r\0\1"))


def read_carried(data: bytes, kind: str) -> Carried:
    """What a file carries besides pixels.

    Args:
        kind: the format's name as Pillow gives it; of one that is not known here nothing is read.

    Never raises on damaged bytes; what is damaged is left out and named in `unread`, except EXIF and XMP, which
    `adjust` judges.
    """
    reader = CARRIED_READERS.get(kind)
    return reader(data) if reader else Carried()


def fit_carried(carried: Carried, kind: str) -> tuple[Carried, tuple[str, ...]]:
    """What of it a kind of file can carry, and the names of what it cannot.

    PNG chunks that only say sRGB, or that a profile replaces, are not named. A resolution that a file holds only
    within EXIF gets a block of its own where there is none. The result is what `differences` must be given as wanted.
    """
    capacity = CAPACITY.get(kind, set())
    lost = [name for attribute, name in NAMES.items() if getattr(carried, attribute) and attribute not in capacity]
    gone = {attribute: getattr(Carried(), attribute) for attribute in NAMES if attribute not in capacity}
    if "texts" not in capacity:
        lost += [f"PNG text {text.keyword}" for text in carried.texts]
        gone["texts"] = ()
    if "png_chunks" not in capacity:
        lost += _lost_chunks(carried)
        gone["png_chunks"] = ()
    fitted = replace(carried, **gone)
    if kind in ONE_RESOLUTION and fitted.dpi:
        fitted, more = _with_one_resolution(fitted, fitted.dpi, kind)
        lost += more
    return fitted, tuple(dict.fromkeys(lost))


def encoder_arguments(carried: Carried, kind: str) -> dict[str, bytes]:
    """The arguments with which Pillow must encode a kind of file before `with_carried`: `icc_profile`, `xmp`, `exif`.

    For HEIF and AVIF, whose encoders write the boxes, `exif` is a placeholder that `with_carried` replaces. Other
    kinds need none.
    """
    fitted, _ = fit_carried(carried, kind)
    if kind not in BOXES:
        return {}
    exif = placeholder(fitted.exif) if fitted.exif else None
    arguments = {"icc_profile": fitted.icc, "xmp": fitted.xmp, "exif": exif}
    return {name: value for name, value in arguments.items() if value}


def with_carried(data: bytes, kind: str, carried: Carried) -> tuple[bytes, tuple[str, ...]]:
    """An encoded file with exactly this metadata, and the names of what it cannot carry.

    What the encoder wrote of these kinds is replaced. For HEIF, AVIF and JPEG XL the file must have been encoded with
    `encoder_arguments`.

    Raises:
        OutputError: a TIFF file that `write_tiff` cannot take.
    """
    fitted, lost = fit_carried(carried, kind)
    if kind == "JPEG":
        data, more = write_jpeg(data, fitted)
    elif kind == "PNG":
        data, more = write_png(data, fitted)
    elif kind == "TIFF":
        data, more = write_tiff(data, fitted)
    elif kind in BOXES and fitted.exif:
        data, is_placed = replace_placeholder(data, fitted.exif)
        more = () if is_placed else ("EXIF",)
    else:
        data = write_webp(data, fitted) if kind == "WEBP" else write_jxl(data, fitted) if kind == "JXL" else data
        more = ()
    return data, tuple(dict.fromkeys((*lost, *more)))


def _with_one_resolution(
    carried: Carried, dpi: tuple[float, float], kind: str
) -> tuple[Carried, list[str]]:
    """For files with one place for it: EXIF's resolution stands where there are two different ones."""
    known = read_exif(carried.exif).dpi if carried.exif else None
    if known and valid_dpi(*known):
        return replace(carried, dpi=known), [] if is_same_dpi(dpi, known) else ["second resolution"]
    if kind not in IN_EXIF_ONLY:
        return carried, []
    if carried.exif:
        return replace(carried, dpi=None), ["resolution"]
    return replace(carried, exif=resolution_block(dpi)), []


def _lost_chunks(carried: Carried) -> list[str]:
    """The PNG chunks whose loss changes something: the time, and colours that another kind of file then shows wrong."""
    has_profile = carried.icc is not None and profile_colour_model(carried.icc) is not None
    is_srgb = has_profile or any(kind == b"sRGB" for kind, _ in carried.png_chunks)
    return [
        f"PNG chunk {kind.decode('latin-1')}"
        for kind, payload in carried.png_chunks
        if kind == b"tIME" or not (kind == b"sRGB" or is_srgb or (kind, payload) in SRGB_CHUNKS)
    ]
