"""What a picture's file carries besides its pixels, as Pillow reads it. What is damaged never refuses a picture."""

from __future__ import annotations

from PIL import Image as Pillow

from gfpcli.types import Metadata

ORIENTATION = 0x0112
MAX_DPI = 1e6
FOLDERS = {0x8769, 0x8825, 0xA005}  # of EXIF: Exif, GPS, Interoperability
STRUCTURE = (*range(254, 260), 262, 273, *range(277, 280), 284, *range(317, 326), 338, 339, 700, 34675)


def exif_of(picture: Pillow.Image) -> Pillow.Exif | None:
    """A picture's EXIF, None where it is damaged."""
    try:
        return picture.getexif()
    except Exception:  # Pillow's parser raises many kinds
        return None


def metadata_of(picture: Pillow.Image, exif: Pillow.Exif | None) -> Metadata:
    """For a picture that is written upright; `exif` as `exif_of` gives it."""
    try:
        raw = _upright_exif(exif) if exif else None
    except Exception:
        raw = None  # corrupt EXIF never refuses a picture
    xmp = picture.info.get("xmp") or picture.info.get("XML:com.adobe.xmp")
    icc = picture.info.get("icc_profile") if picture.mode != "CMYK" else None
    dpi = picture.info.get("dpi")
    both = (float(dpi[0]), float(dpi[1])) if dpi else None
    if both and not all(0 < each < MAX_DPI for each in both):  # nor any that is no number
        both = None
    return Metadata(raw, icc, xmp.encode() if isinstance(xmp, str) else xmp, both)


def _upright_exif(exif: Pillow.Exif) -> bytes | None:
    if ORIENTATION in exif:
        exif[ORIENTATION] = 1
    for tag in STRUCTURE:  # a TIFF's layout is not EXIF of the output
        exif.pop(tag, None)
    return exif.tobytes() if len(exif) else None


def has_folders(exif: bytes) -> bool:
    """Whether EXIF holds directories (the camera's own, GPS), which Pillow writes into plain TIFF only."""
    read = Pillow.Exif()
    read.load(exif)
    return not FOLDERS.isdisjoint(read)
