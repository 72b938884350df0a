"""Files to photos: upright pixels, and all that their outputs take over. `encode.py` is the way back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from gfpcli.errors import GfpError, InputError
from gfpcli.files.atomic import os_errors_as
from gfpcli.files.formats import LABELS
from gfpcli.files.kinds import Kind, kind_of_bytes
from gfpcli.files.storage import store_of
from gfpcli.photo.carried import Carried
from gfpcli.photo.embed import read_carried
from gfpcli.photo.exif import read_exif
from gfpcli.photo.geometry import SIDEWAYS, Placement
from gfpcli.photo.headers import header_of
from gfpcli.photo.heif import read_heif
from gfpcli.photo.jpeg_quality import JpegQuality, is_lossless_webp, quality_for
from gfpcli.photo.jxl import read_jxl
from gfpcli.photo.pixels import NOT_TURNED, Nclx, Pixels
from gfpcli.photo.plain import read_plain
from gfpcli.photo.raw import read_raw
from gfpcli.photo.tiff import read_tiff
from gfpcli.types import Frame, Image

MAX_BYTES = 4 << 30  # of a file
HEADER_BYTES = 4 << 20  # bytes of a file in which its header is looked for first
OWN_PROFILE = ("TIFF", "HEIF", "AVIF", "JXL", "RAW")  # whose readers say which profile the decoded pixels have
PIXEL_READERS: dict[str, Callable[[bytes, str], Pixels]] = {
    "TIFF": read_tiff, "HEIF": read_heif, "AVIF": read_heif, "JXL": read_jxl,
}  # fmt: skip
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # our errors tell what is damaged


@dataclass(frozen=True, slots=True, eq=False)
class Photo:
    """A photo as it was read, with all that its output takes over from its file."""

    frame: Frame  # upright
    format: str  # Pillow's name of the file's format, or HEIF, JXL, RAW
    carried: Carried  # as it stood in the file
    orientation: int = NOT_TURNED  # EXIF value by which the stored pixels were turned
    bits: int = 8  # of a channel in the file
    nclx: Nclx | None = None  # colour of a file without a profile
    coding: JpegQuality = JpegQuality(95, "4:4:4")  # what `--quality auto` gives a lossy output
    is_lossless: bool = False  # a WebP that is to stay so
    notes: tuple[str, ...] = ()  # one line each: what was left out or converted while it was read

    def placement(self, output: tuple[int, int]) -> Placement:
        """Where the stored pixels lie in an output of (height, width)."""
        height, width = self.frame.image.shape[:2]
        stored = (width, height) if self.orientation in SIDEWAYS else (height, width)
        return Placement(stored, self.orientation, output)


def read_photo(path: Path, index: int) -> Photo:
    """The upright first picture of a file.

    Raises:
        InputError: not an image, cut short, corrupt, too large, or of a kind that is not supported.
    """
    return decode_photo(read_file(path), str(path), index)


def read_frame(path: Path, index: int) -> Frame:
    """As `read_photo`, the pixels only."""
    return read_photo(path, index).frame


def decode_frame(data: bytes, name: str, index: int) -> Frame:
    """As `decode_photo`, the pixels only."""
    return decode_photo(data, name, index).frame


def read_file(path: Path) -> bytes:
    """A file's bytes. Raises InputError where it is none, cannot be read, or is larger than any picture."""
    store = store_of(path)
    with os_errors_as(InputError, path):
        if (size := store.size(path)) > MAX_BYTES:
            raise InputError(f"{path}: {size / 1e9:.1f} GB is larger than any picture")
        return store.read(path)


def decode_photo(data: bytes, name: str, index: int) -> Photo:
    """The upright first picture in a file's bytes; `name` is for messages. Raises InputError as `read_photo`."""
    kind = known_kind(data, name)
    pixels = _read_pixels(data, name, kind)
    carried = _carried_of(data, kind, pixels)
    is_turned_here = kind.format == "TIFF" or kind.format not in OWN_PROFILE
    orientation = read_exif(carried.exif).orientation if carried.exif and is_turned_here else pixels.orientation
    return Photo(
        frame=Frame(
            index=index,
            image=_turned_upright(pixels.image, orientation),
            name=name,
            alpha=None if pixels.alpha is None else _turned_upright(pixels.alpha, orientation),
            is_gray=pixels.is_gray,
        ),
        format=kind.format,
        carried=carried,
        orientation=orientation,
        bits=pixels.bits,
        nclx=pixels.nclx,
        coding=quality_for(data, kind.format),
        is_lossless=kind.format == "WEBP" and is_lossless_webp(data),
        notes=pixels.notes,
    )


def known_kind(data: bytes, name: str) -> Kind:
    """What a file's bytes are. Raises InputError where it is no picture of a kind that is read."""
    kind = kind_of_bytes(data, name)
    if kind.role != "picture":
        raise InputError(f"{name}: {kind.hint or 'not an image'}")
    return kind


def size_of(path: Path) -> tuple[int, int]:
    """(height, width) of the upright first picture of a file, from its header. Raises InputError."""
    try:
        with path.open("rb") as file:
            head = file.read(HEADER_BYTES)
            kind = known_kind(head, str(path))
            is_whole = kind.format in ("TIFF", "RAW")  # their directories may lie at the end
            header = header_of(head + file.read() if is_whole else head, kind.format)
    except GfpError:
        raise
    except Exception as error:  # readers raise many kinds on broken bytes
        raise InputError(f"{path}: not an image") from error
    return header.height, header.width


def _read_pixels(data: bytes, name: str, kind: Kind) -> Pixels:
    """The decoded picture. Raises InputError."""
    if kind.format == "RAW":
        return read_raw(data, name, kind.name)
    if reader := PIXEL_READERS.get(kind.format):
        return reader(data, name)
    return read_plain(data, name, LABELS[kind.format])


def _carried_of(data: bytes, kind: Kind, pixels: Pixels) -> Carried:
    """What the file carries besides pixels, with the profile that the decoded pixels have."""
    is_tiff_inside = kind.format == "RAW" and data[:2] in (b"II", b"MM")
    carried = read_carried(data, "TIFF" if is_tiff_inside else kind.format)
    return replace(carried, icc=pixels.icc)


def _turned_upright(pixels: Image | NDArray[np.uint8] | NDArray[np.uint16], orientation: int) -> Image:
    if orientation in SIDEWAYS:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return cast(Image, np.ascontiguousarray(pixels))
