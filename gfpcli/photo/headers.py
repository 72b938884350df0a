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


class PictureHeader(NamedTuple):
    """Of the picture that a reader gives."""

    height: int  # upright
    width: int
    bits: int  # of a channel


def header_of(data: bytes, format: str) -> PictureHeader:
    """The header of a file.

    Args:
        data: its bytes; for formats other than TIFF and camera raw the first megabytes do.
        format: Pillow's name, or HEIF, JXL, RAW.

    Raises:
        Exception: of any kind, on damaged bytes, as third parties' readers do.
    """
    if format in ("HEIF", "AVIF"):
        return _heif_header(data)
    if format == "JXL":
        header = jxl_header(data)
        return PictureHeader(header.height, header.width, header.bits)
    if format == "RAW":
        return PictureHeader(*raw_size(data), 16)
    width, height, bits = _tiff_header(data) if format == "TIFF" else _plain_header(data)
    exif = read_carried(data, format).exif
    is_sideways = exif is not None and read_exif(exif).orientation in SIDEWAYS
    return PictureHeader(width, height, bits) if is_sideways else PictureHeader(height, width, bits)


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


def _tiff_header(data: bytes) -> tuple[int, int, int]:
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = picture_page(file)
        return page.imagewidth, page.imagelength, max(page.bitspersample, 8)


def _plain_header(data: bytes) -> tuple[int, int, int]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Pillow.open(io.BytesIO(data), formats=PLAIN_FORMATS) as picture:
            return *picture.size, 16 if data[:4] == b"\x89PNG" and data[24] == 16 else 8
