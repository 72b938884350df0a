"""What the first bytes of a picture's file say: its size and depth, without its pixels."""

from __future__ import annotations

import io
import warnings
from typing import NamedTuple

import tifffile
from PIL import Image as Pillow

from gfpcli.photo.embed import read_carried
from gfpcli.photo.exif import read_exif
from gfpcli.photo.geometry import SIDEWAYS
from gfpcli.photo.heif_boxes import read_items
from gfpcli.photo.jxl import jxl_header
from gfpcli.photo.plain import PLAIN_FORMATS
from gfpcli.photo.raw import raw_size
from gfpcli.photo.tiff import picture_page

TURNED_BY_DECODER = ("HEIF", "AVIF", "JXL", "RAW")


class PictureHeader(NamedTuple):
    """Of a file's picture."""

    height: int
    width: int
    bits: int  # of a channel


def header_of(data: bytes, format: str) -> PictureHeader:
    """The header of a file, as its picture is shown.

    Args:
        data: its bytes; for formats other than TIFF and camera raw the first megabytes do.
        format: Pillow's name, or HEIF, JXL, RAW.

    Raises:
        Exception: of any kind, on damaged bytes, as third parties' readers do.
    """
    found = stored_header(data, format)
    if format in TURNED_BY_DECODER:
        return found
    exif = read_carried(data, format).exif
    is_sideways = exif is not None and read_exif(exif).orientation in SIDEWAYS
    return found._replace(height=found.width, width=found.height) if is_sideways else found


def stored_header(data: bytes, format: str) -> PictureHeader:
    """As `header_of`, before EXIF's orientation is applied: as it is of any upright file, and quicker."""
    if format in ("HEIF", "AVIF"):
        return _heif_header(data)
    if format == "JXL":
        header = jxl_header(data)
        return PictureHeader(header.height, header.width, header.bits)
    if format == "RAW":
        return PictureHeader(*raw_size(data), 16)
    return _tiff_header(data) if format == "TIFF" else _plain_header(data)


def _heif_header(data: bytes) -> PictureHeader:
    items = read_items(data)
    size = items.size(items.primary)
    if size is None:
        raise ValueError("no size in it")
    width, height = size
    for kind, body in items.of(items.primary):  # crop and turn, in their order
        if kind == b"clap" and len(body) >= 16:
            over_x, under_x, over_y, under_y = (int.from_bytes(body[at : at + 4], "big") for at in range(0, 16, 4))
            width, height = round(over_x / under_x), round(over_y / under_y)
        elif kind == b"irot" and body and body[0] & 1:
            width, height = height, width
    return PictureHeader(height, width, max(items.bits(items.primary), default=8))


def _tiff_header(data: bytes) -> PictureHeader:
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = picture_page(file)
        return PictureHeader(page.imagelength, page.imagewidth, max(page.bitspersample, 8))


def _plain_header(data: bytes) -> PictureHeader:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Pillow.open(io.BytesIO(data), formats=PLAIN_FORMATS) as picture:
            bits = 16 if data[:4] == b"\x89PNG" and data[24] == 16 else 8
            return PictureHeader(picture.height, picture.width, bits)
